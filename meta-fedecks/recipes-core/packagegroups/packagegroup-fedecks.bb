SUMMARY = "The device service, its command and its configuration"
DESCRIPTION = "All that an image needs to be connected to its cloud."

inherit packagegroup

RDEPENDS:${PN} = "\
    fedecks-config \
    fedecks-device \
    fedecks-device-cli \
"
