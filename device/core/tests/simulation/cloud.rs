//! A cloud as `docs/protocol.md` describes it, with the mistakes that operators make.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fedecks_protocol::{
    AuthRequest, DeviceId, Dialect, IssuedToken, MAX_HEADER_CHARS, Proof, Refusal, Token, Welcome,
};

use crate::link::LinkId;
use crate::world::secs;

pub(crate) const PASSWORD: &str = "towel";
const EPOCH: u64 = 1_700_000_000;

/// The response to an upgrade request.
pub(crate) enum Response {
    /// With a token if one is due.
    Accepted(DeviceId, Option<IssuedToken>),
    Refused(Refusal, Option<Duration>),
}

#[derive(Default)]
pub(crate) struct Cloud {
    pub(crate) up: bool,
    /// The number of the secret that seals and opens tokens.
    pub(crate) secret: u32,
    pub(crate) lifetime: Duration,
    /// How much longer an expired token is accepted.
    pub(crate) grace: Duration,
    pub(crate) refresh: Duration,
    /// By how many seconds the cloud's clock is ahead.
    pub(crate) clock_error: i64,
    pub(crate) heartbeat: Duration,
    pub(crate) idle_timeout: Duration,
    /// The number of upgrades that are accepted within a second; the others are turned away.
    pub(crate) per_second: Option<usize>,
    pub(crate) retry_after: Duration,
    generations: HashMap<DeviceId, u32>,
    sessions: HashMap<DeviceId, LinkId>,
    accepted: VecDeque<Duration>,
    pub(crate) takeovers: u32,
    pub(crate) logins: u32,
    /// The times of all upgrade requests.
    pub(crate) requests: Vec<Duration>,
}

impl Cloud {
    pub(crate) fn new() -> Self {
        Self {
            up: true,
            secret: 1,
            lifetime: secs(28 * 86_400),
            grace: secs(28 * 86_400),
            refresh: secs(3 * 3_600),
            heartbeat: secs(19),
            idle_timeout: secs(60),
            retry_after: secs(5),
            ..Self::default()
        }
    }

    pub(crate) fn welcome(&self, now: Duration) -> Welcome {
        Welcome {
            server_time_ms: self.clock(now) * 1_000,
            heartbeat: self.heartbeat,
            idle_timeout: self.idle_timeout,
            max_frame: 65_536,
            delivery: None,
        }
    }

    pub(crate) fn authenticate(&mut self, now: Duration, header: &str) -> Response {
        self.requests.push(now);
        if self.is_full(now) {
            return Response::Refused(Refusal::Unavailable, Some(self.retry_after));
        }
        let header = header.as_bytes();
        let request = AuthRequest::from_header(header, Dialect::Bincode, MAX_HEADER_CHARS);
        let AuthRequest { device_id: device, proof } = request.unwrap();
        match proof {
            Proof::Credentials(credentials) => {
                if credentials.text("password") != Some(PASSWORD) {
                    return Response::Refused(Refusal::BadCredentials, None);
                }
                self.logins += 1;
                let token = self.seal(now, &device);
                Response::Accepted(device, Some(token))
            }
            Proof::Token(token) => match self.open(now, &device, &token) {
                Ok(age) => {
                    let fresh = (age > self.refresh).then(|| self.seal(now, &device));
                    Response::Accepted(device, fresh)
                }
                Err(refusal) => Response::Refused(refusal, None),
            },
        }
    }

    /// Registers a session, which replaces an older one of the same device. Returns that one.
    pub(crate) fn register(&mut self, device: DeviceId, link: LinkId) -> Option<LinkId> {
        let older = self.sessions.insert(device, link);
        self.takeovers += u32::from(older.is_some());
        older
    }

    /// Removes a session that ended, unless it has been replaced.
    pub(crate) fn unregister(&mut self, device: &DeviceId, link: LinkId) {
        if self.sessions.get(device) == Some(&link) {
            self.sessions.remove(device);
        }
    }

    pub(crate) fn session(&self, device: &DeviceId) -> Option<LinkId> {
        self.sessions.get(device).copied()
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn drop_all(&mut self) -> Vec<LinkId> {
        let mut links: Vec<_> = self.sessions.drain().map(|(_, link)| link).collect();
        links.sort_unstable();
        links
    }

    /// Revokes all tokens of the device. Returns its session.
    pub(crate) fn revoke(&mut self, device: &DeviceId) -> Option<LinkId> {
        *self.generations.entry(device.clone()).or_default() += 1;
        self.sessions.remove(device)
    }

    pub(crate) fn seal(&self, now: Duration, device: &DeviceId) -> IssuedToken {
        let generation = self.generations.get(device).copied().unwrap_or(0);
        let issued = self.clock(now);
        let text = format!("{}/{device}/{generation}/{issued}", self.secret);
        let expires_at = issued + self.lifetime.as_secs();
        IssuedToken { token: Token::new(text).unwrap(), expires_at }
    }

    /// What the cloud takes for the time.
    fn clock(&self, now: Duration) -> u64 {
        (EPOCH + now.as_secs()).saturating_add_signed(self.clock_error)
    }

    fn open(&self, now: Duration, device: &DeviceId, token: &Token) -> Result<Duration, Refusal> {
        let fields: Vec<&str> = token.expose().split('/').collect();
        let [secret, owner, generation, issued] = fields[..] else {
            return Err(Refusal::TokenInvalid);
        };
        if secret != self.secret.to_string() {
            return Err(Refusal::TokenInvalid);
        }
        if owner != device.as_str() {
            return Err(Refusal::WrongDevice);
        }
        let current = self.generations.get(device).copied().unwrap_or(0);
        if generation != current.to_string() {
            return Err(Refusal::TokenRevoked);
        }
        // A token that was sealed in what is now the future is good.
        let age = secs(self.clock(now).saturating_sub(issued.parse().unwrap()));
        if age >= self.lifetime + self.grace {
            return Err(Refusal::TokenExpired);
        }
        Ok(age)
    }

    fn is_full(&mut self, now: Duration) -> bool {
        let Some(limit) = self.per_second else { return false };
        while self.accepted.front().is_some_and(|at| *at + secs(1) <= now) {
            self.accepted.pop_front();
        }
        let full = self.accepted.len() >= limit;
        if !full {
            self.accepted.push_back(now);
        }
        full
    }
}
