require fedecks-device.inc

# Your clone of the sources, see the layer's README.
FEDECKS_GIT_URI ?= "git://git.example.org/fedecks.git;protocol=https"
FEDECKS_GIT_BRANCH ?= "main"

SRC_URI += "${FEDECKS_GIT_URI};branch=${FEDECKS_GIT_BRANCH};destsuffix=${BP}"
SRCREV = "122367bd3533b7e61a70dcb7529bb3ff1caf29ae"
