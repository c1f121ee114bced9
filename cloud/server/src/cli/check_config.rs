//! `check-config`: does what `serve` does at its start, as the server's user, and prints the effective settings
//! without secrets. What is wrong goes to standard error.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use fedecks_cloud::serve::{ServeError, Severity, check_addresses};
use fedecks_store::unix_now;
use nix::unistd::{User, geteuid};
use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::effective_settings::{certificates, describe};
use super::error::CliError;
use super::output::{Format, Output, print_notice};
use super::place::{Place, start_runtime};
use crate::cluster;
use crate::config::{Config, ConfigError, Overrides, warning_of_environment};
use crate::error::ServerError;
use crate::owner::{act_as, act_as_owner_of};
use crate::preflight::{self, Preflight};
use crate::store;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// User that the server runs as, by name or number; only for root [default: the owner of the store's directory]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Authorities that the devices trust besides the public ones (a PEM file): their `ca_file`
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// The user of the package's unit.
const INSTALLED_USER: &str = "fedecks";

/// Reads everything that the server would read, and changes nothing.
pub(super) fn run(arguments: Arguments, output: &mut Output<'_>) -> Result<(), CliError> {
    let Arguments { place, user, ca_file, format } = arguments;
    let (file, installed) = (place.file().map(Path::to_owned), place.is_installed());
    let config = place.load(Overrides::default())?;
    let authorities = ca_file.as_deref().map(read_authorities).transpose()?;
    // While this is root, who needs no capability for it: the unit gives it to the server.
    let addresses = check_addresses(&preflight::addresses(&config));
    let must_read = become_user(&config, user.as_deref(), installed)?;
    if let Some(file) = &file {
        check_readable(file, must_read)?;
    }
    let preflight = preflight::check(&config)?;
    let runtime = start_runtime()?;
    let has_store = store::check_access(&config, &runtime)?;
    if let Some(cluster) = &config.cluster {
        runtime.block_on(cluster::check(cluster))?;
    }
    output.print_status(format, describe(&config, &preflight, has_store))?;
    let variables = std::env::vars_os().map(|(name, _)| name);
    for warning in preflight.warnings.iter().chain(&warning_of_environment(variables)) {
        print_notice(&format!("warning: {warning}"));
    }
    let refused = print_findings(&preflight, authorities.as_deref());
    let refuses = print_client_findings(&preflight);
    let unusable = addresses.iter().filter(|error| !explain(error)).count();
    if unusable > 0 {
        return Err(CliError::CannotListen(unusable));
    }
    if refuses {
        return Err(CliError::RefusesDevices);
    }
    if refused { Err(CliError::RefusedCertificate) } else { Ok(()) }
}

/// Becomes the server's user, who may be unable to read what root can; without a name only if root runs the check.
/// Returns whether that user has to be able to read the configuration, too; a server that root starts reads it as
/// root.
fn become_user(config: &Config, user: Option<&str>, installed: bool) -> Result<bool, CliError> {
    if let Some(user) = user {
        act_as(user)?;
        return Ok(true);
    }
    if !geteuid().is_root() {
        return Ok(true);
    }
    if act_as_owner_of(&config.own_files())?.is_some() {
        return Ok(installed);
    }
    if installed && User::from_name(INSTALLED_USER).ok().flatten().is_some() {
        act_as(INSTALLED_USER)?;
        return Ok(true);
    }
    print_notice("note: checked as root; if the server runs as another user, add --user USER");
    for warning in config.warnings_of_root() {
        print_notice(&format!("warning: {warning}"));
    }
    Ok(false)
}

fn check_readable(file: &Path, must_be: bool) -> Result<(), CliError> {
    let Err(source) = File::open(file) else { return Ok(()) };
    let error = ConfigError::Unreadable { file: file.to_owned(), source };
    if must_be {
        return Err(error.into());
    }
    print_notice(&format!("warning: a server that is not started by root {error}"));
    Ok(())
}

/// The certificates of a device's `ca_file`.
fn read_authorities(file: &Path) -> Result<Vec<TrustAnchor<'static>>, CliError> {
    let reading = || ServerError::io(format!("read PEM certificates from {}", file.display()));
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| match error {
            pem::Error::Io(error) => reading()(error),
            _ => reading()(io::Error::other("invalid PEM")),
        })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| reading()(io::Error::other(error)))?;
    }
    if roots.is_empty() {
        return Err(reading()(io::Error::other("it contains none")).into());
    }
    Ok(roots.roots)
}

/// Prints what devices will make of each certificate. Returns whether they refuse one.
fn print_findings(preflight: &Preflight, authorities: Option<&[TrustAnchor<'static>]>) -> bool {
    let mut refused = false;
    for tls in certificates(preflight) {
        let report = match authorities {
            Some(authorities) => preflight::report_for(tls, authorities),
            None => preflight::report(tls),
        };
        for finding in report.findings {
            let word = match finding.severity {
                Severity::Refused => "error",
                Severity::Note => "note",
                _ => "warning",
            };
            refused |= finding.severity == Severity::Refused;
            print_notice(&format!("{word}: {}: {}", tls.certificate().display(), finding.text));
        }
    }
    refused
}

/// Prints what is wrong with what the listeners verify the certificates of devices by; listeners with the same
/// certificate may have other authorities. Returns whether they refuse all of an issuer.
fn print_client_findings(preflight: &Preflight) -> bool {
    let mut refused = false;
    for tls in preflight.certificates.iter().flatten() {
        for finding in tls.client_auth_findings(unix_now()) {
            let is_refused = finding.severity == Severity::Refused;
            refused |= is_refused;
            let word = if is_refused { "error" } else { "warning" };
            print_notice(&format!("{word}: certificates of devices: {}", finding.text));
        }
    }
    refused
}

/// Prints why an address cannot be listened on. Returns whether the server may be able to nevertheless.
fn explain(error: &ServeError) -> bool {
    let kind = match error {
        ServeError::Listen { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    match kind {
        io::ErrorKind::AddrInUse => {
            print_notice(&format!("note: {error}; this is expected while the server runs"));
        }
        // The unit may give the server what this process lacks.
        io::ErrorKind::PermissionDenied => print_notice(&format!("warning: {error}")),
        _ => {
            print_notice(&format!("error: {error}"));
            return false;
        }
    }
    true
}
