//! Devices, their labels, blocks and revocations, and their trait.

use fedecks_protocol::DeviceId;

use crate::audit::Actor;
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::epoch::Epoch;
use crate::registrations::Registration;
use crate::text::{Unfit, check_line};

/// Stores devices. Follows the [contract](crate#contract) of every store; each change except
/// [`DeviceStore::seen`] is audited.
pub trait DeviceStore: Epoch {
    /// Notes that a device was connected `at` (seconds since 1970-01-01 UTC), in a session that began when
    /// its tokens were of `generation`. A forgotten device does not reappear by a note with an older
    /// generation than that of its forgetting. The latest note counts, but not one that is more than a day
    /// later than this one: it was made by a clock that was ahead. Never waits.
    ///
    /// A device that came `by_token` has stored it, so that from then on the nonce of its registration is useless,
    /// see [`RegistrationStore::register`](crate::RegistrationStore::register).
    fn seen(&self, device: &DeviceId, generation: u64, at: u64, by_token: bool);

    /// A page of the devices that were ever seen, revoked or blocked and not forgotten since, ordered by
    /// id.
    fn devices_page<'a>(&'a self, query: &'a DeviceQuery) -> StoreFuture<'a, Vec<DeviceRecord>>;

    /// How many devices [`DeviceStore::devices_page`] has in all its pages, of those that the scope matches. While
    /// devices come and go, each that did neither is counted once.
    fn device_counts<'a>(
        &'a self,
        scope: Option<&'a DevicePattern>,
    ) -> StoreFuture<'a, DeviceCounts>;

    /// Those of these devices that are known, ordered by id. Looks up at most 1,000 at a time.
    fn devices_by_id<'a>(&'a self, devices: &'a [DeviceId]) -> StoreFuture<'a, Vec<DeviceRecord>>;

    /// One device, if it is known.
    fn device<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, Option<DeviceRecord>>;

    /// Sets the label of a device, see [`check_label`], or removes it. Returns false for an unknown device.
    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool>;

    /// Removes a device from all lists and revokes its tokens. It is known again, without its label, when
    /// it logs in.
    fn forget<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, ForgetOutcome>;

    /// Revokes all tokens of a device, which may be one that was never seen. The new generation is higher
    /// than the previous one, and not lower than the time in seconds since 1970: after a restore from a
    /// backup, tokens that were sealed since the backup do not become valid again.
    ///
    /// A running server consults its `Denylist`, in memory, whose `revoke` takes effect immediately. It
    /// notices a call of this method only when it polls the store for changes.
    fn revoke<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, AccessState>;

    /// Blocks a device, which may be one that was never seen, until it is unblocked. Its tokens stay valid
    /// for then. `None` if it is already blocked.
    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>>;

    /// Unblocks a device. `None` if it is not blocked.
    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>>;

    /// The states that changed after the change with number `change`, by any process, oldest first; all of
    /// them after 0. Each device is in it once, with its latest state.
    fn access_states_after(&self, change: u64) -> StoreFuture<'_, Vec<AccessState>>;
}

/// A device in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DeviceRecord {
    /// Which device.
    pub id: DeviceId,
    /// The name for people.
    pub label: Option<String>,
    /// When it was seen first, in seconds since 1970-01-01 UTC; `None` if never.
    pub first_seen: Option<u64>,
    /// When it was seen last, in seconds since 1970-01-01 UTC; `None` if never.
    pub last_seen: Option<u64>,
    /// The oldest generation of its tokens that is valid; 0 if they were never revoked.
    pub generation: u64,
    /// Since when it is blocked, in seconds since 1970-01-01 UTC; `None` if it is not.
    pub blocked_at: Option<u64>,
    /// By what it was registered last; `None` if that is not known.
    pub registration: Option<Registration>,
    /// Until when it may be registered again, once, in seconds since 1970-01-01 UTC; `None` if it may not.
    pub reregistration_allowed_until: Option<u64>,
    /// The SHA-256 of the public key of its certificate; `None` if it has none.
    pub certificate_key: Option<[u8; 32]>,
    /// Whether that key was revoked together with its tokens.
    pub certificate_refused: bool,
}

impl DeviceRecord {
    /// A device of which nothing is known but its id.
    pub fn new(id: DeviceId) -> Self {
        Self {
            id,
            label: None,
            first_seen: None,
            last_seen: None,
            generation: 0,
            blocked_at: None,
            registration: None,
            reregistration_allowed_until: None,
            certificate_key: None,
            certificate_refused: false,
        }
    }
}

/// Selects devices.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct DeviceQuery {
    /// Only those whose id comes after this one.
    pub after: Option<DeviceId>,
    /// The largest number of devices; values above [`DeviceQuery::MAX`] count as that.
    pub limit: u32,
    /// Only those that the pattern matches.
    pub scope: Option<DevicePattern>,
    /// Only those with this text in their id or label, ignoring case.
    pub search: Option<String>,
    /// Only those that are blocked, or only those that are not.
    pub blocked: Option<bool>,
}

impl Default for DeviceQuery {
    /// The first 1,000 of all devices.
    fn default() -> Self {
        Self { after: None, limit: Self::MAX, scope: None, search: None, blocked: None }
    }
}

impl DeviceQuery {
    /// The largest number of devices in one answer.
    pub const MAX: u32 = 1000;
}

/// How many devices there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct DeviceCounts {
    /// Those that are known: the blocked ones too.
    pub known: u64,
    /// Those that are blocked.
    pub blocked: u64,
}

/// A device's access after its latest revocation, block or unblock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct AccessState {
    /// Which device.
    pub device: DeviceId,
    /// The oldest generation of its tokens that is valid.
    pub generation: u64,
    /// Whether it is refused until it is unblocked.
    pub blocked: bool,
    /// The number of its latest change among all such changes of the store, counted from 1.
    pub change: u64,
}

/// The outcome of [`DeviceStore::forget`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForgetOutcome {
    /// The device is forgotten and its tokens are revoked.
    Done(AccessState),
    /// The device is not known.
    Unknown,
    /// The device is blocked. Forgetting it would let it in again, so it must be unblocked first.
    Blocked,
}

/// A text that cannot be a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLabel {
    /// It is empty, too long, or has a space at either end.
    #[error(
        "a label has 1 to {max} characters, none of them a control character, and no space at either \
         end",
        max = MAX_LABEL_CHARS
    )]
    Form,
    /// It contains a character that controls what shows it.
    #[error(
        "a label has no control characters and no marks of direction, but character {position} is \
         U+{:04X}",
        u32::from(*character)
    )]
    Character {
        /// Its position, counted from 1.
        position: usize,
        /// The character itself.
        character: char,
    },
}

const MAX_LABEL_CHARS: usize = 128;

/// Checks a label.
pub fn check_label(label: &str) -> Result<(), InvalidLabel> {
    check_line(label, MAX_LABEL_CHARS).map_err(|unfit| match unfit {
        Unfit::Form => InvalidLabel::Form,
        Unfit::Character(position, character) => InvalidLabel::Character { position, character },
    })
}
