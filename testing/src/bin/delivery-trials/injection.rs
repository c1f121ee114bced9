//! Injects the faults of a trial, and enters in its history what they may cost.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use fedecks_testing::history::{Direction, Entry, Erased, Fate, History, Program};
use fedecks_testing::tcp_relay::{Link, TcpRelay};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cloud_application::Cursor;
use crate::faults::{DiskFault, Kill, LinkFault, Meanwhile};
use crate::keep::Keep;
use crate::pair::{FedecksCommand, Pair};
use crate::partition::{self, Partition};
use crate::store;

/// How long it may take until the service notices that its disk works again: it tries that at least once a minute.
const DISK_RECOVERY: Duration = Duration::from_secs(70);

/// Injects faults.
pub(crate) struct Injection<'a> {
    keep: Keep,
    history: &'a History,
    cursor: &'a Cursor,
    begun: Mutex<Vec<String>>,
    /// The ids of messages that the service has reported as lost.
    reported: Mutex<HashSet<String>>,
}

impl<'a> Injection<'a> {
    pub(crate) fn new(keep: Keep, history: &'a History, cursor: &'a Cursor) -> Self {
        Self { keep, history, cursor, begun: Mutex::default(), reported: Mutex::default() }
    }

    /// The faults that have begun, in their order.
    pub(crate) fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }

    fn begin(&self, fault: &impl Display) {
        self.begun.lock().unwrap().push(fault.to_string());
    }

    pub(crate) async fn fail_link(&self, relay: &TcpRelay, faults: &[LinkFault]) {
        for fault in faults {
            sleep(fault.pause).await;
            self.begin(fault);
            match fault.link {
                None => relay.reset(),
                Some(link) => relay.set(link),
            }
            sleep(fault.lasts).await;
            relay.set(Link::Up);
            if fault.then_reset {
                relay.reset();
            }
        }
    }

    /// Returns when the service has noticed that its disk works again.
    pub(crate) async fn fail_disk(
        &self,
        partition: Option<&Partition>,
        command: &FedecksCommand,
        faults: &[DiskFault],
    ) -> Result<(), String> {
        let Some(partition) = partition else { return Ok(()) };
        for fault in faults {
            sleep(fault.pause).await;
            let gate = partition.gate.lock().await;
            self.begin(fault);
            self.history.add(Entry::DiskFails);
            partition.fail(fault.failure).await;
            sleep(fault.lasts).await;
            partition.repair(fault.failure).await;
            drop(gate);
            disk_works(command).await.map_err(|error| format!("after {fault}: {error}"))?;
            self.history.add(Entry::DiskWorks);
        }
        Ok(())
    }

    pub(crate) async fn kill_programs(&self, pair: &mut Pair, kills: &[Kill]) {
        for kill in kills {
            sleep(kill.pause).await;
            let partition = pair.partition.clone();
            let needs_disk = kill.meanwhile != Meanwhile::Nothing;
            let gate = match partition.as_ref().filter(|_| needs_disk) {
                Some(partition) => Some(partition.gate.lock().await),
                None => None,
            };
            self.begin(kill);
            for program in kill.programs {
                match program {
                    Program::Device => pair.kill_device().await,
                    Program::Cloud => pair.cloud.kill().await,
                }
                self.history.add(Entry::Killed(*program));
            }
            self.report_losses(pair);
            let second = self.exchange(pair, kill.meanwhile).await;
            if let Some(partition) = partition.as_ref().filter(|_| needs_disk) {
                partition.sync().await;
            }
            drop(gate);
            sleep(kill.away).await;
            for program in kill.programs {
                match program {
                    Program::Device => pair.start_device(),
                    Program::Cloud => pair.cloud.start_again().await,
                }
            }
            if let Some((folder, lasts)) = second {
                let mut second = pair.start_second(&folder).await;
                sleep(lasts).await;
                second.kill().await;
            }
        }
    }

    /// Exchanges the storage of programs that are away. Returns where a second device is to run, and how long.
    async fn exchange(&self, pair: &mut Pair, meanwhile: Meanwhile) -> Option<(PathBuf, Duration)> {
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::WipeData => {
                let messages = partition::messages(&pair.data());
                pair.wipe_data();
                let (ids, brought) = (BTreeSet::new(), BTreeSet::new());
                let holder = Program::Device;
                self.history.add(Entry::Erased(Erased { holder, messages, ids, brought }));
            }
            Meanwhile::BackUpData => pair.back_up_data().await,
            Meanwhile::RestoreData => {
                let before = partition::messages(&pair.data());
                pair.restore_data().await;
                let brought = partition::messages(&pair.data());
                let messages = before.difference(&brought).copied().collect();
                let (holder, ids) = (Program::Device, BTreeSet::new());
                self.history.add(Entry::Erased(Erased { holder, messages, ids, brought }));
            }
            Meanwhile::CopyData(lasts) => {
                let folder = pair.copy_data().await;
                let messages = partition::messages(&folder.join("data"));
                self.history.add(Entry::Copied(messages));
                return Some((folder, lasts));
            }
            Meanwhile::BackUpStore => pair.back_up_store().await,
            Meanwhile::RestoreStore => {
                store::restore(pair, self.keep, self.history, self.cursor).await;
            }
        }
        None
    }

    /// Enters what the service has reported as lost, in its log.
    pub(crate) fn report_losses(&self, pair: &Pair) {
        let log = pair.device_log();
        let lines = log.lines().filter(|line| line.contains("dropped a kept message"));
        let words: HashSet<&str> =
            lines.flat_map(|line| line.split(|it: char| !it.is_ascii_hexdigit())).collect();
        let mut reported = self.reported.lock().unwrap();
        for (id, message) in self.history.ids(Direction::Up) {
            if words.contains(&*id) && reported.insert(id) {
                self.history.add(Entry::Reported(message, Fate::Lost));
            }
        }
    }
}

/// Waits until the service finds nothing wrong with its disk.
async fn disk_works(command: &FedecksCommand) -> Result<(), String> {
    let began = Instant::now();
    loop {
        // An attempt that failed just before the repair is reported a moment later.
        sleep(Duration::from_secs(1)).await;
        let mut status = command.with(["status", "--json"]);
        let output = status.stdout(std::process::Stdio::piped()).output().await.unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let disk = &status["queue"]["disk"];
        if disk.is_object() && disk["error"].is_null() {
            return Ok(());
        }
        if began.elapsed() > DISK_RECOVERY {
            return Err(format!("the service still says of its queue: {disk}"));
        }
    }
}
