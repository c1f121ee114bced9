SUMMARY = "Where the devices of this product find their cloud"
DESCRIPTION = "The configuration of fedecksd and the folder of the token on the data partition. \
Append to this recipe, or replace it, with the address of your cloud."
HOMEPAGE = "https://fedecks.example.org"
BUGTRACKER = "https://fedecks.example.org/issues"
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/files/common-licenses/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = "\
    file://fedecks.toml \
    file://fedecks-data.service \
    file://fedecksd.default \
"

inherit allarch systemd

UNPACKED = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_install() {
    if grep -q '^url = "wss://cloud\.example\.com"' ${UNPACKED}/fedecks.toml; then
        bbwarn "the devices are to connect to cloud.example.com: put a fedecks.toml of yours in place, see ${LAYERDIR_fedecks}/README.md"
    fi
    install -d ${D}/data
    install -d ${D}${sysconfdir}/fedecks
    install -m 0644 ${UNPACKED}/fedecks.toml ${D}${sysconfdir}/fedecks/
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -d ${D}${systemd_system_unitdir}
        install -m 0644 ${UNPACKED}/fedecks-data.service ${D}${systemd_system_unitdir}/
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -d ${D}${sysconfdir}/default
        install -m 0644 ${UNPACKED}/fedecksd.default ${D}${sysconfdir}/default/fedecksd
    fi
}

FILES:${PN} += "/data"
CONFFILES:${PN} = "${sysconfdir}/fedecks/fedecks.toml ${sysconfdir}/default/fedecksd"

SYSTEMD_SERVICE:${PN} = "fedecks-data.service"
