require fedecks-device.inc

# Where you keep the sources: a clone of your own, see the layer's README.
FEDECKS_GIT_URI ?= "git://git.example.org/fedecks.git;protocol=https"
FEDECKS_GIT_BRANCH ?= "main"

SRC_URI += "${FEDECKS_GIT_URI};branch=${FEDECKS_GIT_BRANCH};destsuffix=${BP}"
SRCREV = "af9f97d97444d0b9255c893da1c21e3fc7427619"
