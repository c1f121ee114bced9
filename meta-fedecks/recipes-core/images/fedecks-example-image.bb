SUMMARY = "A small image whose root is read-only and whose token is on a data partition"
DESCRIPTION = "An example of how the device service goes into an image: copy it, or take its lines into an image of yours."
HOMEPAGE = "https://fedecks.example.org"
BUGTRACKER = "https://fedecks.example.org/issues"
SECTION = "net"
CVE_PRODUCT = ""
LICENSE = "Apache-2.0"

inherit core-image

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-fedecks ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_FSTYPES += "wic"
WKS_FILE ?= "fedecks-data.wks"
# Scarthgap looks for it in the folder wic of each layer, later releases in files/wic.
# nooelint: oelint.vars.inconspaces - a list with colons
WKS_SEARCH_PATH:append = ":${FILE_DIRNAME}/../../files/wic"
