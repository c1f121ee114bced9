//! The log of a process whose standard error is closed, nonblocking or not read. Each test runs this file's
//! `process` as a child.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Tests.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fedecks_common::RateLimit;
use fedecks_common::log::{self, FlushOnDrop, LogOptions};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn pipe() -> Result<(File, File)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

/// Much more than a pipe and the queue take.
const MANY: usize = 20_000;
const QUEUE_BYTES: usize = 64 * 1024;
const TASK: &str = "FEDECKS_TEST_LOG";

/// Not a test by itself: the others start it.
#[test]
fn process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let _flush = FlushOnDrop;
    let limit = RateLimit::per_second(1, 5);
    let is_limited = task == "callers";
    let options = LogOptions {
        queue_bytes: QUEUE_BYTES,
        limit: limit.filter(|_| is_limited),
        shorten: log::cut,
    };
    let log = log::start(options).unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(move || log.writer()))
        .with(log.layer(LevelFilter::INFO))
        .try_init()
        .unwrap();
    match task.as_str() {
        "many" => {
            for number in 0..MANY {
                tracing::info!(number, "line");
            }
        }
        "slowly" => {
            let used = || getrusage(UsageWho::RUSAGE_SELF).unwrap().user_time().num_milliseconds();
            let before = used();
            for number in 0..20 {
                tracing::info!(number, "line");
                std::thread::sleep(Duration::from_millis(20));
            }
            println!("cpu {}", used() - before);
        }
        "panic" => panic!("at the\nend"),
        "callers" => {
            for by in [None, Some("ford"), Some("arthur")] {
                for _ in 0..50 {
                    tracing::info!(by, "request");
                }
            }
            tracing::debug!("not enabled");
        }
        other => panic!("{other}"),
    }
    let stats = log::stats();
    println!("dropped {} suppressed {}", stats.dropped, stats.suppressed);
}

fn child(what: &str, stderr: impl Into<Stdio>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "process", "--nocapture"])
        .env(TASK, what)
        .stdout(Stdio::piped())
        .stderr(stderr);
    command
}

/// What it printed, once it has ended.
fn ended(mut child: Child) -> String {
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    child.wait().unwrap();
    printed
}

fn number_after(text: &str, word: &str) -> usize {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text}")).1;
    rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn an_unread_pipe_costs_lines_and_the_end_waits_only_shortly() {
    let (reader, writer) = pipe().unwrap();
    let began = Instant::now();
    let printed = ended(child("many", writer).spawn().unwrap());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let dropped = number_after(&printed, "dropped");
    assert!((MANY / 2..MANY).contains(&dropped), "{printed}");
    drop(reader);
}

#[test]
fn a_late_reader_gets_complete_lines_and_the_count() {
    for nonblocking in [false, true] {
        let (mut reader, writer) = pipe().unwrap();
        if nonblocking {
            fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        }
        let mut child = child("many", writer).spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let stats = printed.find(|line| line.contains("dropped")).unwrap();
        // It has logged everything, and waits shortly for a reader.
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        printed.for_each(drop);
        child.wait().unwrap();
        let dropped = number_after(&stats, "dropped");
        let lines = text.lines().filter(|line| line.contains("number=")).count();
        let told: usize = text
            .lines()
            .filter(|line| line.contains("since the reader of standard error did not keep up"))
            .map(|line| number_after(line, "dropped"))
            .sum();
        assert_eq!(lines + dropped, MANY);
        assert_eq!(told, dropped);
        assert!(text.lines().all(|line| line.starts_with("20")), "{nonblocking}");
    }
}

#[test]
fn a_closed_reader_ends_neither_the_program_nor_costs_cpu() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(writer), full.into()] {
        let printed = ended(child("slowly", stderr).spawn().unwrap());
        assert_eq!(number_after(&printed, "dropped"), 20, "{printed}");
        assert!(number_after(&printed, "cpu") < 200, "{printed}");
    }
}

#[test]
fn a_panic_is_one_line_of_the_log_and_is_written_at_the_end() {
    let (mut reader, writer) = pipe().unwrap();
    // The backtrace would be separate lines.
    let child = child("panic", writer).env("RUST_BACKTRACE", "0").spawn().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    ended(child);
    let line = text.lines().find(|line| line.contains("panicked")).unwrap();
    assert!(line.contains("ERROR") && line.contains("at the\\nend"), "{line}");
    assert!(line.contains("common/tests/log.rs:"), "{line}");
}

#[test]
fn lines_above_the_limit_are_summed_up_per_caller() {
    let (mut reader, writer) = pipe().unwrap();
    let child = child("callers", writer).spawn().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(number_after(&ended(child), "suppressed"), 3 * 45);
    assert_eq!(text.matches(" INFO log: request").count(), 3 * 5, "{text}");
    let mut sums: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let sum = " WARN fedecks_common::log: too many log lines of one kind, left some out ";
            line.split_once(sum)?.1.into()
        })
        .collect();
    sums.sort_unstable();
    let kind = "kind=\"request\"";
    assert_eq!(
        sums,
        [
            format!("{kind} by=\"arthur\" count=45 seconds=1"),
            format!("{kind} by=\"ford\" count=45 seconds=1"),
            format!("{kind} count=45 seconds=1"),
        ]
    );
}
