//! What the state machine is told once: who the device is, and its numbers.

use std::time::Duration;

use fedecks_protocol::{DeviceId, Dialect, Limits};

/// What the state machine is told once. The defaults are the product's.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who the device is.
    pub device_id: DeviceId,
    /// How frames become bytes.
    pub dialect: Dialect,
    /// Bounds of what is encoded and decoded. The cloud's own limit comes with its Welcome.
    pub limits: Limits,
    /// Upper bound of the first random wait after a failure; it doubles with each failure.
    pub backoff_base: Duration,
    /// Upper bound of every random wait. The longest back-off is a random wait between half of it
    /// and all of it.
    pub backoff_cap: Duration,
    /// A connection that lasted this long sets the back-off back to its base.
    pub stable_after: Duration,
    /// Upper bound of the random wait before dialling because the network came back.
    pub spread: Duration,
    /// No delay that a cloud asks for is obeyed beyond this.
    pub max_ordered_delay: Duration,
    /// Deadline for resolving the name.
    pub resolve_deadline: Duration,
    /// Deadline for the TCP connection.
    pub tcp_deadline: Duration,
    /// Deadline for the TLS handshake.
    pub tls_deadline: Duration,
    /// Deadline for the answer to the upgrade request; a cloud may hash a password meanwhile.
    pub upgrade_deadline: Duration,
    /// Deadline for the Welcome frame.
    pub welcome_deadline: Duration,
    /// How long anything may take to come back after a ping.
    pub pong_deadline: Duration,
    /// The same for the ping that is sent because the network changed, and what is left to the
    /// phase of an attempt that was under way then.
    pub probe_deadline: Duration,
}

impl Config {
    /// Upper bound of the first random wait where nothing else is said.
    pub const BACKOFF_BASE: Duration = Duration::from_secs(1);

    /// Upper bound of every random wait where nothing else is said.
    pub const BACKOFF_CAP: Duration = Duration::from_secs(300);

    /// The product's numbers for this device.
    pub fn new(device_id: DeviceId) -> Self {
        Self {
            device_id,
            dialect: Dialect::Bincode,
            limits: Limits::default(),
            backoff_base: Self::BACKOFF_BASE,
            backoff_cap: Self::BACKOFF_CAP,
            stable_after: Duration::from_secs(60),
            spread: Duration::from_millis(100),
            max_ordered_delay: Duration::from_secs(3_600),
            resolve_deadline: Duration::from_secs(15),
            tcp_deadline: Duration::from_secs(15),
            tls_deadline: Duration::from_secs(15),
            upgrade_deadline: Duration::from_secs(20),
            welcome_deadline: Duration::from_secs(10),
            pong_deadline: Duration::from_secs(10),
            probe_deadline: Duration::from_secs(3),
        }
    }
}
