################################################################################
#
# fedecks-device
#
################################################################################

FEDECKS_DEVICE_VERSION = 0.1.0
FEDECKS_DEVICE_SITE = https://fedecks.example.org/releases
FEDECKS_DEVICE_LICENSE = Apache-2.0
FEDECKS_DEVICE_LICENSE_FILES = LICENSE
FEDECKS_DEVICE_DEPENDENCIES = host-rustc

# The profile for images. Buildroot's own commands know release and dev only.
define FEDECKS_DEVICE_BUILD_CMDS
	cd $(@D) && \
	$(TARGET_MAKE_ENV) \
		$(TARGET_CONFIGURE_OPTS) \
		$(PKG_CARGO_ENV) \
		cargo build \
			--offline \
			--locked \
			--profile device \
			--package fedecks-device
endef

FEDECKS_DEVICE_BUILT = $(@D)/target/$(RUSTC_TARGET_NAME)/device

define FEDECKS_DEVICE_INSTALL_CONFIGURATION
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecks.toml \
		$(TARGET_DIR)/etc/fedecks/fedecks.toml
	$(SED) 's|^url = .*|url = "$(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_URL))"|' \
		-e 's|^#data_dir = .*|data_dir = "$(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR))"|' \
		$(TARGET_DIR)/etc/fedecks/fedecks.toml
endef

ifeq ($(BR2_PACKAGE_FEDECKS_DEVICE_NETWORK_MANAGER),y)
define FEDECKS_DEVICE_PIN_NETWORK_MANAGER
	$(SED) 's|^#network = .*|network = "network-manager"|' \
		$(TARGET_DIR)/etc/fedecks/fedecks.toml
endef
endif

ifeq ($(BR2_PACKAGE_FEDECKS_DEVICE_DBUS),y)
FEDECKS_DEVICE_DEPENDENCIES += dbus
define FEDECKS_DEVICE_INSTALL_DBUS
	$(INSTALL) -D -m 0755 $(FEDECKS_DEVICE_BUILT)/fedecks $(TARGET_DIR)/usr/bin/fedecks
	$(INSTALL) -D -m 0644 $(@D)/device/data/org.fedecks.Device1.conf \
		$(TARGET_DIR)/usr/share/dbus-1/system.d/org.fedecks.Device1.conf
endef
endif

define FEDECKS_DEVICE_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(FEDECKS_DEVICE_BUILT)/fedecksd $(TARGET_DIR)/usr/bin/fedecksd
	$(FEDECKS_DEVICE_INSTALL_CONFIGURATION)
	$(FEDECKS_DEVICE_PIN_NETWORK_MANAGER)
	$(FEDECKS_DEVICE_INSTALL_DBUS)
endef

define FEDECKS_DEVICE_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecksd.service \
		$(TARGET_DIR)/usr/lib/systemd/system/fedecksd.service
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecks.tmpfiles.conf \
		$(TARGET_DIR)/usr/lib/tmpfiles.d/fedecks.conf
	$(INSTALL) -D -m 0644 $(FEDECKS_DEVICE_PKGDIR)/fedecks-data.service \
		$(TARGET_DIR)/usr/lib/systemd/system/fedecks-data.service
endef

define FEDECKS_DEVICE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/device/data/fedecksd.init \
		$(TARGET_DIR)/etc/init.d/S60fedecksd
	mkdir -p $(TARGET_DIR)/etc/default
	printf 'DATA_DIR=%s\n' $(BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR) \
		> $(TARGET_DIR)/etc/default/fedecksd
endef

define FEDECKS_DEVICE_USERS
	fedecks -1 fedecks -1 * - - - Fedecks device service
endef

define FEDECKS_DEVICE_PERMISSIONS
	/etc/fedecks/fedecks.toml f 644 0 0 - - - - -
endef

$(eval $(cargo-package))
