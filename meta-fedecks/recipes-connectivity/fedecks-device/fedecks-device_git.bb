require fedecks-device.inc

PV = "0.1.0+git"

# The address of your clone of the sources, as in SRC_URI; there is no public one.
FEDECKS_GIT_URI ?= ""
# nooelint: oelint.vars.mispell.unknown - used inside an expression
FEDECKS_GIT_BRANCH ?= "main"

SRC_URI += "${@d.getVar('FEDECKS_GIT_URI') and '${FEDECKS_GIT_URI};branch=${FEDECKS_GIT_BRANCH};destsuffix=${BP}'}"
SRCREV = "9575329e4ef2d927fdb7c7603dbd5aadd612f124"

python () {
    if not d.getVar('FEDECKS_GIT_URI'):
        raise bb.parse.SkipRecipe('set FEDECKS_GIT_URI to your clone, or PREFERRED_VERSION_fedecks-device to "0.1.0+local"')
}
