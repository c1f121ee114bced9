//! One trial: a pair, both applications, its faults, and what is to be said about its history.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fedecks_testing::history::{Direction, Entry, History, Lane, Message, Verdict};
use fedecks_testing::http::Http;
use fedecks_testing::inbox::Inbox;
use fedecks_testing::wait::within;
use futures_util::future::join3;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cloud_application::{self, Cursor, Reader};
use crate::device_application;
use crate::faults::Schedule;
use crate::injection::Injection;
use crate::keep::Keep;
use crate::options::Options;
use crate::pair::{FedecksCommand, Pair};
use crate::report::Report;
use crate::store;

/// Between two messages of an application.
const INTERVAL: Duration = Duration::from_millis(60);

/// How long it may take until messages pass in both directions after the last fault.
const RECOVERY: Duration = Duration::from_secs(40);

/// Runs the trial with this seed.
pub(crate) async fn run(seed: u64, options: Options) -> Report {
    let programs = std::env::current_exe().unwrap();
    let mut pair = Pair::start(programs.parent().unwrap(), options.has_partition()).await;
    let history = Arc::new(History::default());
    let gaps = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let cursor = Arc::new(Cursor::default());
    let _receivers = start_receivers(&pair, &options, &history, &cursor, &gaps).await;
    let senders = start_senders(&pair, &options, &history, &stop);

    let schedule = Schedule::new(seed, &options.faults, options.duration);
    let injection = Injection::new(options.keep, &history, &cursor);
    let (relay, command) = (Arc::clone(&pair.relay), pair.command.clone());
    let partition = pair.partition.clone();
    let (_, _, disk) = join3(
        injection.fail_link(&relay, &schedule.link),
        injection.kill_programs(&mut pair, &schedule.kills),
        injection.fail_disk(partition.as_deref(), &command, &schedule.disk),
    )
    .await;

    let failure = disk.and(recovered(&history).await).err();
    stop.store(true, Relaxed);
    senders.join_all().await;
    let mut verdict = settled(&pair, options.keep, &injection, &history).await;
    if verdict.findings.is_empty() {
        let states = cloud_application::states(&pair.api, options.keep).await;
        store::report_fates(&states, &history);
        verdict = history.verdict();
    }
    let report = Report {
        seed,
        keep: options.keep.name(),
        faults: injection.begun(),
        verdict,
        gaps: gaps.load(Relaxed),
        swallowed: pair.relay.counts().swallowed,
        failure,
    };
    if let Some(folder) = options.histories.filter(|_| !report.is_clean()) {
        write(&folder, &report, &history, &pair);
    }
    report
}

/// Starts the applications that receive. Returns when they miss nothing any more.
async fn start_receivers(
    pair: &Pair,
    options: &Options,
    history: &Arc<History>,
    cursor: &Arc<Cursor>,
    gaps: &Arc<AtomicU64>,
) -> JoinSet<()> {
    let mut receivers = JoinSet::new();
    let ready = Arc::new(Semaphore::new(0));
    let up = Arc::clone(&ready);
    let reader = Reader {
        api: pair.api.clone(),
        keep: options.keep,
        inbox: Inbox::new(history),
        cursor: Arc::clone(cursor),
        gaps: Arc::clone(gaps),
    };
    receivers.spawn(async move { reader.read(|| up.add_permits(1)).await });
    let inbox = Arc::new(Inbox::new(history));
    for lane in options.keep.lanes() {
        let (command, keep, down) = (pair.command.clone(), options.keep, Arc::clone(&ready));
        let inbox = Arc::clone(&inbox);
        receivers.spawn(async move {
            device_application::listen(command, keep, *lane, inbox, || down.add_permits(1)).await;
        });
    }
    let count = u32::try_from(receivers.len()).unwrap();
    within(ready.acquire_many(count)).await.unwrap().forget();
    receivers
}

/// Starts the applications that send until `stop`.
fn start_senders(
    pair: &Pair,
    options: &Options,
    history: &Arc<History>,
    stop: &Arc<AtomicBool>,
) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for lane in options.keep.lanes() {
        for application in
            [Application::Device(pair.command.clone()), Application::Cloud(pair.api.clone())]
        {
            let (history, stop) = (Arc::clone(history), Arc::clone(stop));
            senders.spawn(application.sends(options.keep, *lane, history, stop));
        }
    }
    senders
}

/// An application that sends.
enum Application {
    Device(FedecksCommand),
    Cloud(Http),
}

impl Application {
    /// Sends messages one after the other.
    async fn sends(self, keep: Keep, lane: Lane, history: Arc<History>, stop: Arc<AtomicBool>) {
        let direction = match self {
            Self::Device(_) => Direction::Up,
            Self::Cloud(_) => Direction::Down,
        };
        let mut number = 0;
        while !stop.load(Relaxed) {
            number += 1;
            let message = Message { direction, lane, number };
            history.add(Entry::Sent(message));
            let answer = match &self {
                Self::Device(command) => {
                    device_application::send(command, keep, lane, number).await
                }
                Self::Cloud(api) => cloud_application::send(api, keep, lane, number).await,
            };
            history.add(Entry::Answered(message, answer));
            sleep(INTERVAL).await;
        }
    }
}

/// Waits until a message that was sent from now on has been received in each direction.
async fn recovered(history: &History) -> Result<(), String> {
    let began = Instant::now();
    let start = history.records().len();
    loop {
        let new: Vec<Entry> =
            history.records().into_iter().skip(start).map(|record| record.entry).collect();
        let passes = |direction| {
            new.iter().any(|entry| {
                matches!(entry, Entry::Received { message, .. }
                    if message.direction == direction && new.contains(&Entry::Sent(*message)))
            })
        };
        let stuck = [Direction::Up, Direction::Down].into_iter().find(|it| !passes(*it));
        let Some(stuck) = stuck else { return Ok(()) };
        if began.elapsed() > RECOVERY {
            return Err(format!("no message passes {stuck:?} {RECOVERY:?} after the last fault"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The verdict, once nothing is missing or nothing is to be expected any more.
async fn settled(pair: &Pair, keep: Keep, injection: &Injection<'_>, history: &History) -> Verdict {
    let began = Instant::now();
    loop {
        injection.report_losses(pair);
        let verdict = history.verdict();
        if verdict.is_clean() || began.elapsed() > keep.transit() {
            return verdict;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Writes what explains a trial.
fn write(folder: &Path, report: &Report, history: &History, pair: &Pair) {
    let mut text = format!("{}\n\n", report.json());
    for record in history.records() {
        writeln!(text, "{:>6} ms {:?}", record.at.as_millis(), record.entry).unwrap();
    }
    let (cloud, device) = (pair.cloud.log(), pair.device_log());
    write!(text, "\nfedecks-cloud:\n{cloud}\nfedecksd:\n{device}").unwrap();
    std::fs::write(folder.join(format!("trial-{}.txt", report.seed)), text).unwrap();
}
