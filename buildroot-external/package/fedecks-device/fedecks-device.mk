################################################################################
#
# fedecks-device
#
################################################################################

FEDECKS_DEVICE_VERSION = 0.1.0
FEDECKS_DEVICE_SITE = https://fedecks.example.org/releases
# The archive includes its crates, so Buildroot adds nothing to it and no suffix to
# its name.
FEDECKS_DEVICE_SOURCE = fedecks-device-$(FEDECKS_DEVICE_VERSION)-vendored.tar.gz
FEDECKS_DEVICE_LICENSE = Apache-2.0
FEDECKS_DEVICE_LICENSE_FILES = LICENSE

# For FEDECKS_DEVICE_OVERRIDE_SRCDIR: a checkout contains no crates, but maybe builds.
FEDECKS_DEVICE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /target
FEDECKS_DEVICE_OFFLINE = $(if $(FEDECKS_DEVICE_OVERRIDE_SRCDIR),,--offline)

FEDECKS_DEVICE_PACKAGES = --package fedecks-daemon

# BR2_STRIP_strip decides about stripping.
FEDECKS_DEVICE_CARGO_ENV = CARGO_PROFILE_DEVICE_STRIP=false

# The profile for images. Buildroot's own commands support only release and dev.
define FEDECKS_DEVICE_BUILD_CMDS
	cd $(@D) && \
	$(TARGET_MAKE_ENV) \
		$(TARGET_CONFIGURE_OPTS) \
		$(PKG_CARGO_ENV) \
		$(FEDECKS_DEVICE_CARGO_ENV) \
		cargo build \
			$(FEDECKS_DEVICE_OFFLINE) \
			--locked \
			--profile device \
			$(FEDECKS_DEVICE_PACKAGES)
endef

FEDECKS_DEVICE_BUILT = $(@D)/target/$(RUSTC_TARGET_NAME)/device
FEDECKS_DEVICE_TOKEN_DIR = $(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR))

# A file of this name in the image's overlay replaces it.
define FEDECKS_DEVICE_INSTALL_CONFIGURATION
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecks.toml \
		$(TARGET_DIR)/etc/fedecks/fedecks.toml
	$(SED) 's|^url = .*|url = "$(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_URL))"|' \
		-e 's|^#data_dir = .*|data_dir = "$(FEDECKS_DEVICE_TOKEN_DIR)"|' \
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
FEDECKS_DEVICE_PACKAGES += --package fedecks-cli
define FEDECKS_DEVICE_INSTALL_DBUS
	$(INSTALL) -D -m 0755 $(FEDECKS_DEVICE_BUILT)/fedecks \
		$(TARGET_DIR)/usr/bin/fedecks
	$(INSTALL) -D -m 0644 $(@D)/device/data/org.fedecks.Device1.conf \
		$(TARGET_DIR)/usr/share/dbus-1/system.d/org.fedecks.Device1.conf
	$(INSTALL) -D -m 0644 $(@D)/device/data/org.fedecks.Device1.xml \
		$(TARGET_DIR)/usr/share/dbus-1/interfaces/org.fedecks.Device1.xml
endef
endif

define FEDECKS_DEVICE_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(FEDECKS_DEVICE_BUILT)/fedecksd \
		$(TARGET_DIR)/usr/bin/fedecksd
	$(FEDECKS_DEVICE_INSTALL_CONFIGURATION)
	$(FEDECKS_DEVICE_PIN_NETWORK_MANAGER)
	$(FEDECKS_DEVICE_INSTALL_DBUS)
endef

# Creates the directory for the token whenever the data partition is mounted on /data.
ifneq ($(filter /data/%,$(FEDECKS_DEVICE_TOKEN_DIR)),)
define FEDECKS_DEVICE_INSTALL_DATA_UNIT
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecks-data.service \
		$(TARGET_DIR)/usr/lib/systemd/system/fedecks-data.service
	$(SED) 's|/data/fedecks$$|$(FEDECKS_DEVICE_TOKEN_DIR)|' \
		$(TARGET_DIR)/usr/lib/systemd/system/fedecks-data.service
endef
endif

define FEDECKS_DEVICE_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecksd.service \
		$(TARGET_DIR)/usr/lib/systemd/system/fedecksd.service
	$(INSTALL) -D -m 0644 $(@D)/device/data/fedecks.tmpfiles.conf \
		$(TARGET_DIR)/usr/lib/tmpfiles.d/fedecks.conf
	$(FEDECKS_DEVICE_INSTALL_DATA_UNIT)
endef

define FEDECKS_DEVICE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/device/data/fedecksd.init \
		$(TARGET_DIR)/etc/init.d/S60fedecksd
	mkdir -p $(TARGET_DIR)/etc/default
	printf 'DATA_DIR=%s\n' $(FEDECKS_DEVICE_TOKEN_DIR) \
		> $(TARGET_DIR)/etc/default/fedecksd
endef

define FEDECKS_DEVICE_USERS
	fedecks -1 fedecks -1 * - - - Fedecks device service
endef

define FEDECKS_DEVICE_PERMISSIONS
	/etc/fedecks d 755 0 0 - - - - -
	/etc/fedecks/fedecks.toml f 644 0 0 - - - - -
endef

$(eval $(cargo-package))
