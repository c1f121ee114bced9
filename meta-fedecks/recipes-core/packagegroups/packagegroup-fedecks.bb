SUMMARY = "The device service, its command and its configuration"
DESCRIPTION = "Everything that an image needs to connect to its cloud, including the command to log in by hand."
SECTION = "net"

inherit packagegroup

# Your own package with the configuration, if it is not an append of fedecks-config.
VIRTUAL-RUNTIME_fedecks-config ?= "fedecks-config"

RDEPENDS:${PN} = "\
    ${VIRTUAL-RUNTIME_fedecks-config} \
    fedecks-device \
    fedecks-device-cli \
"
