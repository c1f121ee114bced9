require ${BPN}.inc

# Where the sources are: a mirror of yours, see the layer's README.md.
FEDECKS_GIT_URI ?= "git://fedecks.example.org/fedecks.git;protocol=https;branch=main"

SRC_URI += "${FEDECKS_GIT_URI};destsuffix=${BP}"
SRCREV ?= "${AUTOREV}"
