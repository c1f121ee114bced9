require fedecks-device.inc

# Builds the checkout that contains this layer: for developers, and if there is no server with a clone.
# Selected with PREFERRED_VERSION_fedecks-device = "0.1.0+git".
PV = "0.1.0+git"
DEFAULT_PREFERENCE = "-1"

inherit externalsrc

EXTERNALSRC ?= "${@os.path.realpath(d.getVar('FILE_DIRNAME') + '/../../..')}"
# Create no links to the build's directories in the checkout.
# nooelint: oelint.vars.mispell.unknown - a variable of the class externalsrc
EXTERNALSRC_SYMLINKS = ""
