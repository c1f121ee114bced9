//! What time it is, as far as certificates are concerned.
//!
//! Boards without a battery for their clock come up in 1970, or at the time of their image, and
//! need the network to learn the time, and the time to trust the network. The rules:
//!
//! - There is a **floor**, a time that is certainly over: when this program was built, or the last
//!   time that a verified cloud told, whichever is later.
//! - A server's certificates are verified at the time of the system's clock. A clock below the
//!   floor, or more than 20 years above it, is known to be wrong; the floor is taken instead.
//! - **Not-before never blocks.** Certificates that are good but not valid yet are verified at the
//!   latest not-before among them: a trusted authority issued them, so that time is over as well.
//!   This is not tied to the floor, because an image, and with it the clock of its boards, may be
//!   younger than the floor and still older than a renewed certificate.
//! - The chain, the name and not-after always hold, at a time that is never before the floor.
//! - What a cloud says the time is raises the floor, but never beyond the time at which its own
//!   chain ends, so that one wrong cloud poisons nothing. Over plain `ws://` nothing raises it.
//!
//! A clock that is ahead by less than 20 years makes good certificates look expired, and they are
//! refused: nothing tells that case from an expired certificate whose key has leaked. NTP puts it
//! right. `docs/security.md` says this to users.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedecks_common::utc;
use rustls_pki_types::UnixTime;

use crate::clock::{BUILD_TIME, WallClock};
use crate::storage::{AtomicFile, StoreError};

/// No clock is right that is this far above the floor: 20 years.
const HORIZON: u64 = 20 * 365 * DAY;

/// By how much the floor rises before it is worth a write to flash.
const DAY: u64 = 86_400;

/// The floor and the clock; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct TrustedTime(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: WallClock,
    file: AtomicFile,
    /// In seconds since 1970, as everything here; it only rises.
    floor: AtomicU64,
    /// What is on disk, or need not be there because the program knows it.
    persisted: AtomicU64,
}

/// The time at which to verify, and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The time to verify at.
    pub(crate) time: UnixTime,
    /// What the system's clock says. If it is not the same, it is known to be wrong.
    pub(crate) clock: UnixTime,
}

impl TrustedTime {
    /// The floor is this program's build time until [`TrustedTime::load`] finds a later one in
    /// `directory`.
    pub(crate) fn new(clock: WallClock, directory: &Path) -> Self {
        // build.rs writes a number.
        Self::built_at(BUILD_TIME.parse().unwrap_or(0), clock, directory)
    }

    fn built_at(build: u64, clock: WallClock, directory: &Path) -> Self {
        Self(Arc::new(Shared {
            clock,
            file: AtomicFile::new(directory, "time"),
            floor: build.into(),
            persisted: build.into(),
        }))
    }

    /// Raises the floor to what is on disk, if that is later. Blocks on the disk. May be called
    /// again when the data directory comes late.
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        let shared = &self.0;
        if let Some(seconds) = shared.file.read(parse)? {
            shared.floor.fetch_max(seconds, Ordering::Relaxed);
            shared.persisted.fetch_max(seconds, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes note of the time that a cloud told over a verified connection, in milliseconds since
    /// 1970, as far as `latest_valid` gives a time up to it at which the cloud's chain is valid.
    /// Returns whether [`TrustedTime::persist`] is due.
    #[must_use]
    pub(crate) fn observe(
        &self,
        claimed_ms: u64,
        latest_valid: impl FnOnce(UnixTime) -> Option<UnixTime>,
    ) -> bool {
        let claimed = Duration::from_millis(claimed_ms).as_secs();
        let floor = self.floor().as_secs();
        if claimed > floor.saturating_add(HORIZON) {
            tracing::warn!(
                claimed = %utc(claimed),
                floor = %utc(floor),
                "the cloud says that it is more than 20 years later than known, ignored"
            );
            return false;
        }
        if claimed > floor {
            if let Some(vouched) = latest_valid(unix(claimed)) {
                self.0.floor.fetch_max(vouched.as_secs(), Ordering::Relaxed);
            }
        }
        let persisted = self.0.persisted.load(Ordering::Relaxed);
        self.floor().as_secs().saturating_sub(persisted) >= DAY
    }

    /// Writes the floor to disk, unless a later one is there. Blocks on the disk.
    pub(crate) fn persist(&self) -> Result<(), StoreError> {
        // The directory may have come after the first load. What is unreadable gets replaced.
        let _ = self.load();
        let shared = &self.0;
        let floor = shared.floor.load(Ordering::Relaxed);
        if floor > shared.persisted.load(Ordering::Relaxed) {
            shared.file.write(&format!("seconds {floor}\n"))?;
            shared.persisted.fetch_max(floor, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The time that is certainly over.
    pub(crate) fn floor(&self) -> UnixTime {
        unix(self.0.floor.load(Ordering::Relaxed))
    }

    /// The time to verify at.
    pub(crate) fn judge(&self) -> Judged {
        let clock = self.0.clock.now();
        let floor = self.floor();
        let latest = unix(floor.as_secs().saturating_add(HORIZON));
        let time = if (floor..=latest).contains(&clock) { clock } else { floor };
        Judged { time, clock }
    }
}

fn parse(body: &str) -> Option<u64> {
    body.strip_prefix("seconds ")?.strip_suffix('\n')?.parse().ok()
}

fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The trusted time of a program built at `build`, on a board whose clock says `clock`.
    pub(crate) fn trusted_time(build: UnixTime, clock: UnixTime, directory: &Path) -> TrustedTime {
        TrustedTime::built_at(build.as_secs(), WallClock::new(move || clock), directory)
    }

    /// Noon, UTC, of the 1st of a month.
    pub(crate) fn first(year: u64, month: u64) -> UnixTime {
        let date = format!("{year}-{month:02}-01 ");
        let day = (0..100_000).find(|day| utc(day * DAY).starts_with(&date)).unwrap();
        unix(day * DAY + DAY / 2)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::{TempDir, tempdir};

    use super::testing::{first, trusted_time};
    use super::*;
    use crate::tls::verifier::testing::{Authority, verified_peer};

    fn built(build: UnixTime, clock: UnixTime) -> (TempDir, TrustedTime) {
        let folder = tempdir().unwrap();
        let time = trusted_time(build, clock, folder.path());
        (folder, time)
    }

    fn ms(time: UnixTime) -> u64 {
        time.as_secs() * 1_000 + 999
    }

    #[test]
    fn a_clock_between_the_floor_and_20_years_later_is_believed() {
        let floor = first(2026, 1);
        for clock in [floor, first(2027, 3), unix(floor.as_secs() + HORIZON)] {
            let (_folder, time) = built(floor, clock);
            assert_eq!(time.judge(), Judged { time: clock, clock });
        }
    }

    #[test]
    fn any_other_clock_is_known_to_be_wrong() {
        let floor = first(2026, 1);
        for clock in [
            unix(0),
            unix(floor.as_secs() - 1),
            unix(floor.as_secs() + HORIZON + 1),
            first(2099, 1),
        ] {
            let (_folder, time) = built(floor, clock);
            assert_eq!(time.judge(), Judged { time: floor, clock });
        }
    }

    #[test]
    fn the_floor_is_the_build_time_until_something_later_is_known() {
        let folder = tempdir().unwrap();
        let time = TrustedTime::new(WallClock::system(), folder.path());
        time.load().unwrap();
        assert_eq!(time.floor(), unix(BUILD_TIME.parse().unwrap()));
    }

    #[test]
    fn the_time_that_a_cloud_tells_raises_the_floor_and_never_lowers_it() {
        let (folder, time) = built(first(2026, 1), unix(0));
        let peer =
            verified_peer(&Authority::new(), first(2025, 12), first(2026, 12), folder.path());
        assert!(time.observe(ms(first(2026, 5)), |at| peer.latest_valid(at)));
        assert_eq!(time.floor(), first(2026, 5));
        assert!(time.observe(ms(first(2026, 3)), |at| peer.latest_valid(at)));
        assert_eq!(time.floor(), first(2026, 5));
    }

    #[test]
    fn a_cloud_raises_the_floor_no_further_than_its_own_chain_lasts() {
        let (folder, time) = built(first(2026, 1), unix(0));
        let peer =
            verified_peer(&Authority::new(), first(2025, 12), first(2026, 12), folder.path());
        assert!(time.observe(ms(first(2040, 1)), |at| peer.latest_valid(at)));
        assert_eq!(time.floor(), first(2026, 12));

        let (folder, time) = built(first(2026, 1), unix(0));
        let ends_early = Authority::until(first(2026, 4));
        let peer = verified_peer(&ends_early, first(2025, 12), first(2026, 12), folder.path());
        assert!(time.observe(ms(first(2040, 1)), |at| peer.latest_valid(at)));
        assert_eq!(time.floor(), first(2026, 4));
    }

    #[test]
    fn a_cloud_that_claims_2099_or_the_end_of_time_poisons_nothing() {
        let (folder, time) = built(first(2026, 1), first(2026, 2));
        let peer =
            verified_peer(&Authority::new(), first(2025, 12), first(2026, 12), folder.path());
        for claimed in [ms(first(2099, 1)), u64::MAX] {
            assert!(!time.observe(claimed, |at| peer.latest_valid(at)));
            assert_eq!(time.floor(), first(2026, 1));
        }
        assert_eq!(time.judge().time, first(2026, 2));
    }

    #[test]
    fn the_floor_goes_to_disk_when_it_rose_by_a_day_and_comes_back() {
        let (folder, time) = built(first(2026, 1), unix(0));
        let peer =
            verified_peer(&Authority::new(), first(2025, 12), first(2026, 12), folder.path());
        let later = |seconds| (first(2026, 1).as_secs() + seconds) * 1_000;
        assert!(!time.observe(later(DAY - 1), |at| peer.latest_valid(at)));
        assert!(time.observe(later(DAY), |at| peer.latest_valid(at)));
        time.persist().unwrap();
        assert!(!time.observe(later(DAY + 60), |at| peer.latest_valid(at)));

        let text = fs::read_to_string(folder.path().join("time")).unwrap();
        assert!(text.starts_with("fedecks time 1\nseconds 1767355200\n"), "{text}");
        let again = trusted_time(first(2026, 1), unix(0), folder.path());
        again.load().unwrap();
        assert_eq!(again.floor(), unix(first(2026, 1).as_secs() + DAY));
        // A newer program knows better.
        let newer = trusted_time(first(2026, 6), unix(0), folder.path());
        newer.load().unwrap();
        assert_eq!(newer.floor(), first(2026, 6));
    }

    #[test]
    fn persisting_never_takes_back_what_is_on_disk() {
        let (folder, time) = built(first(2026, 1), unix(0));
        let peer =
            verified_peer(&Authority::new(), first(2025, 12), first(2026, 12), folder.path());
        let late = trusted_time(first(2026, 1), unix(0), folder.path());
        assert!(time.observe(ms(first(2026, 9)), |at| peer.latest_valid(at)));
        time.persist().unwrap();
        // This one was loaded before the data partition was there.
        assert!(late.observe(ms(first(2026, 5)), |at| peer.latest_valid(at)));
        late.persist().unwrap();
        let again = trusted_time(first(2026, 1), unix(0), folder.path());
        again.load().unwrap();
        assert_eq!(again.floor(), first(2026, 9));
        assert_eq!(late.floor(), first(2026, 9));
    }

    #[test]
    fn a_missing_directory_is_reported_and_the_build_time_stays() {
        let folder = tempdir().unwrap();
        let time = trusted_time(first(2026, 1), unix(0), &folder.path().join("a/b"));
        assert!(matches!(time.load(), Err(StoreError::NoDirectory { .. })));
        assert_eq!(time.floor(), first(2026, 1));
    }
}
