use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::{DEFAULT_PATH, DeviceId, Limits, MAX_HEADER_CHARS};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;

use crate::backplane::{Backplane, InProcess};
use crate::denylist::Denylist;
use crate::handler::Handler;
use crate::hub::{Hub, HubOptions, WeakHub};
use crate::mailbox::Bounds;
use crate::session::Pace;
use crate::tokens::Keyring;
use fedecks_store::Store;

/// A cloud for devices, made of your [`Handler`]. Clones are the same cloud.
pub struct Fedecks<H>(pub(crate) Arc<Core<H>>);

/// Puts a [`Fedecks`] together, see [`Fedecks::builder`].
pub struct Builder<H> {
    handler: H,
    keyring: Option<Keyring>,
    denylist: Option<Denylist>,
    store: Option<Arc<dyn Store>>,
    backplane: Option<Arc<dyn Backplane>>,
    options: Options,
}

/// The numbers that a cloud goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Path of the device socket, below where the filter is mounted.
    pub path: String,
    /// For how long a token is good. Whole seconds.
    pub token_lifetime: Duration,
    /// After how long a connected device gets a new token.
    pub token_refresh: Duration,
    /// After how much silence a device pings. Whole seconds.
    pub heartbeat: Duration,
    /// After how much silence a device is dropped. Whole seconds.
    pub idle_timeout: Duration,
    /// The biggest frame, in either direction, in bytes.
    pub max_frame: u32,
    /// The longest authentication header, in characters.
    pub max_header: usize,
    /// How many messages a device may send per second, of whatever kind, pings included; 0 for as
    /// many as it likes. Above that its session stops reading for a moment, so that TCP holds the
    /// device back. Nothing is lost.
    pub messages_per_second: u32,
    /// How many of them at once after a quiet time, at least one.
    pub message_burst: u32,
    /// How many messages may wait for one device.
    pub queue_messages: usize,
    /// About how many bytes may wait for one device. A single message may be bigger.
    pub queue_bytes: usize,
}

/// Why a [`Fedecks`] could not be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to seal tokens with.
    #[error("no keyring, expected one by Builder::keyring")]
    NoKeyring,
    /// There is nothing that knows which tokens were revoked and which devices are blocked.
    #[error("no denylist, expected one by Builder::denylist")]
    NoDenylist,
    /// An option has a value that cannot work.
    #[error("the option {option}: {expected}")]
    Option {
        /// Which.
        option: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}

impl Default for Options {
    /// The path `/fedecks/websocket`, tokens of 4 weeks renewed every 3 hours, a ping after 19 s, the
    /// end after 60 s, frames of 1 MiB, a header of 4,096 characters, as many messages as the device
    /// likes, queues of 256 messages and 1 MiB.
    fn default() -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            token_lifetime: Duration::from_secs(4 * 7 * 24 * 3600),
            token_refresh: Duration::from_secs(3 * 3600),
            heartbeat: Duration::from_secs(19),
            idle_timeout: Duration::from_secs(60),
            max_frame: 1024 * 1024,
            max_header: MAX_HEADER_CHARS,
            messages_per_second: 0,
            message_burst: 1,
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
        }
    }
}

impl<H: Handler> Fedecks<H> {
    /// Begins with what is yours. A [`Keyring`] and a [`Denylist`] have to be added.
    pub fn builder(handler: H) -> Builder<H> {
        Builder {
            handler,
            keyring: None,
            denylist: None,
            store: None,
            backplane: None,
            options: Options::default(),
        }
    }

    /// The way to the devices.
    pub fn hub(&self) -> Hub {
        self.0.hub.clone()
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.handler
    }

    /// Which tokens were revoked and which devices are blocked, and the way to change that.
    pub fn denylist(&self) -> &Denylist {
        &self.0.denylist
    }
}

impl<H: Handler> Builder<H> {
    /// The keys that seal and open tokens. Required.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Which tokens were revoked and which devices are blocked. Required.
    #[must_use]
    pub fn denylist(mut self, denylist: Denylist) -> Self {
        self.denylist = Some(denylist);
        self
    }

    /// Where to note when devices were seen; nowhere if none is given.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// What connects several nodes; one of its own where none is given.
    #[must_use]
    pub fn backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = Some(backplane);
        self
    }

    /// Other numbers than the default ones.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Puts it together. Call it within a tokio runtime: a task that closes the sessions of revoked
    /// and blocked devices is started, and ends with the last clone of the hub.
    ///
    /// To notice what other processes revoke and block, run [`Denylist::watch`] beside it.
    pub fn build(self) -> Result<Fedecks<H>, BuildError> {
        let Self { handler, keyring, denylist, store, backplane, options } = self;
        let keyring = keyring.ok_or(BuildError::NoKeyring)?;
        let denylist = denylist.ok_or(BuildError::NoDenylist)?;
        options.check()?;
        let hub = Hub::new(
            HubOptions {
                max_frame: options.max_frame as usize,
                queue: Bounds { items: options.queue_messages, bytes: options.queue_bytes },
            },
            backplane.unwrap_or_else(|| Arc::new(InProcess::new())),
        );
        let closing = tokio::spawn(close_denied(denylist.clone(), hub.downgrade()));
        let closing = AbortOnDrop(closing.abort_handle());
        Ok(Fedecks(Arc::new(Core {
            handler,
            keyring,
            denylist,
            store,
            pace: Pace::new(&options),
            options,
            hub,
            _closing: closing,
        })))
    }
}

impl<H> Clone for Fedecks<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What all sessions share.
pub(crate) struct Core<H> {
    pub(crate) handler: H,
    pub(crate) keyring: Keyring,
    pub(crate) denylist: Denylist,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) options: Options,
    pub(crate) pace: Option<Pace>,
    pub(crate) hub: Hub,
    _closing: AbortOnDrop,
}

/// Sums with it don't overflow.
const A_HUNDRED_YEARS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Options {
    fn check(&self) -> Result<(), BuildError> {
        let whole = |duration: Duration| !duration.is_zero() && duration.subsec_nanos() == 0;
        let rules = [
            ("path", self.path.starts_with('/'), "has to begin with '/'"),
            ("token_lifetime", whole(self.token_lifetime), "whole seconds, at least one"),
            ("token_lifetime", self.token_lifetime <= A_HUNDRED_YEARS, "at most a hundred years"),
            ("token_refresh", !self.token_refresh.is_zero(), "more than nothing"),
            (
                "token_refresh",
                self.token_refresh < self.token_lifetime,
                "shorter than the tokens' lifetime",
            ),
            ("heartbeat", whole(self.heartbeat), "whole seconds, at least one"),
            ("idle_timeout", whole(self.idle_timeout), "whole seconds, at least one"),
            ("idle_timeout", self.idle_timeout <= A_HUNDRED_YEARS, "at most a hundred years"),
            ("idle_timeout", self.heartbeat < self.idle_timeout, "longer than the heartbeat"),
            (
                "max_frame",
                (1024..=Limits::MAX_SIZE).contains(&(self.max_frame as usize)),
                "1 KiB to 64 MiB",
            ),
            ("max_header", self.max_header > 0, "more than nothing"),
            ("message_burst", self.message_burst > 0, "more than nothing"),
            ("queue_messages", self.queue_messages > 0, "more than nothing"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((option, _, expected)) => Err(BuildError::Option { option, expected }),
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn close_denied(denylist: Denylist, hub: WeakHub) {
    let mut news = denylist.subscribe();
    loop {
        let told = news.recv().await;
        let Some(hub) = hub.upgrade() else {
            return;
        };
        let look_at = |device: &DeviceId| {
            let known = denylist.known(device);
            hub.revoked(device, known.generation);
            if known.blocked {
                hub.blocked(device);
            }
        };
        match told {
            Ok(denied) => look_at(&denied.device),
            Err(RecvError::Lagged(_)) => {
                hub.local().iter().for_each(|connected| look_at(connected.device()));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_cannot_work_is_named() {
        let seconds = Duration::from_secs;
        let default = Options::default;
        assert_eq!(default().check(), Ok(()));
        for (option, options) in [
            ("path", Options { path: "no slash".into(), ..default() }),
            ("token_lifetime", Options { token_lifetime: Duration::from_millis(1), ..default() }),
            ("token_lifetime", Options { token_lifetime: seconds(u64::MAX), ..default() }),
            ("token_refresh", Options { token_refresh: Duration::ZERO, ..default() }),
            ("token_refresh", Options { token_refresh: default().token_lifetime, ..default() }),
            ("heartbeat", Options { heartbeat: Duration::from_millis(1500), ..default() }),
            ("idle_timeout", Options { idle_timeout: default().heartbeat, ..default() }),
            ("idle_timeout", Options { idle_timeout: seconds(u64::MAX), ..default() }),
            ("max_frame", Options { max_frame: 1023, ..default() }),
            ("max_frame", Options { max_frame: u32::MAX, ..default() }),
            ("max_header", Options { max_header: 0, ..default() }),
            ("message_burst", Options { message_burst: 0, ..default() }),
            ("queue_messages", Options { queue_messages: 0, ..default() }),
        ] {
            let Err(BuildError::Option { option: named, .. }) = options.check() else {
                panic!("{options:?} passed");
            };
            assert_eq!(named, option);
        }
    }
}
