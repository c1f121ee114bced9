//! What the store knows of devices.

use fedecks_protocol::DeviceId;

use crate::audit::Actor;
use crate::boxed::BoxFuture;
use crate::device_pattern::DevicePattern;
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::text::is_one_line;

/// Keeps what is known of devices by the [contract](crate#contract) of every store, and audits each
/// change but [`DeviceStore::seen`].
pub trait DeviceStore: Epoch {
    /// Notes that a device was connected `at` (seconds since 1970-01-01 UTC), let in when its tokens
    /// were of `generation`. What was noted of an older generation than that at which the device was
    /// forgotten does not bring it back. Never waits.
    fn seen(&self, device: &DeviceId, generation: u64, at: u64);

    /// Some of the devices that were ever seen, revoked or blocked and were not forgotten since,
    /// ordered by id.
    fn devices_page<'a>(
        &'a self,
        query: &'a DeviceQuery,
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>>;

    /// Those of these devices that are known, ordered by id. More than 1,000 at a time are not
    /// looked up.
    fn devices_by_id<'a>(
        &'a self,
        devices: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>>;

    /// One device, if it is known.
    fn device<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<DeviceRecord>, StoreError>>;

    /// Gives a device a label, see [`check_label`], or takes it away; whether the device is known.
    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Takes a device off every list and makes its tokens worthless. It is known again, without its
    /// label, once it logs in.
    fn forget<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<ForgetOutcome, StoreError>>;

    /// Makes every token that the device has worthless. A device that was never seen can be revoked
    /// too. The new generation is higher than the former, and than any that was given to the device
    /// earlier by the clock: a store that came back from a back-up does not make tokens good again
    /// that were sealed since.
    ///
    /// A running server goes by its `Denylist`, in memory, whose `revoke` takes effect at once. Of a
    /// call of this alone, it knows nothing before it reads the changes again.
    fn revoke<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<AccessState, StoreError>>;

    /// Has the device refused until it is unblocked; its tokens stay what they are. `None` if it is
    /// blocked already. A device that was never seen can be blocked too.
    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<AccessState>, StoreError>>;

    /// Takes a block away. `None` if the device is not blocked.
    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<AccessState>, StoreError>>;

    /// The standings that changed after `change`, whichever process changed them, oldest first; all
    /// of them after 0. A device stands there once, with its latest.
    fn standings_after(&self, change: u64) -> BoxFuture<'_, Result<Vec<AccessState>, StoreError>>;
}

/// What the store knows of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Which device.
    pub id: DeviceId,
    /// What people call it.
    pub label: Option<String>,
    /// When it was seen first, in seconds since 1970-01-01 UTC; `None` if never.
    pub first_seen: Option<u64>,
    /// When it was seen last, in seconds since 1970-01-01 UTC; `None` if never.
    pub last_seen: Option<u64>,
    /// The generation from which on its tokens are good; 0 if they were never revoked.
    pub generation: u64,
    /// Since when it is blocked, in seconds since 1970-01-01 UTC; `None` if it is not.
    pub blocked_at: Option<u64>,
}

/// Which devices, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceQuery {
    /// Only those whose id comes after this one.
    pub after: Option<DeviceId>,
    /// At most so many; 1,000 at most, whatever stands here.
    pub limit: u32,
    /// Only those that the pattern matches.
    pub scope: Option<DevicePattern>,
    /// Only those with this text in their id or label, whichever case it is written in.
    pub search: Option<String>,
    /// Only those that are blocked, or only those that are not.
    pub blocked: Option<bool>,
}

impl Default for DeviceQuery {
    /// The first 1,000 of all devices.
    fn default() -> Self {
        Self { after: None, limit: Self::MOST, scope: None, search: None, blocked: None }
    }
}

impl DeviceQuery {
    /// How many devices there are at most in one answer.
    pub const MOST: u32 = 1000;
}

/// What a device may do, by its latest revocation, block or unblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessState {
    /// Which device.
    pub device: DeviceId,
    /// The generation from which on its tokens are good.
    pub generation: u64,
    /// Whether it is refused until somebody unblocks it.
    pub blocked: bool,
    /// The place of the latest change of this among all such changes of the store, counted from 1.
    pub change: u64,
}

/// What became of a device that was to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForgetOutcome {
    /// It is in no list any more, and its tokens are worthless.
    Done(AccessState),
    /// The store did not know it.
    Unknown,
    /// It is blocked, and would not be if it were forgotten: it has to be unblocked first.
    Blocked,
}

/// Why a text is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a label has 1 to {max} characters, none of them a control character, and no space at either \
     end",
    max = MAX_LABEL_CHARS
)]
pub struct InvalidLabel;

const MAX_LABEL_CHARS: usize = 128;

/// Whether a device may be called so.
pub fn check_label(label: &str) -> Result<(), InvalidLabel> {
    if is_one_line(label, MAX_LABEL_CHARS) { Ok(()) } else { Err(InvalidLabel) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_can_be_shown_on_one_line() {
        for label in ["Boiler 3", "Küche", &"é".repeat(128)] {
            assert_eq!(check_label(label), Ok(()), "{label:?}");
        }
        for label in ["", " ", " Boiler", "two\nlines", "\u{7f}", &"é".repeat(129)] {
            assert_eq!(check_label(label), Err(InvalidLabel), "{label:?}");
        }
    }
}
