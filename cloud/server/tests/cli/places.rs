//! Errors about files that the configuration names: with its own file, line and key, and the same from `serve` and
//! `check-config`; and stores that `serve` could not make.

use std::fs;

use fedecks_testing::certificates::Certificate;
use fedecks_testing::cloud_process::{CloudProgram, configuration};
use fedecks_testing::{PASSWORD, USER};
use nix::unistd::geteuid;

use crate::{LISTEN, PROGRAM};

/// What `serve` and `check-config` say, which has to be the same, with their exit status.
async fn refused(program: &CloudProgram) -> (i32, String) {
    let said = async |arguments: &[&str]| {
        let output = program.output(arguments, "").await;
        let errors = String::from_utf8(output.stderr).unwrap();
        // Only root gets notes.
        let errors = errors.lines().filter(|line| !line.starts_with("fedecks-cloud: note: "));
        (output.status.code().unwrap(), errors.collect::<Vec<_>>().join("\n"))
    };
    let served = said(&["serve", "--listen", "127.0.0.1:0"]).await;
    let checked = said(&["check-config"]).await;
    assert_eq!(checked, served, "check-config differs from serve");
    served
}

#[tokio::test]
async fn a_certificate_is_reported_at_its_key() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let other = format!("{listener}{listener}");
    for (lines, problem) in [
        (
            "[tls]\ncertificate = \"nowhere.pem\"\nkey = \"k.pem\"",
            "cloud.toml, line 5: tls.certificate: cannot read a PEM certificate from nowhere.pem: No such file or directory (os error 2)",
        ),
        (
            "[tls]\ncertificate = \"c.pem\"\nkey = \"nowhere.pem\"",
            "cloud.toml, line 6: tls.key: cannot read a PEM private key from nowhere.pem: No such file or directory (os error 2)",
        ),
        (
            "[tls]\ncertificate = \"k.pem\"\nkey = \"k.pem\"",
            "cloud.toml, line 5: tls.certificate: cannot read a PEM certificate from k.pem: the file contains none, but a private key",
        ),
        (
            "[tls]\ncertificate = \"c.pem\"\nkey = \"c.pem\"",
            "cloud.toml, line 6: tls.key: cannot read a PEM private key from c.pem: the file contains none, but certificates",
        ),
        (
            "[tls]\ncertificate = \"c.pem\"\nkey = \"other.pem\"",
            "cloud.toml, line 5: tls.certificate: the certificate in c.pem and the key in other.pem cannot be used together: ",
        ),
        (
            &format!("{other}certificate = \"nowhere.pem\"\nkey = \"k.pem\""),
            "cloud.toml, line 8: listener.certificate: cannot read a PEM certificate from nowhere.pem: ",
        ),
        (
            &format!("{listener}certificate = \"c.pem\"\nkey = \"nowhere.pem\"\n{listener}"),
            "cloud.toml, line 7: listener.key: cannot read a PEM private key from nowhere.pem: ",
        ),
        (
            "[[webhook]]\nname = \"x\"\nurl = \"http://x\"\nca_file = \"nowhere.pem\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
            "cloud.toml, line 7: webhook.ca_file: cannot read PEM certificates from nowhere.pem: ",
        ),
        (
            "[[webhook]]\nname = \"x\"\nurl = \"http://x\"\nca_file = \"k.pem\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
            "cloud.toml, line 7: webhook.ca_file: cannot read PEM certificates from k.pem",
        ),
        (
            "[[webhook]]\nname = \"x\"\nurl = \"http://x\"\nsecret_file = \"nowhere\"",
            "cloud.toml, line 7: webhook.secret_file: cannot read nowhere: ",
        ),
        (
            "[[previous_key]]\nsecret_file = \"nowhere\"\nsalt = \"a salt that is long\"",
            "cloud.toml, line 5: previous_key.secret_file: cannot read nowhere: ",
        ),
    ] {
        let program = CloudProgram::new(PROGRAM).variable("FEDECKS_CONFIG", "cloud.toml");
        let folder = program.folder.path();
        fs::write(folder.join("cloud.toml"), configuration("")).unwrap();
        program.run(&["store", "init"], "").await;
        fs::write(folder.join("cloud.toml"), configuration(lines)).unwrap();
        Certificate::self_signed("localhost").write(folder);
        fs::write(folder.join("other.pem"), Certificate::self_signed("x").key_pem).unwrap();
        let (code, said) = refused(&program).await;
        let line =
            said.lines().find(|line| line.starts_with("fedecks-cloud: ")).unwrap_or_default();
        let expected = format!("fedecks-cloud: {problem}");
        assert!(code == 78 && line.starts_with(&expected), "{lines}\n{code}: {said}");
    }

    let program = CloudProgram::new(PROGRAM)
        .variable("FEDECKS_TLS_CERTIFICATE", "nowhere.pem")
        .variable("FEDECKS_TLS_KEY", "k.pem");
    let (code, said) = refused(&program).await;
    let expected = "environment variable FEDECKS_TLS_CERTIFICATE: tls.certificate: cannot read a PEM certificate from nowhere.pem: ";
    assert!(code == 78 && said.contains(expected), "{code}: {said}");
}

#[tokio::test]
async fn a_store_that_cannot_be_made_is_found() {
    for (name, value, problem) in [
        // Only the data directory is made.
        ("FEDECKS_STORE", "nowhere/fedecks.sqlite", "nowhere"),
        ("FEDECKS_STORE", "link", "no store at link"),
        ("FEDECKS_STORE", "left", "left-wal of an earlier store is still there"),
        ("FEDECKS_STORE", "directory", "directory"),
        ("FEDECKS_DATA_DIR", "file", "file"),
        ("FEDECKS_DATA_DIR", "file/data", "file"),
    ] {
        let program = CloudProgram::new(PROGRAM).variable(name, value);
        let folder = program.folder.path();
        std::os::unix::fs::symlink("elsewhere", folder.join("link")).unwrap();
        fs::write(folder.join("left-wal"), "old").unwrap();
        fs::write(folder.join("file"), "").unwrap();
        fs::create_dir(folder.join("directory")).unwrap();
        let said = async |arguments: &[&str]| {
            let output = program.output(arguments, "").await;
            (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
        };
        let checked = said(&["check-config"]).await;
        let served = said(&["serve", "--listen", "127.0.0.1:0"]).await;
        assert_eq!(checked.0, served.0, "{value}: {checked:?}, but {served:?}");
        assert!(checked.0 != 0 && checked.1.contains(problem), "{value}: {checked:?}");
        assert!(served.1.contains(problem), "{value}: {served:?}");
    }
}

#[tokio::test]
async fn a_secret_that_is_generated_again_is_a_warning() {
    let program = CloudProgram::new(PROGRAM);
    program.add_account(USER, PASSWORD).await;
    // As on a first start.
    let mut server = program.serve(&LISTEN).await;
    server.kill().await;
    assert!(!server.log().contains("generated a new one"), "{}", server.log());
    server.program.run(&["device", "block", "kitchen-1", "--allow-unknown"], "").await;
    server.start_again().await;
    server.kill().await;
    assert!(!server.log().contains("generated a new one"), "{}", server.log());
    for name in ["secret", "salt"] {
        fs::remove_file(server.program.folder.path().join("fedecks-data").join(name)).unwrap();
        server.start_again().await;
        server.kill().await;
        let log = server.log();
        let line = log.lines().rev().find(|line| line.contains("generated a new one")).expect(&log);
        assert!(line.contains("WARN") && line.contains(&format!("fedecks-data/{name}")), "{line}");
    }
}

#[tokio::test]
async fn a_directory_that_the_user_cannot_make_is_found() {
    if !geteuid().is_root() {
        return;
    }
    // Of root, and not for others to write.
    let program = CloudProgram::new(PROGRAM).variable("FEDECKS_DATA_DIR", "a/b/data");
    let output = program.output(&["check-config", "--user", "4242"], "").await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "check-config is content: {said}");
    assert!(said.contains("cannot create a/b/data: "), "{said}");
}
