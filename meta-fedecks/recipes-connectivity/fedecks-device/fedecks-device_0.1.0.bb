require fedecks-device.inc

# Your clone of the sources, see the layer's README.
FEDECKS_GIT_URI ?= "git://git.example.org/fedecks.git;protocol=https"
FEDECKS_GIT_BRANCH ?= "main"

SRC_URI += "${FEDECKS_GIT_URI};branch=${FEDECKS_GIT_BRANCH};destsuffix=${BP}"
SRCREV = "48b0d6c9e44baa74817c9ec079cf31658e52fe54"
