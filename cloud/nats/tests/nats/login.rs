//! Passwords, tokens and certificates.

use fedecks_nats::{NatsBackplane, NatsOptions};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::wait::until;

use crate::server;
use crate::support::{connected, options, until_connected};

/// Waits until it was refused, and returns why.
async fn refused(options: &NatsOptions) -> String {
    let backplane = NatsBackplane::connect(options.clone()).await.unwrap();
    let error = until(async || backplane.state().error).await;
    assert!(!backplane.state().connected);
    error
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_tried_again() {
    let server = server!("--user", "me", "--pass", "secret");
    let mut options = options(&server);
    (options.user, options.password) = (Some("me".to_owned()), Some("wrong".to_owned()));
    let error = refused(&options).await;
    assert!(error.contains("authorization violation"), "{error}");
    options.password = Some("secret".to_owned());
    connected(&options).await;
}

#[tokio::test]
async fn a_token_logs_in() {
    let server = server!("--auth", "secret");
    let mut options = options(&server);
    options.token = Some("secret".to_owned());
    connected(&options).await;
}

#[tokio::test]
async fn a_server_is_verified_by_the_ca_file() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = Certificate::self_signed("localhost").write(folder.path());
    let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
    let server = server!("--tls", "--tlscert", &certificate, "--tlskey", &key);
    let mut options = options(&server);
    options.urls = format!("tls://localhost:{}", server.address.port());
    refused(&options).await;
    options.ca_file = Some(certificate.into());
    let backplane = NatsBackplane::connect(options).await.unwrap();
    until_connected(&backplane).await;
}
