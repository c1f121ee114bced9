SUMMARY = "The device service, its command and its configuration"
DESCRIPTION = "Everything that an image needs to connect to its cloud, including the command to log in by hand."
HOMEPAGE = "https://fedecks.example.org"
BUGTRACKER = "https://fedecks.example.org/issues"
SECTION = "net"

inherit packagegroup

RDEPENDS:${PN} = "\
    fedecks-config \
    fedecks-device \
    fedecks-device-cli \
"
