//! The changes of a denylist as its subscribers receive them. How devices are revoked and blocked is in `denylist`.

use std::fmt;

use fedecks_protocol::DeviceId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// A change of the access of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessChange {
    /// The device.
    pub device: DeviceId,
    /// What changed.
    pub kind: AccessChangeKind,
}

/// What changed for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessChangeKind {
    /// All its tokens were revoked.
    Revoked,
    /// It was blocked and is refused from now on.
    Blocked,
    /// It was unblocked.
    Unblocked,
}

/// The changes of a [`Denylist`](crate::Denylist) since [`Denylist::subscribe`](crate::Denylist::subscribe).
///
/// ```no_run
/// # async fn example(denylist: &fedecks_cloud::Denylist) {
/// let mut changes = denylist.subscribe();
/// while let Some(event) = changes.next().await {
///     println!("{event}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct AccessChanges(Receiver<AccessChange>);

/// What an [`AccessChanges`] receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessEvent {
    /// The access of a device has changed.
    Changed(AccessChange),
    /// Changes after the previous one were dropped, because the program was too slow. The denylist itself has
    /// them: check every device that you know.
    Missed {
        /// How many.
        count: u64,
    },
}

impl AccessChanges {
    pub(super) fn new(receiver: Receiver<AccessChange>) -> Self {
        Self(receiver)
    }

    /// The next event; `None` when the last clone of the denylist was dropped. Cancel safe.
    pub async fn next(&mut self) -> Option<AccessEvent> {
        match self.0.recv().await {
            Ok(change) => Some(AccessEvent::Changed(change)),
            Err(RecvError::Lagged(count)) => Some(AccessEvent::Missed { count }),
            Err(RecvError::Closed) => None,
        }
    }
}

impl fmt::Display for AccessChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "revoked",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
        })
    }
}

impl fmt::Display for AccessEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(AccessChange { device, kind }) => write!(f, "{device} was {kind}"),
            Self::Missed { count: 1 } => f.write_str("1 change was missed"),
            Self::Missed { count } => write!(f, "{count} changes were missed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::AccessChangeKind::{Blocked, Revoked};
    use super::*;

    #[tokio::test]
    async fn what_was_missed_is_counted_before_what_follows() {
        let sender = broadcast::Sender::new(2);
        let mut changes = AccessChanges::new(sender.subscribe());
        let device = DeviceId::new("a").unwrap();
        for kind in [Revoked, Revoked, Revoked, Revoked, Blocked] {
            sender.send(AccessChange { device: device.clone(), kind }).unwrap();
        }
        drop(sender);
        let mut texts = Vec::new();
        while let Some(event) = changes.next().await {
            texts.push(event.to_string());
        }
        assert_eq!(texts, ["3 changes were missed", "a was revoked", "a was blocked"]);
    }
}
