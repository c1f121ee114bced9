//! One delivery to a receiver: the request, and what its answer means.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use crate::config::Webhook;
use crate::webhook_signature::SigningSecret;

/// The way to one receiver.
#[derive(Clone)]
pub(super) struct Receiver {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    secret: SigningSecret,
    timeout: Duration,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// The receiver wants nothing any more.
    Gone,
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

/// Why a receiver's authorities cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("webhook {webhook}: cannot read PEM certificates from {}: {problem}", file.display())]
pub(crate) struct WebhookError {
    pub(crate) webhook: String,
    pub(crate) file: PathBuf,
    pub(crate) problem: String,
}

/// How much of an answer's body is read, so that the connection can be used again.
const BODY_READ: usize = 16 * 1024;

/// How long that may take.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// The longest wait that a receiver can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How long a connection is kept for the next delivery.
const IDLE: Duration = Duration::from_secs(30);

impl Receiver {
    pub(super) fn new(webhook: &Webhook, secret: SigningSecret) -> Result<Self, WebhookError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(file) = &webhook.ca_file {
            let unreadable = |problem: String| WebhookError {
                webhook: webhook.name.clone(),
                file: file.clone(),
                problem,
            };
            let certificates = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unreadable(describe(&error)))?;
            if certificates.is_empty() {
                return Err(unreadable("there is none in it".into()));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| WebhookError {
                webhook: webhook.name.clone(),
                file: PathBuf::new(),
                problem: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(webhook.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, url: webhook.url.clone(), secret, timeout: webhook.timeout })
    }

    /// Delivers one event, with the time in seconds since 1970-01-01 UTC. Takes no longer than the
    /// webhook's timeout.
    pub(super) async fn deliver(&self, id: &str, now: u64, body: Bytes) -> Outcome {
        let (outcome, rest) =
            match tokio::time::timeout(self.timeout, self.attempt(id, now, body)).await {
                Ok(answered) => answered,
                Err(_) => {
                    return Outcome::failed(format!("no answer within {:?}", self.timeout));
                }
            };
        if let Some(rest) = rest {
            // To its end, if that is near; what it says is for nobody.
            let read = Limited::new(rest, BODY_READ).collect();
            let _ = tokio::time::timeout(BODY_PATIENCE.min(self.timeout), read).await;
        }
        outcome
    }

    /// What the answer's head says, and its body.
    async fn attempt(&self, id: &str, now: u64, body: Bytes) -> (Outcome, Option<Incoming>) {
        let signature = self.secret.sign(id, now, &body);
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, concat!("fedecks-cloud/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(Full::new(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => return (Outcome::failed(error.to_string()), None),
        };
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => return (Outcome::failed(with_causes(&error)), None),
        };
        let (head, body) = answer.into_parts();
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
        let outcome = match head.status {
            status if status.is_success() => Outcome::Taken,
            StatusCode::GONE => Outcome::Gone,
            status => Outcome::Failed { why: format!("it answered {status}"), retry_after },
        };
        (outcome, Some(body))
    }
}

impl Outcome {
    fn failed(why: String) -> Self {
        Self::Failed { why, retry_after: None }
    }
}

/// The library's own words say only that something went wrong.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what has words of its own keeps them")]
fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}
