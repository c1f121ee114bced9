//! One delivery to a webhook's receiver: the signed request, and what the response means.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedecks_common::explain_open_error;
use fedecks_store::{Clock, QueueItem};
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
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

use super::resolver::{LOOKUP_TIMEOUT, Resolver};
use super::tls_refusal;
use crate::config::{ConfigError, Webhook};
use crate::webhook_signature::SigningSecret;

/// The client of one receiver.
#[derive(Clone)]
pub(super) struct Receiver {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    resolver: Resolver,
    url: Uri,
    secret: SigningSecret,
    timeout: Duration,
}

/// The result of an attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has the event.
    Accepted,
    /// The receiver wants no events any more.
    Gone,
    /// To be retried, no earlier than the receiver asked for. `rejected` if it is the event itself that the receiver
    /// does not accept.
    Failed { error: String, rejected: bool, retry_after: Option<Duration> },
}

/// The header that reports how many events of the webhook were dropped so far.
const DROPPED: &str = "fedecks-dropped-events";

/// What a receiver answers that would answer the same the next time. Other errors are those of its configuration,
/// such as 401 and 404, and concern all events.
const REJECTING: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];

/// The longest head of a response, in bytes.
const HEAD_READ: usize = 16 * 1024;

/// How much of a response body is read, so that the connection can be reused.
const BODY_READ: usize = 16 * 1024;

/// How long that may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest pause that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How long an idle connection is kept for the next delivery.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl Receiver {
    pub(super) fn new(webhook: &Webhook, secret: SigningSecret) -> Result<Self, ConfigError> {
        let failed = |problem: String| {
            let file = webhook.ca_file.as_deref().unwrap_or(Path::new(""));
            let problem =
                format!("cannot read PEM certificates from {}: {problem}", file.display());
            webhook.invalid("ca_file", problem)
        };
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(file) = &webhook.ca_file {
            let certificates = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| match error {
                    pem::Error::Io(error) => failed(explain_open_error(&error, file, "read")),
                    _ => failed("invalid PEM".into()),
                })?;
            if certificates.is_empty() {
                return Err(failed("it contains none".into()));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let resolver = Resolver::new(webhook.url.host().unwrap_or_default());
        Ok(Self::by(webhook, secret, tls, resolver))
    }

    fn by(webhook: &Webhook, secret: SigningSecret, tls: ClientConfig, resolver: Resolver) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
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
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(HEAD_READ)
            .build(connector);
        Self { client, resolver, url: webhook.url.clone(), secret, timeout: webhook.timeout }
    }

    /// How long [`Receiver::deliver`] may take.
    pub(super) fn longest_delivery(&self) -> Duration {
        LOOKUP_TIMEOUT + self.timeout + BODY_TIMEOUT
    }

    /// Delivers one event, before which `dropped` events of the webhook were dropped in all. Takes no longer than the
    /// webhook's timeout, once the receiver's name is resolved.
    pub(super) async fn deliver(&self, event: &QueueItem, dropped: u64, clock: &Clock) -> Outcome {
        if let Err(problem) = self.resolver.ready().await {
            let error = format!("cannot resolve {}: {problem}", self.host());
            return Outcome::Failed { error, rejected: false, retry_after: None };
        }
        let attempt = self.attempt(event, dropped, clock.now());
        let attempt = tokio::time::timeout(self.timeout, attempt).await;
        let late = |_| {
            // The address may be one that nothing answers at any more.
            self.resolver.forget();
            Err(format!("no answer within {:?}", self.timeout))
        };
        match attempt.unwrap_or_else(late) {
            Ok((outcome, body)) => {
                // A short body is read to its end, and ignored.
                let read = Limited::new(body, BODY_READ).collect();
                let _ = tokio::time::timeout(BODY_TIMEOUT.min(self.timeout), read).await;
                outcome
            }
            Err(error) => Outcome::Failed { error, rejected: false, retry_after: None },
        }
    }

    /// With its port, for messages.
    fn host(&self) -> &str {
        self.url.authority().map_or("", |authority| authority.as_str())
    }

    /// The outcome according to the head of the response, and its body. Fails without a response.
    async fn attempt(
        &self,
        event: &QueueItem,
        dropped: u64,
        now: u64,
    ) -> Result<(Outcome, Incoming), String> {
        let QueueItem { id, body, .. } = event;
        let signature = self.secret.sign(id, now, body);
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, concat!("fedecks-cloud/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &**id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .header(DROPPED, dropped)
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| {
            let host = self.host();
            if error.is_connect() {
                self.resolver.forget();
            }
            if let Some(problem) = tls_refusal::explain(&error) {
                return format!("{host} {problem}");
            }
            let what = if error.is_connect() { "cannot connect to" } else { "no answer from" };
            format!("{what} {host}{}", causes(&error))
        });
        let (head, body) = response?.into_parts();
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let outcome = match head.status {
            status if status.is_success() => Outcome::Accepted,
            StatusCode::GONE => Outcome::Gone,
            status => {
                let rejected = REJECTING.contains(&status);
                Outcome::Failed { error: format!("answered {status}"), rejected, retry_after }
            }
        };
        Ok((outcome, body))
    }
}

/// What caused an error; hyper's own text says only that something went wrong.
fn causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(|cause| format!(": {cause}")).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use fedecks_store::SystemClock;
    use fedecks_testing::wait::within;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Accepts every delivery.
    async fn receiver() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn a_slow_lookup_takes_no_time_from_the_delivery() {
        const LOOKUP: Duration = Duration::from_millis(900);
        let lines = format!(
            "name = \"crm\"\nurl = \"http://hooks.example.com:{}/\"\ntimeout = \"600ms\"",
            receiver().await
        );
        let webhook: Webhook = toml::from_str(&lines).unwrap();
        let secret = SigningSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let resolver = Resolver::by("hooks.example.com", |_| {
            std::thread::sleep(LOOKUP);
            Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
        });
        let receiver = Receiver::by(&webhook, secret, tls, resolver);
        let clock = Clock::new(SystemClock::default(), 0);
        let deliver = async || {
            let began = Instant::now();
            let (lane, id, body) = (String::new(), "1".to_owned(), Bytes::from_static(b"{}"));
            let event = QueueItem { lane, id, body, at: 0 };
            let outcome = within(receiver.deliver(&event, 0, &clock)).await;
            assert_eq!(outcome, Outcome::Accepted);
            began.elapsed()
        };
        assert!(deliver().await >= LOOKUP);
        assert!(deliver().await < LOOKUP, "the address is known");
    }
}
