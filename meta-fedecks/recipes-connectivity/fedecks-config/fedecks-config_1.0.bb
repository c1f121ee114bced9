SUMMARY = "Where the devices of this product find their cloud"
DESCRIPTION = "The configuration of fedecksd, the authority that vouches for the cloud if it is none of the public ones, and the folder of the token on the data partition. Append to this recipe, or replace it, with the address of your cloud."
HOMEPAGE = "https://fedecks.example.org"
BUGTRACKER = "https://fedecks.example.org/issues"
SECTION = "net"
CVE_PRODUCT = ""
LICENSE = "Apache-2.0"
# nooelint: oelint.var.licenseremotefile - all of it is in this layer
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/files/common-licenses/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# A ca.pem beside them, in an append's SRC_URI, is installed as well.
SRC_URI = "\
    file://fedecks.toml \
    file://fedecks-data.service \
    file://fedecksd.default \
"

inherit allarch systemd

# Scarthgap has no UNPACKDIR, and later releases refuse to have S in WORKDIR.
FILES_DIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${FILES_DIR}"

do_install() {
    if grep -qF '//cloud.example.com' ${FILES_DIR}/fedecks.toml; then
        bbwarn "the devices are to connect to cloud.example.com: append a fedecks.toml of yours, see docs/yocto.md"
    fi
    # Where the data partition is mounted; a read-only root cannot make it later.
    install -d ${D}/data
    install -d ${D}${sysconfdir}/fedecks
    install -m 0644 ${FILES_DIR}/fedecks.toml ${D}${sysconfdir}/fedecks/
    if [ -e ${FILES_DIR}/ca.pem ]; then
        install -m 0644 ${FILES_DIR}/ca.pem ${D}${sysconfdir}/fedecks/
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -d ${D}${systemd_system_unitdir}
        install -m 0644 ${FILES_DIR}/fedecks-data.service ${D}${systemd_system_unitdir}/
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -d ${D}${sysconfdir}/default
        install -m 0644 ${FILES_DIR}/fedecksd.default ${D}${sysconfdir}/default/fedecksd
    fi
}

FILES:${PN} += "/data"
CONFFILES:${PN} = "${sysconfdir}/fedecks/fedecks.toml ${sysconfdir}/default/fedecksd"

SYSTEMD_SERVICE:${PN} = "fedecks-data.service"
