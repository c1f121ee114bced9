//! What `fedecks-cloud` reads from its file, the environment and the command line.

mod environment;
mod error;
mod events;
mod keys;
mod raw;
mod secret;
mod secret_source;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_cloud::auth::FailedLoginLimits;
use fedecks_cloud::serve::{IpNet, ServeLimits};
use fedecks_protocol::{DEFAULT_PATH, Limits, MAX_HEADER_CHARS};
use fedecks_store::StoreOptions;

pub(crate) use error::ConfigError;
pub(crate) use events::{Events, Webhook};
pub(crate) use raw::{LogFormat, LogLevel, Part};
pub(crate) use secret::{generate, generate_salt};
pub(crate) use secret_source::Secrets;

use error::Places;
use raw::Raw;

/// Everything that the commands need to know, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the server listens, in the order of [`fedecks_cloud::serve::Peer::listener`]: `listen` first,
    /// then what stands under `[[listener]]`.
    pub(crate) listeners: Vec<Listener>,
    /// The proxies that are believed when they say who their client is.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Path of the device socket.
    pub(crate) path: String,
    pub(crate) store: PathBuf,
    pub(crate) store_options: StoreOptions,
    /// Where this program keeps what it generates itself.
    pub(crate) data_dir: PathBuf,
    pub(crate) secrets: Secrets,
    pub(crate) tokens: Tokens,
    pub(crate) sessions: Sessions,
    pub(crate) limits: ServeLimits,
    pub(crate) failed_logins: FailedLoginLimits,
    pub(crate) drain: Drain,
    pub(crate) events: Events,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) log: Log,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) tls: TlsChoice,
    /// Whether each connection begins with a PROXY header.
    pub(crate) proxy_protocol: bool,
    serves: Vec<Part>,
}

impl Listener {
    /// Whether this part of the server answers here.
    pub(crate) fn serves(&self, part: Part) -> bool {
        self.serves.contains(&part)
    }

    fn of_everything(address: SocketAddr, tls: TlsChoice) -> Self {
        Self { address, tls, proxy_protocol: false, serves: ALL_PARTS.to_vec() }
    }
}

const ALL_PARTS: [Part; 3] = [Part::Devices, Part::Api, Part::Metrics];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsChoice {
    Off,
    SelfSigned,
    Files { certificate: PathBuf, key: PathBuf },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// For how long a token is good.
    pub(crate) lifetime: Duration,
    /// After how long a connected device gets a new one.
    pub(crate) refresh: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(crate) heartbeat: Duration,
    pub(crate) idle_timeout: Duration,
    /// The biggest message from a device, in bytes.
    pub(crate) max_frame: u32,
    /// The longest authentication header, in characters.
    pub(crate) max_header: usize,
    /// How many messages a device may send per second; 0 for as many as it likes.
    pub(crate) messages_per_second: u32,
    /// How many of them at once after a quiet time.
    pub(crate) message_burst: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// Over how long devices are told to spread their return.
    pub(crate) spread: Duration,
    /// After how long the server ends whatever is still open.
    pub(crate) deadline: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
}

/// What the command line says in place of file and environment.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) self_signed: bool,
}

const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
const DEFAULT_DATA_DIR: &str = "fedecks-data";
const DEFAULT_STORE: &str = "fedecks.sqlite";

/// What a request's head has beside the authentication header, generously, in bytes.
const REST_OF_HEAD: usize = 1024;

impl Config {
    /// Reads `file`, if there is one, then the environment, then the command line: the last that
    /// says something holds.
    pub(crate) fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut table = raw::read(file)?;
        let from_environment = environment::apply(&mut table, variable)?;
        let places = Places::new(file, from_environment);
        let mut raw: Raw =
            table.try_into().map_err(|error: toml::de::Error| places.wrong("", error.message()))?;
        if !overrides.listen.is_empty() {
            raw.listen = Some(overrides.listen.into());
        }
        if overrides.self_signed {
            raw.tls = raw::Tls { self_signed: Some(true), ..raw::Tls::default() };
        }
        raw.data_dir = overrides.data_dir.or(raw.data_dir);
        Self::check(raw, &places)
    }

    fn check(raw: Raw, places: &Places) -> Result<Self, ConfigError> {
        let data_dir = raw.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let sealing = raw::Former {
            secret: raw.secret,
            secret_file: raw.secret_file,
            salt: raw.salt,
            salt_file: raw.salt_file,
        };
        let sessions = check_sessions(&raw.sessions, places)?;
        let limits = check_limits(&raw.limits, places)?;
        let trusted_proxies: Vec<_> = raw.trusted_proxies.into_iter().map(IpNet::from).collect();
        if raw.listener.iter().any(|listener| listener.proxy_protocol) && trusted_proxies.is_empty()
        {
            let problem = "is empty, expected the balancers of the listener with proxy_protocol";
            return Err(places.wrong("trusted_proxies", problem));
        }
        if sessions.max_header + REST_OF_HEAD > limits.request_head {
            let problem = format!(
                "is {}, expected at least {REST_OF_HEAD} more than sessions.max_header, which is {}",
                limits.request_head, sessions.max_header
            );
            return Err(places.wrong("limits.request_head", &problem));
        }
        Ok(Self {
            listeners: check_listeners(raw.listen, raw.tls, raw.listener, places)?,
            trusted_proxies,
            path: check_path(raw.path, places)?,
            store: raw.store.unwrap_or_else(|| data_dir.join(DEFAULT_STORE)),
            store_options: check_audit(&raw.audit, places)?,
            secrets: Secrets::check(sealing, raw.former, &data_dir, places.clone())?,
            data_dir,
            tokens: check_tokens(&raw.tokens, places)?,
            sessions,
            limits,
            failed_logins: check_failed_logins(&raw.limits, places)?,
            drain: check_drain(&raw.drain, places)?,
            events: Events::check(&raw.events, places)?,
            webhooks: events::check_webhooks(raw.webhook, places)?,
            log: Log {
                level: raw.log.level.unwrap_or(LogLevel::Info),
                format: raw.log.format.unwrap_or(LogFormat::Text),
            },
        })
    }
}

fn check_listeners(
    listen: Option<raw::Addresses>,
    tls: raw::Tls,
    more: Vec<raw::Listener>,
    places: &Places,
) -> Result<Vec<Listener>, ConfigError> {
    let tls = check_tls(tls, places)?;
    let listen: Vec<SocketAddr> = match listen {
        Some(addresses) => addresses.into(),
        None if more.is_empty() => vec![DEFAULT_LISTEN.into()],
        None => Vec::new(),
    };
    if listen.is_empty() && more.is_empty() {
        return Err(places.wrong("listen", "is empty, expected at least one address"));
    }
    if listen.is_empty() && tls != TlsChoice::Off {
        let problem = "is for the addresses of `listen`, of which there is none";
        return Err(places.wrong("tls", problem));
    }
    let listen =
        listen.into_iter().map(|address| Ok(Listener::of_everything(address, tls.clone())));
    listen.chain(more.into_iter().map(|listener| check_listener(listener, places))).collect()
}

fn check_listener(listener: raw::Listener, places: &Places) -> Result<Listener, ConfigError> {
    let raw::Listener { address, certificate, key, proxy_protocol, serves } = listener;
    let wrong = |problem: &str| {
        Err(places.wrong("listener", &format!("the one with address {address} {problem}")))
    };
    let tls = match (certificate, key) {
        (None, None) => TlsChoice::Off,
        (Some(certificate), Some(key)) => TlsChoice::Files { certificate, key },
        (Some(_), None) => return wrong("has a certificate without a key"),
        (None, Some(_)) => return wrong("has a key without a certificate"),
    };
    let serves = serves.unwrap_or_else(|| ALL_PARTS.to_vec());
    if serves.is_empty() {
        return wrong("serves nothing, expected some of \"devices\", \"api\" and \"metrics\"");
    }
    Ok(Listener { address, tls, proxy_protocol, serves })
}

fn check_path(path: Option<String>, places: &Places) -> Result<String, ConfigError> {
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    if segments.is_some_and(|mut segments| segments.all(plain)) {
        Ok(path)
    } else {
        let problem = format!(
            "is {path:?}, expected a path such as {DEFAULT_PATH:?}: '/' before each part, and \
             letters, digits, '-', '.', '_' and '~' in it"
        );
        Err(places.wrong("path", &problem))
    }
}

fn check_tls(tls: raw::Tls, places: &Places) -> Result<TlsChoice, ConfigError> {
    let self_signed = tls.self_signed.unwrap_or(false);
    match (tls.certificate, tls.key) {
        (None, None) if self_signed => Ok(TlsChoice::SelfSigned),
        (None, None) => Ok(TlsChoice::Off),
        (Some(_), _) | (_, Some(_)) if self_signed => Err(places
            .wrong("tls.self_signed", "stands beside files, expected either the one or the other")),
        (Some(certificate), Some(key)) => Ok(TlsChoice::Files { certificate, key }),
        (Some(_), None) => Err(places.wrong("tls.key", "is missing beside tls.certificate")),
        (None, Some(_)) => Err(places.wrong("tls.certificate", "is missing beside tls.key")),
    }
}

fn check_drain(drain: &raw::Drain, places: &Places) -> Result<Drain, ConfigError> {
    let spread = drain.spread.map_or(Duration::from_secs(30), Into::into);
    let deadline: Duration = drain.deadline.map_or(Duration::from_secs(45), Into::into);
    // Nobody waits longer, and systemd can be asked for little more.
    if deadline > HOUR {
        let problem = format!("is {} s, expected an hour at most", deadline.as_secs());
        return Err(places.wrong("drain.deadline", &problem));
    }
    Ok(Drain { spread, deadline })
}

fn check_audit(audit: &raw::Audit, places: &Places) -> Result<StoreOptions, ConfigError> {
    let kept = audit.keep.unwrap_or(StoreOptions::default().audit_kept);
    if !(1000..=10_000_000).contains(&kept) {
        let problem = format!("is {kept}, expected 1000 to 10000000 lines");
        return Err(places.wrong("audit.keep", &problem));
    }
    Ok(StoreOptions { audit_kept: kept })
}

fn check_tokens(tokens: &raw::Tokens, places: &Places) -> Result<Tokens, ConfigError> {
    let lifetime = tokens.lifetime.map_or(4 * WEEK, Into::into);
    let refresh = tokens.refresh.map_or(3 * HOUR, Into::into);
    if lifetime.subsec_nanos() != 0 {
        return Err(places.wrong("tokens.lifetime", "expected whole seconds"));
    }
    if refresh.is_zero() {
        return Err(places.wrong("tokens.refresh", "is 0, expected more than that"));
    }
    if lifetime <= refresh {
        let problem = format!(
            "is {} s, expected more than tokens.refresh, which is {} s",
            lifetime.as_secs(),
            refresh.as_secs()
        );
        return Err(places.wrong("tokens.lifetime", &problem));
    }
    Ok(Tokens { lifetime, refresh })
}

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn check_sessions(sessions: &raw::Sessions, places: &Places) -> Result<Sessions, ConfigError> {
    let heartbeat: Duration = sessions.heartbeat.map_or(Duration::from_secs(19), Into::into);
    let idle_timeout: Duration = sessions.idle_timeout.map_or(Duration::from_secs(60), Into::into);
    for (key, duration) in
        [("sessions.heartbeat", heartbeat), ("sessions.idle_timeout", idle_timeout)]
    {
        if duration.subsec_nanos() != 0 || duration.is_zero() {
            return Err(places.wrong(key, "expected whole seconds, at least one"));
        }
    }
    if idle_timeout <= heartbeat {
        let problem = format!(
            "is {} s, expected more than sessions.heartbeat, which is {} s",
            idle_timeout.as_secs(),
            heartbeat.as_secs()
        );
        return Err(places.wrong("sessions.idle_timeout", &problem));
    }
    let max_frame = sessions.max_frame.unwrap_or(1024 * 1024);
    if !(1024..=Limits::MAX_SIZE).contains(&(max_frame as usize)) {
        let problem = format!("is {max_frame}, expected 1024 to {} bytes", Limits::MAX_SIZE);
        return Err(places.wrong("sessions.max_frame", &problem));
    }
    let max_header = sessions.max_header.unwrap_or(MAX_HEADER_CHARS);
    if !(256..=65_536).contains(&max_header) {
        let problem = format!("is {max_header}, expected 256 to 65536 characters");
        return Err(places.wrong("sessions.max_header", &problem));
    }
    let messages_per_second = sessions.messages_per_second.unwrap_or(1000);
    let message_burst = sessions.message_burst.unwrap_or(2000);
    if message_burst == 0 {
        return Err(places.wrong("sessions.message_burst", "is 0, expected at least 1"));
    }
    Ok(Sessions {
        heartbeat,
        idle_timeout,
        max_frame,
        max_header,
        messages_per_second,
        message_burst,
    })
}

fn check_limits(limits: &raw::Limits, places: &Places) -> Result<ServeLimits, ConfigError> {
    let default = ServeLimits::default();
    let checked = ServeLimits {
        connections: limits.connections.unwrap_or(default.connections),
        connections_per_address: limits
            .connections_per_address
            .unwrap_or(default.connections_per_address),
        accepts_per_second: limits.accepts_per_second.unwrap_or(default.accepts_per_second),
        accept_burst: limits.accept_burst.unwrap_or(default.accept_burst),
        handshake: limits.handshake.map_or(default.handshake, Into::into),
        request_body: limits.request_body.map_or(default.request_body, Into::into),
        stalled: default.stalled,
        request_head: limits.request_head.unwrap_or(default.request_head),
    };
    for (key, number) in [
        ("limits.connections", checked.connections),
        ("limits.connections_per_address", checked.connections_per_address),
        ("limits.accepts_per_second", checked.accepts_per_second),
        ("limits.accept_burst", checked.accept_burst),
    ] {
        if number == 0 {
            return Err(places.wrong(key, "is 0, expected at least 1"));
        }
    }
    for (key, duration) in
        [("limits.handshake", checked.handshake), ("limits.request_body", checked.request_body)]
    {
        if duration.is_zero() {
            return Err(places.wrong(key, "is 0, expected more than that"));
        }
    }
    if !(8192..=1024 * 1024).contains(&checked.request_head) {
        let problem = format!("is {}, expected 8192 to 1048576 bytes", checked.request_head);
        return Err(places.wrong("limits.request_head", &problem));
    }
    Ok(checked)
}

fn check_failed_logins(
    limits: &raw::Limits,
    places: &Places,
) -> Result<FailedLoginLimits, ConfigError> {
    let default = FailedLoginLimits::default();
    let checked = FailedLoginLimits {
        per_address: limits.failed_logins_per_address.unwrap_or(default.per_address),
        per_account: limits.failed_logins_per_account.unwrap_or(default.per_account),
    };
    for (key, number) in [
        ("limits.failed_logins_per_address", checked.per_address),
        ("limits.failed_logins_per_account", checked.per_account),
    ] {
        if number == 0 {
            return Err(places.wrong(key, "is 0, expected at least 1"));
        }
    }
    Ok(checked)
}

#[cfg(test)]
mod tests;
