################################################################################
#
# fedecks-device
#
################################################################################

FEDECKS_DEVICE_VERSION = 0.1.0
# There is no public place yet.
FEDECKS_DEVICE_SITE = $(or \
	$(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_SITE)),https://unset.invalid)
# The archive includes its crates, so Buildroot adds nothing to it and no suffix to
# its name.
FEDECKS_DEVICE_SOURCE = fedecks-device-$(FEDECKS_DEVICE_VERSION)-vendored.tar.gz
# Of everything that is linked in or that the compiler runs for it, listed in NOTICES.
FEDECKS_DEVICE_LICENSE = \
	Apache-2.0, \
	BSD-3-Clause, \
	CDLA-Permissive-2.0, \
	ISC, \
	MIT, \
	Unicode-3.0
FEDECKS_DEVICE_LICENSE_FILES = LICENSE NOTICES

FEDECKS_DEVICE_URL = $(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_URL))
FEDECKS_DEVICE_TOKEN_DIR = $(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR))

# What is left of a value without the characters that it may contain: those of an
# address without the quote, and those of a directory that need no quoting anywhere.
FEDECKS_DEVICE_LEFT = $(findstring ',$(1))$(word 2,$(1))$(shell \
	printf '%s' '$(subst ',,$(1))' | tr -d 'A-Za-z0-9._/$(2)-')
FEDECKS_DEVICE_URL_LEFT = $(call FEDECKS_DEVICE_LEFT,$(FEDECKS_DEVICE_URL),][~:?@!&()*+;=%|)
FEDECKS_DEVICE_DIR_LEFT = $(call FEDECKS_DEVICE_LEFT,$(FEDECKS_DEVICE_TOKEN_DIR))

ifeq ($(BR2_PACKAGE_FEDECKS_DEVICE)$(BR_BUILDING),yy)
ifeq ($(call qstrip,$(BR2_PACKAGE_FEDECKS_DEVICE_SITE))$(FEDECKS_DEVICE_OVERRIDE_SRCDIR),)
$(error fedecks-device: set BR2_PACKAGE_FEDECKS_DEVICE_SITE to the place of its source \
	archive, or FEDECKS_DEVICE_OVERRIDE_SRCDIR to a checkout)
endif
# make cuts a value in .config at a number sign, with the quote that ends it.
ifneq ($(FEDECKS_DEVICE_URL_LEFT)$(filter-out "%",$(BR2_PACKAGE_FEDECKS_DEVICE_URL)),)
$(error fedecks-device: no space, quote, backslash or number sign may be in \
	BR2_PACKAGE_FEDECKS_DEVICE_URL, which is $(BR2_PACKAGE_FEDECKS_DEVICE_URL))
endif
ifneq ($(FEDECKS_DEVICE_DIR_LEFT)$(filter-out "/%",$(BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR)),)
$(error fedecks-device: BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR must begin with a slash and have only \
	letters, digits and ._/-, but is $(BR2_PACKAGE_FEDECKS_DEVICE_DATA_DIR))
endif
endif

# The profile device of Cargo.toml, for size. Buildroot decides about stripping.
FEDECKS_DEVICE_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1" \
	CARGO_PROFILE_RELEASE_PANIC="abort"
FEDECKS_DEVICE_CARGO_BUILD_OPTS = --package fedecks-daemon
# No path of the build machine is in the programs, so they do not depend on where they
# are built. Added to Buildroot's own flags, which the variable would replace.
FEDECKS_DEVICE_CARGO_BUILD_OPTS += --config 'target."cfg(all())".rustflags = [ \
	"--remap-path-prefix=$(@D)=/fedecks", \
	"--remap-path-prefix=$(@D)/VENDOR=/crates", \
	"--remap-path-prefix=$(BR_CARGO_HOME)/registry/src=/crates"]'

# A checkout has the server as well, no crates, and maybe builds. The archive has none
# of these, and the time of its commit.
ifneq ($(FEDECKS_DEVICE_OVERRIDE_SRCDIR),)
FEDECKS_DEVICE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /target

define FEDECKS_DEVICE_ONLY
	$(@D)/ci/device-only $(@D)
endef
FEDECKS_DEVICE_POST_RSYNC_HOOKS += FEDECKS_DEVICE_ONLY

FEDECKS_DEVICE_CARGO_ENV += $(addprefix SOURCE_DATE_EPOCH=,$(shell \
	git -c safe.directory='*' -C $(FEDECKS_DEVICE_OVERRIDE_SRCDIR) \
		log -1 --format=%ct 2>/dev/null))

define FEDECKS_DEVICE_FETCH_CRATES
	cd $(@D) && \
	$(TARGET_MAKE_ENV) \
		$(PKG_CARGO_ENV) \
		cargo fetch --locked
endef
FEDECKS_DEVICE_PRE_BUILD_HOOKS += FEDECKS_DEVICE_FETCH_CRATES
endif

FEDECKS_DEVICE_BUILT = \
	$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)

ifneq ($(strip $(foreach domain,com org net,$(findstring example.$(domain),$(FEDECKS_DEVICE_URL)))),)
FEDECKS_DEVICE_PLACEHOLDER = $(FEDECKS_DEVICE_URL)
else ifeq ($(FEDECKS_DEVICE_URL),)
FEDECKS_DEVICE_PLACEHOLDER = no address
endif

define FEDECKS_DEVICE_WARN
	@$(call MESSAGE,"BR2_PACKAGE_FEDECKS_DEVICE_URL is $(FEDECKS_DEVICE_PLACEHOLDER)$(comma) not your cloud")
endef

# A file of this name in the image's overlay replaces it. The values are not given to sed,
# which would interpret them.
define FEDECKS_DEVICE_INSTALL_CONFIGURATION
	$(if $(FEDECKS_DEVICE_PLACEHOLDER),$(FEDECKS_DEVICE_WARN))
	mkdir -p $(TARGET_DIR)/etc/fedecks
	URL='$(FEDECKS_DEVICE_URL)' DIRECTORY='$(FEDECKS_DEVICE_TOKEN_DIR)' \
	awk '/^url = / { $$0 = "url = \"" ENVIRON["URL"] "\"" } \
		/^#data_dir = / { $$0 = "data_dir = \"" ENVIRON["DIRECTORY"] "\"" } 1' \
		$(@D)/device/data/fedecks.toml \
		> $(TARGET_DIR)/etc/fedecks/fedecks.toml
endef

ifeq ($(BR2_PACKAGE_FEDECKS_DEVICE_NETWORK_MANAGER),y)
define FEDECKS_DEVICE_PIN_NETWORK_MANAGER
	$(SED) 's|^#network = .*|network = "network-manager"|' \
		$(TARGET_DIR)/etc/fedecks/fedecks.toml
endef
endif

ifeq ($(BR2_PACKAGE_FEDECKS_DEVICE_SYSTEM_AUTHORITIES),y)
FEDECKS_DEVICE_CARGO_BUILD_OPTS += --no-default-features
define FEDECKS_DEVICE_USE_SYSTEM_AUTHORITIES
	$(SED) 's|^#ca_file = .*|ca_file = "/etc/ssl/certs/ca-certificates.crt"|' \
		-e 's|^#only_ca_file = .*|only_ca_file = true|' \
		$(TARGET_DIR)/etc/fedecks/fedecks.toml
endef
endif

ifeq ($(BR2_PACKAGE_FEDECKS_DEVICE_DBUS),y)
FEDECKS_DEVICE_DEPENDENCIES += dbus
FEDECKS_DEVICE_CARGO_BUILD_OPTS += --package fedecks-cli
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
	mkdir -p $(TARGET_DIR)/usr/share/fedecks-device
	gzip -9nc $(@D)/NOTICES > $(TARGET_DIR)/usr/share/fedecks-device/NOTICES.gz
	$(FEDECKS_DEVICE_INSTALL_CONFIGURATION)
	$(FEDECKS_DEVICE_PIN_NETWORK_MANAGER)
	$(FEDECKS_DEVICE_USE_SYSTEM_AUTHORITIES)
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
