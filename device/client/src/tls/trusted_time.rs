//! The time at which certificates are verified, on devices whose clock may be wrong.
//!
//! Boards without a battery-backed clock boot in 1970, or at the time of their image; they need the
//! network to learn the time, and the time to trust the network. The rules:
//!
//! - There is a **floor**, a time that has passed: the build time of this program, or the time received
//!   from a verified cloud, whichever is later.
//! - A server's certificates are verified at the time of the system clock. A clock before the floor,
//!   or more than 20 years after it, is known to be wrong; the floor is used instead.
//! - **Not-before never blocks.** Certificates that are good but not valid yet are verified at the
//!   latest not-before among them: a trusted authority issued them, so that time has passed as well.
//!   This does not depend on the floor, because an image, and with it the clock of its boards, may be
//!   newer than the floor and still older than a renewed certificate.
//! - The chain, the name and not-after are always enforced, at a time that is never before the floor.
//! - The time that a cloud sends raises the floor, but never beyond the expiry of the cloud's own chain, so
//!   that a single wrong cloud does no harm. Over plain `ws://` nothing raises it.
//! - A cloud whose certificates are valid at the floor, and whose time is a day or more before it, lowers it
//!   again: a cloud's clock was ahead, and must not decide for good which certificates are accepted.
//!
//! A clock that is ahead by less than 20 years makes good certificates look expired, and they are
//! refused: this case cannot be distinguished from an expired certificate whose key has leaked. NTP
//! fixes it. `docs/security.md` explains this to users.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedecks_common::utc;
use rustls_pki_types::UnixTime;

use crate::clock::{BUILD_TIME, WallClock};
use crate::storage::{AtomicFile, StoreError};

/// A clock this far after the floor is certainly wrong: 20 years.
const HORIZON: u64 = 20 * 365 * DAY;

/// The floor must rise by this much to be worth a write to flash.
const DAY: u64 = 86_400;

/// The floor and the clock; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct TrustedTime(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: WallClock,
    file: AtomicFile,
    /// The floor is never before it.
    build: u64,
    /// In seconds since 1970, like all numbers here.
    floor: AtomicU64,
    /// The floor on disk, or the build time, which need not be stored.
    persisted: AtomicU64,
}

/// The time at which to verify certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VerificationTime {
    /// The time to verify at.
    pub(crate) at: UnixTime,
    /// The system clock. If it differs, it is known to be wrong.
    pub(crate) clock: UnixTime,
}

impl TrustedTime {
    /// The floor is this program's build time until [`TrustedTime::load`] finds a later one in
    /// `directory`.
    pub(crate) fn new(clock: WallClock, directory: &Path) -> Self {
        // build.rs writes a number.
        Self::built_at(BUILD_TIME.parse().unwrap_or(0), clock, directory)
    }

    /// As of a program that was built at `build`.
    pub(crate) fn built_at(build: u64, clock: WallClock, directory: &Path) -> Self {
        Self(Arc::new(Shared {
            clock,
            file: AtomicFile::new(directory, "time"),
            build,
            floor: build.into(),
            persisted: build.into(),
        }))
    }

    /// Raises the floor to the one on disk, if that is later. Blocks on the disk. May be called again if
    /// the data directory appears later.
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        let shared = &self.0;
        if let Some(seconds) = shared.file.read_if_any(parse)? {
            shared.floor.fetch_max(seconds, Ordering::Relaxed);
            shared.persisted.fetch_max(seconds, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Raises the floor by the time that a cloud sent over a verified connection, in milliseconds since
    /// 1970, but only to what `latest_valid` returns: the latest time up to it at which the cloud's chain
    /// is valid. Lowers a floor that is a day or more after that time, if the chain is valid at both: only a
    /// cloud that would be accepted anyway can do so. Returns true if [`TrustedTime::persist`] is due.
    #[must_use]
    pub(crate) fn observe(
        &self,
        claimed_ms: u64,
        latest_valid: impl Fn(UnixTime) -> Option<UnixTime>,
    ) -> bool {
        let claimed = Duration::from_millis(claimed_ms).as_secs();
        let floor = self.floor().as_secs();
        if claimed > floor.saturating_add(HORIZON) {
            tracing::warn!(
                claimed = %utc(claimed),
                floor = %utc(floor),
                "ignored the cloud's time: it is more than 20 years after the last known time"
            );
            return false;
        }
        if claimed > floor {
            if let Some(valid) = latest_valid(unix(claimed)) {
                self.0.floor.fetch_max(valid.as_secs(), Ordering::Relaxed);
            }
        }
        let is_valid = |at: u64| latest_valid(unix(at)) == Some(unix(at));
        // A clock before the build time is wrong itself.
        let is_earlier = claimed >= self.0.build && floor.saturating_sub(claimed) >= DAY;
        if is_earlier && is_valid(claimed) && is_valid(floor) {
            let (before, after) = (utc(floor), utc(claimed));
            tracing::warn!(%before, %after, "lowered the last known time: a cloud's clock was ahead");
            // Not if it has changed meanwhile.
            let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
            let _ = self.0.floor.compare_exchange(floor, claimed, set, failed);
        }
        let persisted = self.0.persisted.load(Ordering::Relaxed);
        self.floor().as_secs().abs_diff(persisted) >= DAY
    }

    /// Writes the floor to disk, unless a later one is stored that is not known here. Blocks on the disk.
    pub(crate) fn persist(&self) -> Result<(), StoreError> {
        let shared = &self.0;
        // The directory may have appeared after the first load. An unreadable file is replaced.
        let stored = shared.file.read(parse).ok().flatten();
        let known = shared.persisted.load(Ordering::Relaxed);
        if let Some(later) = stored.filter(|stored| *stored > known) {
            shared.floor.fetch_max(later, Ordering::Relaxed);
            shared.persisted.store(later, Ordering::Relaxed);
        }
        let floor = shared.floor.load(Ordering::Relaxed);
        if floor != shared.persisted.load(Ordering::Relaxed) {
            shared.file.write(&format!("seconds {floor}\n"))?;
            shared.persisted.store(floor, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The time that has passed, as far as is known.
    pub(crate) fn floor(&self) -> UnixTime {
        unix(self.0.floor.load(Ordering::Relaxed))
    }

    pub(crate) fn verification_time(&self) -> VerificationTime {
        let clock = self.0.clock.now();
        let floor = self.floor();
        let latest = unix(floor.as_secs().saturating_add(HORIZON));
        let at = if (floor..=latest).contains(&clock) { clock } else { floor };
        VerificationTime { at, clock }
    }

    /// The system clock to the second, in milliseconds since 1970, unless it is known to be wrong.
    pub(crate) fn plausible_ms(&self) -> Option<u64> {
        let VerificationTime { at, clock } = self.verification_time();
        (at == clock).then(|| clock.as_secs().saturating_mul(1000))
    }
}

fn parse(body: &str) -> Option<u64> {
    body.strip_prefix("seconds ")?.strip_suffix('\n')?.parse().ok()
}

fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::testing::{Authority, NOWHERE, epoch, first, trusted_time};
    use crate::tls::VerifiedPeer;

    /// A cloud whose certificate is valid from 2025-12 to 2026-12.
    fn cloud() -> VerifiedPeer {
        Authority::new().verified_peer((first(2025, 12), first(2026, 12)))
    }

    /// Returns true if the floor is to be written to disk.
    fn observe(time: &TrustedTime, cloud: &VerifiedPeer, claimed: UnixTime) -> bool {
        time.observe(claimed.as_secs() * 1_000 + 999, |at| cloud.latest_valid(at))
    }

    /// The floor after a restart.
    fn loaded(build: UnixTime, directory: &TempDir) -> UnixTime {
        let time = trusted_time(build, epoch(), directory);
        time.load().unwrap();
        time.floor()
    }

    #[test]
    fn a_clock_is_used_from_the_floor_to_20_years_later() {
        let floor = first(2026, 1);
        let last = unix(floor.as_secs() + HORIZON);
        let (before, after) = (unix(floor.as_secs() - 1), unix(last.as_secs() + 1));
        let plausible = [floor, first(2027, 3), last].map(|clock| (clock, clock));
        let wrong = [epoch(), before, after, first(2099, 1)].map(|clock| (clock, floor));
        for (clock, at) in plausible.into_iter().chain(wrong) {
            let time = trusted_time(floor, clock, NOWHERE);
            assert_eq!(time.verification_time(), VerificationTime { at, clock });
        }
    }

    #[test]
    fn the_floor_is_the_build_time_if_no_later_one_can_be_loaded() {
        let directory = tempdir().unwrap();
        let missing = directory.path().join("a/b");
        for (path, exists) in [(directory.path(), true), (&missing, false)] {
            let time = TrustedTime::new(WallClock::system(), path);
            let loaded = time.load();
            assert_eq!(loaded.is_ok(), exists);
            assert!(exists || matches!(loaded, Err(StoreError::NoDirectory { .. })));
            assert_eq!(time.floor(), unix(BUILD_TIME.parse().unwrap()));
        }
    }

    #[test]
    fn a_cloud_raises_the_floor_within_its_chains_validity() {
        let time = trusted_time(first(2026, 1), first(2026, 2), NOWHERE);
        let early = Authority::until(first(2026, 4));
        let early = early.verified_peer((first(2025, 12), first(2026, 12)));
        let cloud = cloud();
        // More than 20 years later, which is impossible.
        for claimed in [first(2099, 1).as_secs() * 1_000, u64::MAX] {
            assert!(!time.observe(claimed, |at| cloud.latest_valid(at)));
            assert_eq!(time.floor(), first(2026, 1));
        }
        assert_eq!(time.verification_time().at, first(2026, 2));
        for (peer, claimed, floor) in [
            (&early, first(2040, 1), first(2026, 4)),
            (&cloud, first(2026, 5), first(2026, 5)),
            // Its chain is not valid at the floor, so it cannot lower that.
            (&early, first(2026, 3), first(2026, 5)),
            (&cloud, unix(first(2026, 5).as_secs() - DAY + 1), first(2026, 5)),
            // Before its chain is valid.
            (&cloud, first(2025, 11), first(2026, 5)),
            (&cloud, first(2040, 1), first(2026, 12)),
        ] {
            assert!(observe(&time, peer, claimed));
            assert_eq!(time.floor(), floor);
        }
    }

    /// Its clock was ahead by years; its certificate lasts for decades.
    #[test]
    fn a_cloud_lowers_the_floor_that_its_wrong_clock_has_raised() {
        let directory = tempdir().unwrap();
        let years = Authority::until(first(2050, 1));
        let cloud = years.verified_peer((first(2025, 12), first(2050, 1)));
        let time = trusted_time(first(2026, 1), first(2026, 3), &directory);
        assert!(observe(&time, &cloud, first(2040, 1)));
        time.persist().unwrap();
        // Meanwhile the board's clock was put right, and counts as wrong.
        assert_eq!(time.verification_time().at, first(2040, 1));
        assert!(observe(&time, &cloud, first(2026, 3)));
        assert_eq!(time.floor(), first(2026, 3));
        time.persist().unwrap();
        assert_eq!(loaded(first(2026, 1), &directory), first(2026, 3));
        // A cloud whose clock is before the build time is not believed.
        assert!(!observe(&time, &cloud, unix(first(2026, 1).as_secs() - 1)));
        assert_eq!(time.floor(), first(2026, 3));
    }

    #[test]
    fn the_floor_is_written_when_it_rose_by_a_day_and_is_loaded() {
        let directory = tempdir().unwrap();
        let time = trusted_time(first(2026, 1), epoch(), &directory);
        let cloud = cloud();
        let later = |seconds| unix(first(2026, 1).as_secs() + seconds);
        assert!(!observe(&time, &cloud, later(DAY - 1)));
        assert!(observe(&time, &cloud, later(DAY)));
        time.persist().unwrap();
        assert!(!observe(&time, &cloud, later(DAY + 60)));

        let text = fs::read_to_string(directory.path().join("time")).unwrap();
        assert!(text.starts_with("fedecks time 1\nseconds 1767355200\n"), "{text}");
        // A newer program starts with a later floor.
        for (build, floor) in [(first(2026, 1), later(DAY)), (first(2026, 6), first(2026, 6))] {
            assert_eq!(loaded(build, &directory), floor);
        }

        // An earlier floor does not replace it. This one was created before the data partition was mounted.
        let late = trusted_time(first(2026, 1), epoch(), &directory);
        assert!(observe(&time, &cloud, first(2026, 9)));
        time.persist().unwrap();
        assert!(observe(&late, &cloud, first(2026, 5)));
        late.persist().unwrap();
        assert_eq!(loaded(first(2026, 1), &directory), first(2026, 9));
        assert_eq!(late.floor(), first(2026, 9));
    }
}
