SUMMARY = "The device service, its command and its configuration"
DESCRIPTION = "All that an image needs to be connected to its cloud, with the command to log in by hand."
HOMEPAGE = "https://fedecks.example.org"
BUGTRACKER = "https://fedecks.example.org/issues"
SECTION = "net"

inherit packagegroup

RDEPENDS:${PN} = "\
    fedecks-config \
    fedecks-device \
    fedecks-device-cli \
"
