import os

import infra.basetest


class TestFedecksDevice(infra.basetest.BRTest):
    br2_external = [os.path.realpath(os.path.join(os.path.dirname(__file__), "../../../.."))]
    # Its place is in the environment, as there is no public one.
    config = \
        """
        BR2_arm=y
        BR2_cortex_a9=y
        BR2_ARM_ENABLE_NEON=y
        BR2_ARM_ENABLE_VFP=y
        BR2_TOOLCHAIN_EXTERNAL=y
        BR2_TARGET_GENERIC_GETTY_PORT="ttyAMA0"
        BR2_TARGET_ROOTFS_CPIO=y
        # BR2_TARGET_ROOTFS_TAR is not set
        BR2_PACKAGE_FEDECKS_DEVICE=y
        BR2_PACKAGE_FEDECKS_DEVICE_SITE="{}"
        """.format(os.environ.get("FEDECKS_DEVICE_SITE", ""))

    def test_run(self):
        img = os.path.join(self.builddir, "images", "rootfs.cpio")
        self.emulator.boot(arch="armv7",
                           kernel="builtin",
                           options=["-initrd", img])
        self.emulator.login()
        self.assertRunOk("fedecksd --version")
        self.assertRunOk("/etc/init.d/S60fedecksd status")
        self.assertRunOk("pidof fedecksd")
        self.assertRunOk("/etc/init.d/S60fedecksd stop")
        _, exit_code = self.emulator.run("pidof fedecksd")
        self.assertNotEqual(exit_code, 0)
