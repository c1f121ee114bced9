//! Kept messages on D-Bus: the options of a call, and the messages whose callers wait for the outcome.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedecks_dbus::{Device1Error, ReceivedDictionary};
use fedecks_device::kept::{Keep, Kept, Place, Settled};
use fedecks_protocol::Term;
use tokio::time::timeout;

/// The options of `SendKept`.
pub(super) struct KeptOptions {
    pub(super) keep: Keep,
    track: bool,
}

/// Messages that `WaitSettled` may be called for, the oldest first.
#[derive(Default)]
pub(super) struct Tracked(Mutex<VecDeque<Tracking>>);

struct Tracking {
    id: String,
    /// `None` while a call waits for it.
    kept: Option<Kept>,
}

/// The number of messages that are tracked.
const MAX: usize = 1_000;

impl KeptOptions {
    pub(super) fn parse(options: ReceivedDictionary) -> Result<Self, Device1Error> {
        let invalid = |text: String| Device1Error::InvalidArgument(text);
        let mut parsed = Self { keep: Keep::in_memory(), track: false };
        let (mut on_disk, mut sync) = (false, false);
        let Term::Map(entries) = options.0?.into_term() else { return Ok(parsed) };
        for (key, value) in entries {
            let key = key.as_str().unwrap_or_default();
            let wrong = |expected| Err(invalid(format!("option {key}: expected {expected}")));
            match (key, &value) {
                ("lane", Term::Str(lane)) if lane == "normal" => {}
                ("lane", Term::Str(lane)) if lane == "urgent" => parsed.keep = parsed.keep.urgent(),
                ("lane", _) => return wrong("normal or urgent"),
                ("expires", Term::Int(seconds)) => match u64::try_from(*seconds) {
                    Ok(seconds) if (1..=Keep::LONGEST.as_secs()).contains(&seconds) => {
                        parsed.keep = parsed.keep.expires_in(Duration::from_secs(seconds));
                    }
                    _ => return wrong("1 to 31536000 seconds"),
                },
                ("expires", _) => return wrong("a number of seconds"),
                ("keep", Term::Str(place)) if place == "memory" => {}
                ("keep", Term::Str(place)) if place == "disk" => on_disk = true,
                ("keep", _) => return wrong("memory or disk"),
                ("sync", Term::Bool(at_once)) => sync = *at_once,
                ("sync", _) => return wrong("a boolean"),
                ("track", Term::Bool(track)) => parsed.track = *track,
                ("track", _) => return wrong("a boolean"),
                _ => {
                    let text = format!(
                        "unknown option {key}, expected keep, sync, lane, expires or track"
                    );
                    return Err(invalid(text));
                }
            }
        }
        parsed.keep.place = match (on_disk, sync) {
            (true, sync) => Place::Disk { sync },
            (false, false) => Place::Memory,
            (false, true) => {
                return Err(invalid("option sync: only with keep: \"disk\"".into()));
            }
        };
        Ok(parsed)
    }
}

impl Tracked {
    /// Refuses to track a message while as many are tracked as may be: those whose outcome is known and was not asked
    /// for are forgotten first.
    pub(super) fn check_room(&self, options: &KeptOptions) -> Result<(), Device1Error> {
        let mut tracked = self.lock();
        if !options.track || tracked.len() < MAX {
            return Ok(());
        }
        let ended = |tracking: &Tracking| tracking.kept.as_ref().is_some_and(Kept::is_settled);
        match tracked.iter().position(ended) {
            Some(at) => drop(tracked.remove(at)),
            None => return Err(Device1Error::Busy(format!("{MAX} messages are tracked"))),
        }
        Ok(())
    }

    /// The id of a message that is kept now, which is tracked if the options say so.
    pub(super) fn answer(&self, kept: Kept, options: &KeptOptions) -> String {
        let id = kept.id().to_string();
        if options.track {
            self.lock().push_back(Tracking { id: id.clone(), kept: Some(kept) });
        }
        id
    }

    /// Waits for the outcome of a message, or until the limit has passed.
    pub(super) async fn wait(
        &self,
        id: &str,
        limit: Duration,
    ) -> Result<&'static str, Device1Error> {
        let unknown = || {
            let text = format!("no message {id:?} is tracked, or another call waits for it");
            Device1Error::InvalidArgument(text)
        };
        let mut waiting = Waiting { tracked: self, id, kept: self.take(id) };
        let Some(kept) = &mut waiting.kept else { return Err(unknown()) };
        let Ok(settled) = timeout(limit, kept.settled_mut()).await else { return Ok("waiting") };
        waiting.kept = None;
        self.lock().retain(|tracking| tracking.id != id);
        match settled {
            Ok(settled) => Ok(outcome(settled)),
            Err(stopped) => Err(Device1Error::GivenUp(stopped.to_string())),
        }
    }

    fn take(&self, id: &str) -> Option<Kept> {
        self.lock().iter_mut().find(|tracking| tracking.id == id)?.kept.take()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Tracking>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the message back when the call ends without an outcome.
struct Waiting<'a> {
    tracked: &'a Tracked,
    id: &'a str,
    kept: Option<Kept>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let mut tracked = self.tracked.lock();
        if let Some(tracking) = tracked.iter_mut().find(|tracking| tracking.id == self.id) {
            tracking.kept = Some(kept);
        }
    }
}

fn outcome(settled: Settled) -> &'static str {
    match settled {
        Settled::Delivered => "delivered",
        Settled::Rejected => "rejected",
        Settled::Voided(reason) => reason.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tracked_message_is_known_until_its_outcome_was_returned() {
        let folder = tempfile::tempdir().unwrap();
        let id = fedecks_protocol::DeviceId::new("d").unwrap();
        let builder = fedecks_device::Client::builder("ws://127.0.0.1:1".parse().unwrap(), id);
        let (client, _) = builder.data_dir(folder.path()).start().await.unwrap();
        let tracked = Tracked::default();
        let keep = Keep::in_memory().expires_in(Duration::from_secs(1));
        let options = KeptOptions { keep, track: true };
        let not_tracked = KeptOptions { keep, track: false };
        let id = tracked.answer(client.send_kept("hi", keep).await.unwrap(), &options);
        for _ in 0..2 {
            let waited = tracked.wait(&id, Duration::from_millis(10)).await;
            assert_eq!(waited.unwrap(), "waiting");
        }
        assert_eq!(tracked.wait(&id, Duration::from_secs(10)).await.unwrap(), "expired");
        assert!(tracked.wait(&id, Duration::ZERO).await.is_err());
        let long = Keep::in_memory();
        // Near the end, as filling takes longer than it lives where the processor is emulated.
        let short = keep.expires_in(Duration::from_secs(3));
        for place in 0..MAX {
            tracked.check_room(&options).unwrap();
            let keep = if place == MAX - 2 { short } else { long };
            tracked.answer(client.send_kept("hi", keep).await.unwrap(), &options);
        }
        assert!(matches!(tracked.check_room(&options), Err(Device1Error::Busy(_))));
        assert!(tracked.check_room(&not_tracked).is_ok());
        // The one whose outcome is known makes room.
        let room = async {
            while tracked.check_room(&options).is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(20), room).await.unwrap();
        assert_eq!(tracked.lock().len(), MAX - 1);
        let id = tracked.answer(client.send_kept("hi", keep).await.unwrap(), &not_tracked);
        assert!(tracked.wait(&id, Duration::ZERO).await.is_err());
    }
}
