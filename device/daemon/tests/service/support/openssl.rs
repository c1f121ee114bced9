//! Certificates and TLS servers of OpenSSL: what rustls does not make, and does not accept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{has_programs, within};

const PROGRAMS: [(&str, &str); 1] = [("openssl", "openssl")];

/// How each kind of certificate is issued; without extensions a root that is not for clients.
const EXTENSIONS: &str = "
[authority]
basicConstraints = critical, CA:true
[no_further_authority]
basicConstraints = critical, CA:true, pathlen:0
[server]
basicConstraints = CA:false
subjectAltName = DNS:localhost
[elsewhere]
subjectAltName = DNS:cloud.example.com, DNS:*.example.org, IP:192.0.2.7, IP:2001:db8::7
[nameless]
basicConstraints = CA:false
[many]
subjectAltName = DNS:a1.test, DNS:a2.test, DNS:a3.test, DNS:a4.test, DNS:a5.test, DNS:a6.test
[client]
extendedKeyUsage = clientAuth
subjectAltName = DNS:localhost
[authority_as_server]
basicConstraints = critical, CA:true
subjectAltName = DNS:localhost
";

/// A folder of certificates: of `NAME` in `NAME.pem`, with its key in `NAME.key`.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    /// None, and the test is skipped, without OpenSSL. There is an authority, `root`.
    pub(crate) fn new() -> Option<Self> {
        if !has_programs(&PROGRAMS) {
            return None;
        }
        let this = Self(tempfile::tempdir().unwrap());
        fs::write(this.path("extensions"), EXTENSIONS).unwrap();
        this.issue("root", "root", "P-256", "sha256", "authority");
        Some(this)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Issues a certificate: one of `issuer`, signed with `hash`, for a new key of this kind.
    pub(crate) fn issue(&self, name: &str, issuer: &str, key: &str, hash: &str, kind: &str) {
        let algorithm = match key.strip_prefix("RSA-") {
            Some(bits) => format!("RSA -pkeyopt rsa_keygen_bits:{bits}"),
            None => format!("EC -pkeyopt ec_paramgen_curve:{key}"),
        };
        let by = if name == issuer {
            format!("-signkey {name}.key")
        } else {
            format!("-CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial")
        };
        let script = format!(
            "set -e
            openssl genpkey -algorithm {algorithm} -out {name}.key
            openssl req -new -key {name}.key -subj /CN={name} -{hash} -out {name}.csr
            openssl x509 -req -in {name}.csr {by} -days 30 -{hash} \
                -extfile extensions -extensions {kind} -out {name}.pem"
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts `openssl s_server` with these further arguments.
    pub(crate) async fn serve(&self, arguments: &str) -> Server {
        let script = format!("exec openssl s_server -accept 127.0.0.1:0 {arguments} 2>&1");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(self.0.path())
            // It ends with its standard input.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Server { port: 0, lines, _child: child };
        let accepts = server.prints("ACCEPT ").await;
        server.port = accepts.rsplit(':').next().unwrap().parse().unwrap();
        server
    }
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Server {
    /// Waits for the next line that begins like this.
    pub(crate) async fn prints(&mut self, beginning: &str) -> String {
        let mut log = String::new();
        within(async {
            loop {
                let Some(line) = self.lines.next_line().await.unwrap() else {
                    panic!("openssl ended: {log}")
                };
                if line.starts_with(beginning) {
                    return line;
                }
                log.push_str(&line);
            }
        })
        .await
    }
}

/// Copies a file over another one in one step.
pub(crate) fn replace(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    fs::copy(from, &new).unwrap();
    fs::rename(new, to).unwrap();
}
