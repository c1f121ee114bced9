//! Code that Fedecks devices and clouds share, apart from the protocol: [`Backoff`], [`RateLimit`],
//! [`HumanDuration`], [`crc32()`], [`utc()`] and [`text`].
//!
//! Nothing here reads a clock or does I/O, except the terminal behind the feature `terminal`, behind the feature
//! `log` what the services write, their log and notifications to systemd, behind `files` locks, the look at a file
//! that could not be opened and at what a path leads to, behind `privileges` the change to another user, and behind
//! `process` the programs that are run with a limit.

mod backoff;
mod crc32;
#[cfg(feature = "files")]
mod dir_owner;
mod human_duration;
#[cfg(feature = "files")]
mod lock_file;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "files")]
mod open_error;
#[cfg(feature = "files")]
mod path_walk;
#[cfg(feature = "privileges")]
mod privileges;
#[cfg(feature = "process")]
mod process_group;
mod rate_limit;
#[cfg(feature = "log")]
pub mod systemd;
#[cfg(feature = "terminal")]
pub mod terminal;
pub mod text;
mod utc;

pub use backoff::Backoff;
pub use crc32::crc32;
#[cfg(feature = "files")]
pub use dir_owner::give_to_owner_of_dir;
pub use human_duration::{HumanDuration, InvalidDuration};
#[cfg(feature = "files")]
pub use lock_file::{LockFile, NotLocked};
#[cfg(feature = "files")]
pub use open_error::explain_open_error;
#[cfg(feature = "files")]
pub use path_walk::{PathWalk, Step};
#[cfg(feature = "privileges")]
pub use privileges::become_user;
#[cfg(feature = "process")]
pub use process_group::ProcessGroup;
pub use rate_limit::RateLimit;
pub use utc::{parse_utc, utc, utc_millis};
