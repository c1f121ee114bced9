//! Certificate authorities by the command `openssl`, as factories have them, with certificates and revocation lists of
//! every kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The key of a certificate, and how its issuer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// ECDSA P-256.
    P256,
    /// ECDSA P-384.
    P384,
    /// ECDSA P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits.
    Rsa,
}

/// An authority, in a separate directory.
pub struct OpensslAuthority {
    folder: PathBuf,
    /// Its own certificate, in PEM.
    pub certificate: PathBuf,
    /// The certificates between its own and the root's, in PEM.
    chain: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, followed by the intermediates, in PEM.
    pub certificate: PathBuf,
    /// The key, in PEM.
    pub key: PathBuf,
}

/// What to issue; [`Request::new`] and then changed.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The subject, such as `/CN=kitchen-1`.
    pub subject: String,
    /// Extensions, as lines of openssl's configuration.
    pub extensions: String,
    /// When it begins, such as `20200101000000Z`.
    pub start: &'a str,
    /// When it ends.
    pub end: &'a str,
    /// The digest that signs it.
    pub digest: &'a str,
    /// The key to certify, instead of a new one.
    pub key: Option<&'a Path>,
    /// The type of a new key.
    pub key_type: Key,
}

const PAST: &str = "20200101000000Z";
const FUTURE: &str = "21200101000000Z";

impl Request<'_> {
    /// A certificate for a client with this common name, valid now.
    pub fn new(name: &str) -> Self {
        let extensions = "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
                          extendedKeyUsage = clientAuth\n";
        Self {
            subject: format!("/O=Example/CN={name}"),
            extensions: extensions.to_owned(),
            start: PAST,
            end: FUTURE,
            digest: "sha256",
            key: None,
            key_type: Key::P256,
        }
    }

    /// This request after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl OpensslAuthority {
    /// A root with this name.
    pub fn new(folder: &Path, name: &str) -> Self {
        Self::with_key(folder, name, Key::P256)
    }

    /// A root with this name and a key of this type.
    pub fn with_key(folder: &Path, name: &str, key: Key) -> Self {
        let root = Self::prepare(&folder.join(name), key);
        let request = root.request(&Request::new(name), &root.at("key.pem"));
        let extensions = root.at("root.cnf");
        fs::write(&extensions, AUTHORITY).unwrap();
        let extensions = extensions.display().to_string();
        let own_key = root.at("key.pem").display().to_string();
        let request = request.display().to_string();
        let selfsign = ["-selfsign", "-keyfile", &own_key];
        root.sign(&request, &extensions, &root.certificate, (PAST, FUTURE, "default"), &selfsign);
        root
    }

    /// An authority whose certificate this one has issued.
    pub fn intermediate(&self, name: &str) -> Self {
        let folder = self.folder.parent().unwrap().join(name);
        let mut authority = Self::prepare(&folder, Key::P256);
        let key = authority.at("key.pem");
        let request = Request::new(name).with(|it| {
            it.extensions = AUTHORITY.to_owned();
            it.key = Some(&key);
        });
        let issued = self.issue(&request);
        authority.chain = fs::read_to_string(&issued.certificate).unwrap();
        fs::write(&authority.certificate, &authority.chain).unwrap();
        authority
    }

    /// Issues a certificate, with the intermediates behind it.
    pub fn issue(&self, request: &Request<'_>) -> Issued {
        let number = fs::read_dir(&self.folder).unwrap().count();
        let [extensions, certificate, new_key] =
            ["cnf", "pem", "key"].map(|ending| self.at(&format!("{number}.{ending}")));
        fs::write(&extensions, &request.extensions).unwrap();
        let key = request.key.map_or(new_key, Path::to_owned);
        if request.key.is_none() {
            generate(&key, request.key_type);
        }
        let csr = self.request(request, &key).display().to_string();
        let validity = (request.start, request.end, request.digest);
        self.sign(&csr, &extensions.display().to_string(), &certificate, validity, &[]);
        let chain = fs::read_to_string(&certificate).unwrap() + self.chain.as_str();
        fs::write(&certificate, chain).unwrap();
        Issued { certificate, key }
    }

    /// Revokes a certificate; the next list has it.
    pub fn revoke(&self, issued: &Path) {
        self.ca(&["-revoke", &issued.display().to_string()]);
    }

    /// Writes a revocation list in PEM that ends in a hundred years.
    pub fn crl(&self) -> PathBuf {
        self.crl_until(FUTURE)
    }

    /// Writes a revocation list in PEM after which the next one is due at `end`.
    pub fn crl_until(&self, end: &str) -> PathBuf {
        let file = self.at("crl.pem");
        let new = self.at("new-crl.pem").display().to_string();
        self.ca(&["-gencrl", "-crl_lastupdate", PAST, "-crl_nextupdate", end, "-out", &new]);
        fs::rename(new, &file).unwrap();
        file
    }

    fn prepare(folder: &Path, key: Key) -> Self {
        fs::create_dir(folder).unwrap();
        let text = CONFIGURATION.replace("FOLDER", &folder.display().to_string());
        for (name, content) in
            [("ca.cnf", &*text), ("index.txt", ""), ("index.txt.attr", "unique_subject = no\n")]
        {
            fs::write(folder.join(name), content).unwrap();
        }
        for name in ["serial", "crlnumber"] {
            fs::write(folder.join(name), "1000\n").unwrap();
        }
        generate(&folder.join("key.pem"), key);
        let certificate = folder.join("ca.pem");
        Self { folder: folder.to_owned(), certificate, chain: String::new() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn request(&self, request: &Request<'_>, key: &Path) -> PathBuf {
        let csr = self.at("request.pem");
        let (key, out) = (key.display().to_string(), csr.display().to_string());
        let config = self.at("ca.cnf").display().to_string();
        let subject = &request.subject;
        openssl(&["req", "-new", "-config", &config, "-key", &key, "-subj", subject, "-out", &out]);
        csr
    }

    fn sign(
        &self,
        request: &str,
        extensions: &str,
        out: &Path,
        (start, end, digest): (&str, &str, &str),
        more: &[&str],
    ) {
        let out = out.display().to_string();
        let arguments = ["-in", request, "-extfile", extensions, "-out", &out, "-notext"];
        let validity = ["-startdate", start, "-enddate", end, "-md", digest];
        self.ca(&[&arguments[..], &validity, more].concat());
    }

    fn ca(&self, arguments: &[&str]) {
        let config = self.at("ca.cnf").display().to_string();
        openssl(&[&["ca", "-batch", "-config", &config], arguments].concat());
    }
}

const AUTHORITY: &str = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n";

const CONFIGURATION: &str = "\
[ca]
default_ca = own
[own]
database = FOLDER/index.txt
serial = FOLDER/serial
crlnumber = FOLDER/crlnumber
new_certs_dir = FOLDER
certificate = FOLDER/ca.pem
private_key = FOLDER/key.pem
default_md = default
default_days = 30
default_crl_days = 30
policy = any
email_in_dn = no
[any]
organizationName = optional
commonName = optional
[req]
distinguished_name = subject
[subject]
";

fn generate(file: &Path, key: Key) {
    let options: &[&str] = match key {
        Key::P256 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        Key::P384 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        Key::P521 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
        Key::Ed25519 => &["ED25519"],
        Key::Rsa => &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    };
    let file = file.display().to_string();
    openssl(&[&["genpkey", "-out", &file, "-algorithm"], options].concat());
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {error}");
}
