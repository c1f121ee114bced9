//! A cloud as the protocol's document describes it, with the faults that operators make.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fedecks_protocol::{
    AuthRequest, DeviceId, Dialect, IssuedToken, MAX_HEADER_CHARS, Proof, Refusal, Token, Welcome,
};

use crate::world::LinkId;

pub(crate) const PASSWORD: &str = "towel";
const EPOCH: u64 = 1_700_000_000;

/// How the cloud answered an upgrade.
pub(crate) enum Verdict {
    /// Come in; here is a token if you need one.
    Accepted(DeviceId, Option<IssuedToken>),
    Refused(Refusal, Option<Duration>),
}

pub(crate) struct Cloud {
    pub(crate) up: bool,
    /// Number of the secret that seals and opens tokens.
    pub(crate) secret: u32,
    pub(crate) lifetime: Duration,
    pub(crate) refresh: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) idle_timeout: Duration,
    /// How many upgrades it takes within a second; the others are told to come later.
    pub(crate) per_second: Option<usize>,
    pub(crate) retry_after: Duration,
    generations: HashMap<DeviceId, u32>,
    sessions: HashMap<DeviceId, LinkId>,
    accepted: VecDeque<Duration>,
    pub(crate) takeovers: u32,
    pub(crate) logins: u32,
    /// When an upgrade was asked for, whatever came of it.
    pub(crate) requests: Vec<Duration>,
}

impl Cloud {
    pub(crate) fn new() -> Self {
        Self {
            up: true,
            secret: 1,
            lifetime: Duration::from_secs(28 * 86_400),
            refresh: Duration::from_secs(3 * 3_600),
            heartbeat: Duration::from_secs(19),
            idle_timeout: Duration::from_secs(60),
            per_second: None,
            retry_after: Duration::from_secs(5),
            generations: HashMap::new(),
            sessions: HashMap::new(),
            accepted: VecDeque::new(),
            takeovers: 0,
            logins: 0,
            requests: Vec::new(),
        }
    }

    pub(crate) fn welcome(&self, now: Duration) -> Welcome {
        Welcome {
            server_time_ms: EPOCH * 1_000 + u64::try_from(now.as_millis()).unwrap(),
            heartbeat: self.heartbeat,
            idle_timeout: self.idle_timeout,
            max_frame: 65_536,
        }
    }

    pub(crate) fn judge(&mut self, now: Duration, header: &str) -> Verdict {
        self.requests.push(now);
        if self.is_full(now) {
            return Verdict::Refused(Refusal::Unavailable, Some(self.retry_after));
        }
        let request =
            match AuthRequest::from_header(header.as_bytes(), Dialect::Bincode, MAX_HEADER_CHARS) {
                Ok(request) => request,
                Err(refusal) => return Verdict::Refused(refusal, None),
            };
        let device = request.device_id;
        match request.proof {
            Proof::Credentials(credentials) => {
                if credentials.text("password") != Some(PASSWORD) {
                    return Verdict::Refused(Refusal::BadCredentials, None);
                }
                self.logins += 1;
                let token = self.seal(now, &device);
                Verdict::Accepted(device, Some(token))
            }
            Proof::Token(token) => match self.open(now, &device, &token) {
                Ok(age) => {
                    let fresh = (age > self.refresh).then(|| self.seal(now, &device));
                    Verdict::Accepted(device, fresh)
                }
                Err(refusal) => Verdict::Refused(refusal, None),
            },
        }
    }

    /// The newest session of a device wins: gives the one whose place it took.
    pub(crate) fn register(&mut self, device: &DeviceId, link: LinkId) -> Option<LinkId> {
        let older = self.sessions.insert(device.clone(), link);
        self.takeovers += u32::from(older.is_some());
        older
    }

    /// A session ended; one that was replaced before takes nothing with it.
    pub(crate) fn unregister(&mut self, device: &DeviceId, link: LinkId) {
        if self.sessions.get(device) == Some(&link) {
            self.sessions.remove(device);
        }
    }

    /// Whether this is the session of the device.
    pub(crate) fn serves(&self, device: &DeviceId, link: LinkId) -> bool {
        self.sessions.get(device) == Some(&link)
    }

    /// How many devices have a session.
    pub(crate) fn serving(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn drop_all(&mut self) -> Vec<LinkId> {
        let mut links: Vec<_> = self.sessions.drain().map(|(_, link)| link).collect();
        links.sort_unstable();
        links
    }

    /// Makes every token of the device worthless; gives its session.
    pub(crate) fn revoke(&mut self, device: &DeviceId) -> Option<LinkId> {
        *self.generations.entry(device.clone()).or_default() += 1;
        self.sessions.remove(device)
    }

    pub(crate) fn seal(&self, now: Duration, device: &DeviceId) -> IssuedToken {
        let generation = self.generations.get(device).copied().unwrap_or(0);
        let expires = now + self.lifetime;
        let text = format!("{}/{device}/{generation}/{}", self.secret, now.as_secs());
        IssuedToken { token: Token::new(text).unwrap(), expires_at: EPOCH + expires.as_secs() }
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
        let age = now.saturating_sub(Duration::from_secs(issued.parse().unwrap()));
        if age >= self.lifetime {
            return Err(Refusal::TokenExpired);
        }
        let current = self.generations.get(device).copied().unwrap_or(0);
        if generation != current.to_string() {
            return Err(Refusal::TokenRevoked);
        }
        Ok(age)
    }

    fn is_full(&mut self, now: Duration) -> bool {
        let Some(most) = self.per_second else { return false };
        while self.accepted.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
            self.accepted.pop_front();
        }
        let full = self.accepted.len() >= most;
        if !full {
            self.accepted.push_back(now);
        }
        full
    }
}
