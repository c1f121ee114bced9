use std::fs;

use crate::support::{folder, program, run, stderr};

#[test]
fn a_wrong_value_is_told_with_file_line_key_and_expectation_and_exit_code_78() {
    let folder = folder();
    fs::write(folder.path().join("cloud.toml"), "[limits]\nconnections = \"many\"\n").unwrap();
    for command in [&["serve"][..], &["account", "list"], &["device", "list"]] {
        let output = run(folder.path(), &[command, &["--config", "cloud.toml"]].concat());
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(
            stderr(&output),
            "fedecks-cloud: cloud.toml, line 2: limits.connections: invalid type: string \"many\", \
             expected u32\n"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_and_has_exit_code_78() {
    let folder = folder();
    let output = run(folder.path(), &["serve", "--config", "missing.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(
        stderr(&output),
        "fedecks-cloud: cannot read the configuration missing.toml: No such file or directory (os \
         error 2)\n"
    );
}

#[test]
fn certificate_files_that_cannot_be_read_are_named_and_have_exit_code_78() {
    let folder = folder();
    let output = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"])
        .env("FEDECKS_TLS_CERTIFICATE", "cert.pem")
        .env("FEDECKS_TLS_KEY", "key.pem")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("cannot read a PEM certificate from cert.pem"));
}

#[test]
fn a_short_secret_is_refused_with_exit_code_78_and_not_shown() {
    let folder = folder();
    let output = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"])
        .env("FEDECKS_SECRET", "hunter2")
        .env("FEDECKS_SALT", "the salt")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let complaint = stderr(&output);
    assert!(
        complaint.contains("FEDECKS_SECRET: secret: the secret has 7 characters"),
        "{complaint}"
    );
    assert!(!complaint.contains("hunter2"), "{complaint}");
}

#[test]
fn wrong_usage_has_exit_code_2_and_a_password_is_no_argument() {
    let folder = folder();
    for arguments in [&["serve", "--nonsense"][..], &["account", "add", "marvin", "secret42"], &[]]
    {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
