//! The programs that the README shows are these, are short, and do what it says, twice in a row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::path::Path;
use std::process::Stdio;

use fedecks_cloud::{Decision, Handler, Login, Session};
use fedecks_testing::cloud::Cloud;
use fedecks_testing::recorder::By;
use fedecks_testing::wait::{until, within};
use fedecks_testing::{SALT, SECRET};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::UnboundedSender;

const DEVICE: &str = include_str!("../device.rs");
const CLOUD: &str = include_str!("../cloud.rs");

/// A program that is killed when this is dropped.
struct Program {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// Lets any device log in, and says how each has connected.
struct Anyone(UnboundedSender<By>);

impl Handler for Anyone {
    async fn authenticate(&self, _: Login<'_>) -> Decision {
        Decision::Accept
    }

    async fn on_connect(&self, session: &Session) {
        let _ = self.0.send(By::of(session));
    }
}

impl Program {
    fn start(program: &str, argument: &str, folder: &Path) -> Self {
        let mut process = Command::new(program)
            .arg(argument)
            .current_dir(folder)
            .env("FEDECKS_SECRET", SECRET)
            .env("FEDECKS_SALT", SALT)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            lines,
            _process: process,
        }
    }

    fn device(address: &str, folder: &Path) -> Self {
        Self::start(
            env!("CARGO_BIN_EXE_readme-device"),
            &format!("ws://{address}"),
            folder,
        )
    }

    async fn prints(&mut self, wanted: &str) {
        within(async {
            while self.lines.next_line().await.unwrap().expect("it has ended") != wanted {}
        })
        .await;
    }
}

#[test]
fn the_readme_has_these_programs() {
    let readme = include_str!("../../../README.md");
    for program in [DEVICE, CLOUD] {
        assert!(
            readme.contains(&format!("```rust,no_run\n{program}```")),
            "{program}"
        );
    }
}

#[test]
fn the_programs_are_short() {
    let main = DEVICE
        .split("async fn main")
        .nth(1)
        .unwrap()
        .split("\n}\n")
        .next()
        .unwrap();
    assert!(main.lines().count() < 15, "{main}");
    assert!(CLOUD.lines().count() <= 25, "{CLOUD}");
}

#[tokio::test]
async fn both_programs_talk_at_the_first_start_and_the_next() {
    let folder = tempfile::tempdir().unwrap();
    // Free a moment ago; the cloud prints none.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for _ in 0..2 {
        let cloud = env!("CARGO_BIN_EXE_readme-cloud");
        let mut cloud = Program::start(cloud, &address.to_string(), folder.path());
        let mut device = Program::device(&address.to_string(), folder.path());
        cloud
            .prints(r#"kitchen-1 says Tuple([Str("temperature"), Float(21.5)])"#)
            .await;
        device.prints("hello").await;
    }
}

#[tokio::test]
async fn the_second_start_of_the_device_comes_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::start(Anyone).await;
    for expected in [By::Credentials, By::Token] {
        let _device = Program::device(&cloud.address.to_string(), folder.path());
        assert_eq!(cloud.next().await, expected);
        until(async || {
            folder
                .path()
                .join("device-data/token")
                .exists()
                .then_some(())
        })
        .await;
    }
}
