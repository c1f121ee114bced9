//! A generated certificate with its own authority, for tests on one machine.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fedecks_cloud::serve::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::error::ServerError;

pub(crate) struct SelfSigned {
    pub(crate) tls: Tls,
    /// The certificate of its authority: a device's `ca_file`.
    pub(crate) authority: PathBuf,
}

/// The names that the certificate is valid for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl SelfSigned {
    /// Loads the certificate in `data_dir`, or generates one. The authority's key is discarded, so that
    /// no further certificates can be issued that its devices trust.
    pub(crate) fn load_or_generate(data_dir: &Path) -> Result<Self, ServerError> {
        let folder = data_dir.join("self-signed");
        let file = |name: &str| folder.join(name);
        // The authority is written last, when the rest is complete.
        if !file("ca.pem").exists() {
            generate(&folder)?;
        }
        Ok(Self {
            tls: Tls::from_pem_files(file("cert.pem"), file("key.pem"))?,
            authority: file("ca.pem"),
        })
    }
}

fn generate(folder: &Path) -> Result<(), ServerError> {
    let now = SystemTime::now();
    let valid = |mut parameters: CertificateParams, name: &str| {
        // A device's clock may be slow.
        parameters.not_before = (now - Duration::from_secs(24 * 3600)).into();
        parameters.not_after = (now + VALID_FOR).into();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    };
    let mut authority = valid(CertificateParams::default(), "Fedecks trial authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority = authority.self_signed(&authority_key)?;

    let mut server =
        valid(CertificateParams::new(NAMES.map(String::from))?, "Fedecks trial server");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let server = server.signed_by(&key, &authority, &authority_key)?;

    let write = |name: &str, mode, content: &str| {
        let file = folder.join(name);
        write(&file, mode, content).map_err(ServerError::io(format!("write {}", file.display())))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(ServerError::io(format!("create {}", folder.display())))?;
    write("key.pem", 0o600, &key.serialize_pem())?;
    write("cert.pem", 0o644, &server.pem())?;
    write("ca.pem", 0o644, &authority.pem())
}

/// Writes a file that is complete or absent, and never has other permissions than `mode`.
fn write(file: &Path, mode: u32, content: &str) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    // An abandoned one might have other permissions.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut writing =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    writing.write_all(content.as_bytes())?;
    writing.sync_all()?;
    fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_generated_once_with_a_key_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = SelfSigned::load_or_generate(folder.path()).unwrap();
        let authority = fs::read_to_string(&first.authority).unwrap();
        assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"), "{authority}");
        let key = folder.path().join("self-signed/key.pem");
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);

        let again = SelfSigned::load_or_generate(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(again.authority).unwrap(), authority);
    }
}
