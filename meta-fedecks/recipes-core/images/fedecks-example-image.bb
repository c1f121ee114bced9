SUMMARY = "A small image whose root is read-only and whose token is on a data partition"
DESCRIPTION = "An example of how the device service goes into an image."
LICENSE = "Apache-2.0"

inherit core-image

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-fedecks ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_FSTYPES += "wic"
WKS_FILE ?= "fedecks-data.wks"
