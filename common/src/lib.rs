//! Code that Fedecks devices and clouds share, apart from the protocol: [`Backoff`], [`RateLimit`],
//! [`HumanDuration`], [`utc`] and [`text`].
//!
//! Nothing here reads a clock or does I/O, except the terminal behind the feature `terminal`, behind the feature
//! `log` what the services write, their log and notifications to systemd, and behind `files` the look at a file
//! that could not be opened.

mod backoff;
mod human_duration;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "files")]
mod open_error;
mod rate_limit;
#[cfg(feature = "log")]
pub mod systemd;
#[cfg(feature = "terminal")]
pub mod terminal;
pub mod text;
mod utc;

pub use backoff::Backoff;
pub use human_duration::{HumanDuration, InvalidDuration};
#[cfg(feature = "files")]
pub use open_error::explain_open_error;
pub use rate_limit::RateLimit;
pub use utc::{utc, utc_millis};
