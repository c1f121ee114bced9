SUMMARY = "The address of the cloud for the devices of this product"
DESCRIPTION = "The configuration of fedecksd, the certificate authority of the cloud if it is not a public one, and the unit that creates the directory of the token on the data partition. Append to this recipe, or replace it, to set the address of your cloud."
SECTION = "net"
CVE_PRODUCT = ""
LICENSE = "Apache-2.0"
# nooelint: oelint.var.licenseremotefile - everything is in this layer
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/files/common-licenses/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# A ca.pem that an append adds to SRC_URI is installed as well.
SRC_URI = "\
    file://fedecks.toml \
    file://fedecks-data.service \
    file://fedecksd.default \
"

inherit allarch systemd

# Scarthgap has no UNPACKDIR, and later releases reject S in WORKDIR.
FILES_DIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${FILES_DIR}"

# The authorities of the image, instead of those compiled into the service.
PACKAGECONFIG ??= ""
PACKAGECONFIG[system-authorities] = ",,,ca-certificates"

do_install() {
    if ! grep -qE '^url *= *"[^"]' ${FILES_DIR}/fedecks.toml || grep -qE '^url *=.*example[.](com|net|org)' ${FILES_DIR}/fedecks.toml; then
        bbwarn "fedecks.toml does not have the address of your cloud: append your own file, see docs/yocto.md"
    fi
    # The mount point of the data partition; it cannot be created on a read-only root.
    install -d ${D}/data
    install -d ${D}${sysconfdir}/fedecks
    install -m 0644 ${FILES_DIR}/fedecks.toml ${D}${sysconfdir}/fedecks/
    if ${@bb.utils.contains('PACKAGECONFIG', 'system-authorities', 'true', 'false', d)}; then
        if grep -qE '^(only_)?ca_file' ${FILES_DIR}/fedecks.toml; then
            bbfatal "fedecks.toml sets ca_file already: remove it, or system-authorities from PACKAGECONFIG"
        fi
        sed -i '1i ca_file = "${sysconfdir}/ssl/certs/ca-certificates.crt"\nonly_ca_file = true' ${D}${sysconfdir}/fedecks/fedecks.toml
    fi
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
