//! Code that Fedecks devices and clouds share, apart from the protocol: [`Backoff`], [`RateLimit`],
//! [`HumanDuration`] and [`utc`].
//!
//! Nothing here reads a clock or does I/O, except the terminal behind the feature `terminal`, and behind the
//! feature `log` what the services write: their log, and notifications to systemd.

mod backoff;
mod human_duration;
#[cfg(feature = "log")]
pub mod log;
mod rate_limit;
#[cfg(feature = "log")]
pub mod systemd;
#[cfg(feature = "terminal")]
pub mod terminal;
mod utc;

pub use backoff::Backoff;
pub use human_duration::{HumanDuration, InvalidDuration};
pub use rate_limit::RateLimit;
pub use utc::{utc, utc_millis};
