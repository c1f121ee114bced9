require fedecks-device.inc

# Your clone of the sources, see the layer's README.
FEDECKS_GIT_URI ?= "git://git.example.org/fedecks.git;protocol=https"
FEDECKS_GIT_BRANCH ?= "main"

SRC_URI += "${FEDECKS_GIT_URI};branch=${FEDECKS_GIT_BRANCH};destsuffix=${BP}"
SRCREV = "b6b67ce8e86af950169bd36a87c22f18bc26e12a"
