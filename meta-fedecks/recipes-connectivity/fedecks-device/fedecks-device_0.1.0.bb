require fedecks-device.inc

# Where you keep the sources: a clone of your own, see the layer's README.
FEDECKS_GIT_URI ?= "git://git.example.org/fedecks.git;protocol=https"
FEDECKS_GIT_BRANCH ?= "main"

SRC_URI += "${FEDECKS_GIT_URI};branch=${FEDECKS_GIT_BRANCH};destsuffix=${BP}"
SRCREV = "5c2129c61e9de74ab41d6fe18ad77ed50a40e568"
