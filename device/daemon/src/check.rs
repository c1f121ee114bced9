//! `fedecksd --check`: does what the service does at its start, as the user of the service, and writes nothing.
//! It does not use the network.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use fedecks_device::storage::DataDir;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, User, access, geteuid};

use crate::config::DeviceConfig;
use crate::daemon::{builder, load};
use crate::error::DaemonError;
use crate::identity::{self, DeviceIdentity, IdentityFile};
use crate::provisioning;
use crate::unreachable_action::UnreachableAction;
use crate::volatile_data;

/// The user of the shipped unit and init script.
const SERVICE_USER: &str = "fedecks";

/// Where the system bus looks for who may use the service.
const POLICIES: [&str; 2] = [
    "/usr/share/dbus-1/system.d/org.fedecks.Device1.conf",
    "/etc/dbus-1/system.d/org.fedecks.Device1.conf",
];
const BUS: &str = "/run/dbus/system_bus_socket";

/// What the service writes into its data directory begins like this.
const STORED: [&str; 7] =
    ["identity", "lock", "provisioning", "registration-nonce", "time", "token", "unreachable"];

/// The result of a check without an error: the service would run.
#[derive(Debug)]
pub struct CheckReport {
    /// In one line, which device it would be, at which cloud.
    pub summary: String,
    /// What is wrong, and does not keep it from running.
    pub warnings: Vec<String>,
}

impl CheckReport {
    /// The exit status of a check with warnings.
    pub const WARNINGS_EXIT_CODE: u8 = 3;
}

/// Checks the configuration and all files that the start depends on. Root becomes `user`, or that of the shipped
/// unit if there is one, for good.
pub fn check(config: Option<&Path>, user: Option<&str>) -> Result<CheckReport, DaemonError> {
    let name = user.unwrap_or(SERVICE_USER);
    let became = become_user(name, user.is_some())
        .map_err(|error| DaemonError::User { user: name.to_owned(), error })?;
    let by = match became {
        true => format!("; checked as the user {name}"),
        false => String::new(),
    };
    match check_as_it(config) {
        Ok(report) => Ok(CheckReport { summary: format!("{}{by}", report.summary), ..report }),
        Err(error) => Err(DaemonError::Check { error: Box::new(error), by }),
    }
}

fn check_as_it(config: Option<&Path>) -> Result<CheckReport, DaemonError> {
    let config = load(config)?;
    let identity = match config.device_id.clone() {
        Some(id) => DeviceIdentity { id, source: None },
        None => {
            let file = IdentityFile::new(&config.data_dir);
            identity::peek(config.device_id_from, &file)?
        }
    };
    builder(&config, &identity).check().map_err(|error| config.explain(error))?;
    let summary = format!("the configuration is valid: device {} at {}", identity.id, config.url);
    let mut warnings = config.warnings.clone();
    warnings.extend(config.unreachable_action.as_ref().and_then(UnreachableAction::problem));
    warnings.extend(data_dir_problem(&config.data_dir));
    warnings.extend(volatile_data::problem(&config.data_dir));
    warnings.extend(unreadable_files(&config.data_dir));
    warnings.extend(provisioning_problem(&config));
    warnings.extend(policy_problem());
    Ok(CheckReport { summary, warnings })
}

/// Whether it became the user. Anyone but root stays who it is; so does root without the user, unless it is
/// `required`.
fn become_user(name: &str, required: bool) -> io::Result<bool> {
    if !geteuid().is_root() {
        let is_it = || User::from_uid(geteuid()).ok().flatten().is_some_and(|it| it.name == name);
        return match required && !is_it() {
            true => Err(io::Error::other("only root can check as another user")),
            false => Ok(false),
        };
    }
    let Some(user) = User::from_name(name)? else {
        return match required {
            true => Err(io::Error::other("no such user")),
            false => Ok(false),
        };
    };
    if user.uid.is_root() {
        // A container may not allow to set its groups, which add nothing.
        return Ok(true);
    }
    fedecks_common::become_user(user.uid, user.gid, Some(&user.name))?;
    Ok(true)
}

fn data_dir_problem(directory: &Path) -> Option<String> {
    let all = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    let shown = directory.display();
    if directory.metadata().is_ok_and(|found| !found.is_dir()) {
        return Some(format!("the data directory {shown} is not a directory"));
    }
    match access(directory, all) {
        Ok(()) => None,
        // The service creates it.
        Err(Errno::ENOENT) if DataDir::unlocked(directory).can_be_created() => None,
        Err(Errno::ENOENT) => Some(format!(
            "the data directory {shown} does not exist and cannot be created; is its partition mounted?"
        )),
        Err(error) => {
            Some(format!("the data directory {shown} cannot be used: {}", io::Error::from(error)))
        }
    }
}

/// Files of the service that another user has written, such as root.
fn unreadable_files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let problem = |file: &Path| match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(format!("cannot read {}: {error}", file.display()))
        }
        _ => None,
    };
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.split('.').next());
            name.is_some_and(|name| STORED.contains(&name))
        })
        .filter_map(|entry| problem(&entry.path()))
        .collect()
}

fn provisioning_problem(config: &DeviceConfig) -> Option<String> {
    let file = &config.provision_file;
    let problem = provisioning::file_problem(file)?;
    Some(format!("the provisioning file {} {problem}", file.display()))
}

fn policy_problem() -> Option<String> {
    let uses_another_bus = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
    if uses_another_bus || !Path::new(BUS).exists() {
        return None;
    }
    match POLICIES.iter().any(|policy| Path::new(policy).exists()) {
        true => None,
        false => Some(format!("there is a system bus, but no policy for it: {}", POLICIES[0])),
    }
}
