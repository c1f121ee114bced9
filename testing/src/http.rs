//! An HTTP client for a server under test, which reads server-sent events too.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, Method, StatusCode};
pub use reqwest::Response;
use reqwest::{Body, Client, ClientBuilder, RequestBuilder, redirect};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;

use crate::certificates::client_config;
use crate::wait::{PATIENCE, until_every, within};

/// Sends requests to one server.
#[derive(Clone)]
pub struct Http {
    /// Scheme and authority.
    origin: String,
    client: Client,
    headers: HeaderMap,
}

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// Over plain HTTP.
    pub fn to(address: SocketAddr) -> Self {
        Self::with(format!("http://{address}"), client_config([]), |builder| builder)
    }

    /// To any origin, by this TLS and with other settings.
    pub fn with(
        origin: String,
        tls: ClientConfig,
        settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let builder = Client::builder()
            .use_preconfigured_tls(tls)
            .redirect(redirect::Policy::none())
            .no_proxy();
        Self { origin, client: settings(builder).build().unwrap(), headers: HeaderMap::new() }
    }

    /// Adds a header to every request, or replaces it.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    /// Adds an API token to every request.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Says that every body is JSON.
    pub fn json(self) -> Self {
        self.header("content-type", "application/json")
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "").await
    }

    /// Sends a GET request until it is answered with this status.
    pub async fn until_status(&self, path: &str, status: StatusCode) {
        // Seldom enough for the limit on requests of one address.
        until_every(Duration::from_millis(250), async || {
            (self.get(path).await.status == status).then_some(())
        })
        .await;
    }

    /// Sends a POST request.
    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    /// Sends a request.
    pub async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let response = self.open(method, path, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: within(response.bytes()).await.unwrap().to_vec() }
    }

    /// Sends a request and leaves the response's body to be read.
    pub async fn open(&self, method: Method, path: &str, body: impl Into<Body>) -> Response {
        within(self.request(method, path, body).send()).await.unwrap()
    }

    /// The same; `None` if there is no response within 10 s, as when the server is killed.
    pub async fn try_open(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> Option<Response> {
        let response = self.request(method, path, body).send();
        tokio::time::timeout(Duration::from_secs(10), response).await.ok()?.ok()
    }

    fn request(&self, method: Method, path: &str, body: impl Into<Body>) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.origin));
        request.headers(self.headers.clone()).body(body)
    }

    /// Follows server-sent events.
    pub async fn events(&self, path: &str) -> Events {
        let response = self.open(Method::GET, path, "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events(Box::pin(complete_events(response.bytes_stream()).eventsource()))
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Server-sent events as they arrive.
pub struct Events(
    Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Send>>,
);

/// The same bytes in chunks that end with an event: the parser reads all of an incomplete event again with every
/// chunk, which takes half a minute for a megabyte that a proxy passes on in small pieces.
fn complete_events<B: AsRef<[u8]>, E>(
    chunks: impl Stream<Item = Result<B, E>>,
) -> impl Stream<Item = Result<Vec<u8>, E>> {
    const END: &[u8] = b"\n\n";
    let mut kept = Vec::new();
    chunks.filter_map(move |chunk| {
        let complete = chunk.map(|chunk| {
            let seen = kept.len().saturating_sub(END.len() - 1);
            kept.extend_from_slice(chunk.as_ref());
            let end = kept[seen..].windows(END.len()).rposition(|bytes| bytes == END)?;
            let rest = kept.split_off(seen + end + END.len());
            Some(std::mem::replace(&mut kept, rest))
        });
        std::future::ready(complete.transpose())
    })
}

impl Events {
    /// The data of the next one.
    pub async fn next(&mut self) -> Value {
        self.next_within(PATIENCE).await
    }

    /// The data of the next one, which may take this long.
    pub async fn next_within(&mut self, limit: Duration) -> Value {
        let event = timeout(limit, self.0.next()).await.expect("no event in time");
        serde_json::from_str(&event.expect("the stream has ended").unwrap().data).unwrap()
    }

    /// Whether the stream ends without another one.
    pub async fn ended(&mut self) -> bool {
        within(self.0.next()).await.is_none()
    }
}
