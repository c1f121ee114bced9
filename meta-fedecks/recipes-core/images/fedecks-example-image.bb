SUMMARY = "A small image with a read-only root and the token on a data partition"
DESCRIPTION = "An example of an image with the device service: copy it, or copy its lines into your own image."
SECTION = "net"
CVE_PRODUCT = ""
LICENSE = "Apache-2.0"

inherit core-image

IMAGE_FEATURES += "read-only-rootfs"
# e2fsck checks the data partition at boot, as the last column in fstab asks.
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-fedecks e2fsprogs-e2fsck ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_FSTYPES += "wic"
WKS_FILE ?= "fedecks-data.wks"
# Scarthgap searches the directory wic of each layer, later releases files/wic.
# nooelint: oelint.vars.inconspaces - a list separated by colons
WKS_SEARCH_PATH:append = ":${FILE_DIRNAME}/../../files/wic"
