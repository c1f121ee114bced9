//! The settings of the state machine. Where they come from is up to the driver.

use std::time::Duration;

use fedecks_protocol::{DeviceId, Dialect, Limits};

use crate::queue_job::DiskLimits;

/// The settings of the state machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The device.
    pub device_id: DeviceId,
    /// The encoding of frames.
    pub dialect: Dialect,
    /// Limits on frames in both directions. The Welcome has the cloud's own limit.
    pub limits: Limits,
    /// Upper bound of the first random delay after a failure; it doubles with each failure.
    pub backoff_base: Duration,
    /// Upper bound of every random delay. The maximum backoff is a random delay between half of this
    /// and all of it.
    pub backoff_cap: Duration,
    /// A connection that lasts this long resets the backoff.
    pub stable_after: Duration,
    /// A connection that lasts this long, or ten times the first delay if that is shorter, lowers the backoff
    /// when it ends: to a tenth of how long it lasted.
    pub good_after: Duration,
    /// Upper bound of the random delay before an attempt for which there is no reason to wait.
    pub spread: Duration,
    /// The longest delay that a cloud may ask for.
    pub max_retry_after: Duration,
    /// Deadline for the first address of the host name. Above the half minute after which glibc gives up by default,
    /// with two tries of 5 s at three name servers: its error says more than a deadline.
    pub resolve_deadline: Duration,
    /// Deadline for the TCP connection.
    pub tcp_deadline: Duration,
    /// Deadline for the TLS handshake.
    pub tls_deadline: Duration,
    /// Deadline for the response to the upgrade request; the cloud may have to hash a password.
    pub upgrade_deadline: Duration,
    /// Deadline for the Welcome frame.
    pub welcome_deadline: Duration,
    /// Deadline for any traffic from the cloud after a ping; longer over a slow link: four times the
    /// measured round-trip time, at most 30 s.
    pub pong_deadline: Duration,
    /// The same for a ping that is sent because the network changed, and for the current phase of an
    /// attempt when the network changes. It is longer where the cloud takes long to answer, up to
    /// `pong_deadline`: at least twice the measured round-trip time.
    pub probe_deadline: Duration,
    /// How much memory the messages may take that are kept until the cloud has acknowledged them, in bytes.
    pub keep_bytes: u64,
    /// The limits of the queue on disk; without them there is none.
    pub disk: Option<DiskLimits>,
}

impl Config {
    /// Default upper bound of the first random delay.
    pub const BACKOFF_BASE: Duration = Duration::from_secs(1);

    /// Default upper bound of every random delay.
    pub const BACKOFF_CAP: Duration = Duration::from_secs(300);

    /// Default memory of kept messages: 1 MiB.
    pub const KEEP_BYTES: u64 = 1024 * 1024;

    /// The defaults for this device.
    pub fn new(device_id: DeviceId) -> Self {
        Self {
            device_id,
            dialect: Dialect::Bincode,
            limits: Limits::default(),
            backoff_base: Self::BACKOFF_BASE,
            backoff_cap: Self::BACKOFF_CAP,
            stable_after: Duration::from_secs(60),
            good_after: Duration::from_secs(10),
            spread: Duration::from_millis(100),
            max_retry_after: Duration::from_secs(3_600),
            resolve_deadline: Duration::from_secs(31),
            tcp_deadline: Duration::from_secs(15),
            tls_deadline: Duration::from_secs(15),
            upgrade_deadline: Duration::from_secs(20),
            welcome_deadline: Duration::from_secs(10),
            pong_deadline: Duration::from_secs(10),
            probe_deadline: Duration::from_secs(3),
            keep_bytes: Self::KEEP_BYTES,
            disk: None,
        }
    }

    /// What clouds decode. The device's own limit is of what it receives.
    pub(crate) fn limits_of_kept(&self) -> Limits {
        Limits { max_decoded: Limits::CLOUD_DECODED, ..self.limits }
    }
}
