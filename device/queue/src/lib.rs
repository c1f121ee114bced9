//! A device's queue of kept messages on disk: [`Queue`] writes them in groups to segments and finds them again after
//! a power cut; [`Positions`] are those of the receiving side.
//!
//! Synchronous and without a clock: the caller decides when to [flush](Queue::flush). All access to the disk is
//! behind [`Directory`].

mod directory;
mod disk;
mod error;
mod limits;
mod open;
mod owner;
mod positions;
mod queue;
mod record;
mod segment;

pub use directory::{Directory, Entry, Space};
pub use disk::Disk;
pub use error::{AppendError, Damage, DamageReason, FlushError, Full, Lost};
pub use limits::Limits;
pub use open::{Found, Opened};
pub use owner::Owner;
pub use positions::{Position, Positions, PositionsError};
pub use queue::{InFlight, Queue, Usage};
pub use record::{Item, Record};
