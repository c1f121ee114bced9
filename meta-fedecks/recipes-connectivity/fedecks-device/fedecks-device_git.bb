require fedecks-device.inc

# The checkout that this layer is in, as it is: for developers, and wherever no server with a clone is
# at hand. Chosen by PREFERRED_VERSION_fedecks-device = "0.1.0+git".
PV = "0.1.0+git"
DEFAULT_PREFERENCE = "-1"

inherit externalsrc

EXTERNALSRC ?= "${@os.path.realpath(d.getVar('FILE_DIRNAME') + '/../../..')}"
# No links to the build's folders in there.
# nooelint: oelint.vars.mispell.unknown - a variable of the class externalsrc
EXTERNALSRC_SYMLINKS = ""
