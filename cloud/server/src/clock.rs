//! Keeps the clock's floor: loads it, raises it while the kernel calls its clock synchronized, and says
//! when the clock is below it. What follows from that is up to the code that asks the clock.

use std::sync::Arc;
use std::time::Duration;

use fedecks_common::utc;
use fedecks_store::{Clock, FloorFile, FloorFileError};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::Config;
use crate::error::ServerError;
use crate::store::create_data_dir;

/// How often the clock is compared with its floor, and how soon `clock accept` takes effect.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the log says that the clock is still behind.
const REMINDER_INTERVAL: Duration = Duration::from_secs(3600);

/// How much the floor has to rise to be stored again: the disk should not be written all the time.
const STEP: Duration = Duration::from_secs(3600);

/// The system's clock with the floor that is stored, for a command.
pub(crate) fn open(config: &Config) -> (Clock, FloorFile, Result<Option<u64>, FloorFileError>) {
    let (clock, file) = (Clock::system(), FloorFile::in_directory(&config.data_dir));
    let stored = file.read();
    if let Ok(Some(floor)) = stored {
        clock.set_floor(floor);
    }
    (clock, file, stored)
}

/// Resets the floor to the time that the clock shows.
pub(crate) fn accept(config: &Config, clock: &Clock) -> Result<(), ServerError> {
    create_data_dir(config)?;
    Ok(FloorFile::in_directory(&config.data_dir).write(clock.now())?)
}

/// Keeps the floor of the server's clock.
pub(crate) struct ClockKeeper {
    clock: Clock,
    file: FloorFile,
    config: Arc<Config>,
    /// What the file contains.
    stored: Option<u64>,
    /// The last problem with the file, which is logged once.
    problem: Option<String>,
}

impl ClockKeeper {
    /// Loads the floor, and raises it if it is time to. Blocks on the disk.
    pub(crate) fn start(config: Arc<Config>) -> Self {
        let (clock, file, stored) = open(&config);
        let mut keeper = Self { clock, file, config, stored: None, problem: None };
        keeper.take(stored);
        keeper.raise();
        keeper
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Keeps the floor. Never returns: run it as a task.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let behind = self.clock.behind();
            if behind.is_some() || self.is_due() {
                // The disk may be slow.
                let kept = tokio::task::spawn_blocking(move || {
                    self.keep();
                    self
                });
                let Ok(kept) = kept.await else {
                    return tracing::error!("keeping the clock's floor panicked");
                };
                self = kept;
            }
            match (self.clock.behind(), said) {
                (None, None) => {}
                (None, Some(_)) => {
                    said = None;
                    tracing::info!(
                        clock = utc(self.clock.now()),
                        "the clock is not behind any more"
                    );
                }
                (Some(_), Some(at)) if at.elapsed() < REMINDER_INTERVAL => {}
                (Some(behind), _) => {
                    said = Some(Instant::now());
                    self.log_behind(behind);
                }
            }
        }
    }

    fn log_behind(&self, behind: Duration) {
        let (clock, floor) = (utc(self.clock.now()), utc(self.clock.floor()));
        tracing::error!(
            clock,
            floor,
            behind_s = behind.as_secs(),
            "the clock is behind: devices are refused until it is right. Check NTP; if the clock is \
             right and the floor is not, run `fedecks-cloud clock accept`"
        );
    }

    fn keep(&mut self) {
        if self.clock.below_floor() {
            // `clock accept` may have lowered it.
            let stored = self.file.read();
            self.take(stored);
        }
        self.raise();
    }

    /// Applies what was read. A file that cannot be used counts as missing at the start, and changes
    /// nothing later.
    fn take(&mut self, read: Result<Option<u64>, FloorFileError>) {
        match read {
            Ok(stored) => {
                self.stored = stored;
                self.clock.set_floor(stored.unwrap_or_default());
            }
            Err(error) => self.warn(&error),
        }
    }

    /// Whether the floor may rise by a step.
    fn is_due(&self) -> bool {
        let due = self
            .stored
            .is_none_or(|stored| self.clock.now() >= stored.saturating_add(STEP.as_secs()));
        due && self.clock.is_trusted()
    }

    fn raise(&mut self) {
        if !self.is_due() {
            return;
        }
        let now = self.clock.now();
        let written = create_data_dir(&self.config).and_then(|()| Ok(self.file.write(now)?));
        match written {
            Ok(()) => {
                self.problem = None;
                self.stored = Some(now);
                self.clock.set_floor(now);
            }
            Err(error) => self.warn(&error),
        }
    }

    fn warn(&mut self, error: &dyn std::error::Error) {
        let error = error.to_string();
        if self.problem.as_ref() != Some(&error) {
            tracing::warn!(error, "cannot keep the clock's floor");
            self.problem = Some(error);
        }
    }
}
