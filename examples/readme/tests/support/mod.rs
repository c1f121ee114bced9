//! The commands of the README, and a shell that types them.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use fedecks_testing::process_group::ProcessGroup;
use fedecks_testing::wait::{PATIENCE, skip};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

pub const README: &str = include_str!("../../../../README.md");

const PROGRAMS: [&str; 3] = ["fedecks-cloud", "fedecksd", "fedecks"];

/// The text of a section, up to the next heading of its level or a higher one.
pub fn section(heading: &str) -> &'static str {
    let (level, _) = heading.split_once(' ').unwrap();
    let (_, text) = README.split_once(&format!("\n{heading}\n")).unwrap();
    let ends =
        (2..=level.len()).filter_map(|level| text.find(&format!("\n{} ", "#".repeat(level))));
    &text[..ends.min().unwrap_or(text.len())]
}

/// The blocks of a section in that language.
pub fn blocks<'a>(section: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let blocks = section.split(&start).skip(1);
    blocks
        .map(|block| block.split("\n```").next().unwrap())
        .collect()
}

/// The commands of a block, without what they print.
pub fn commands(block: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut continues = false;
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push(command.to_owned()),
            None if continues => write!(commands.last_mut().unwrap(), "\n{line}").unwrap(),
            None => continue,
        }
        continues = line.ends_with('\\');
    }
    commands
}

/// An empty folder in which a shell finds the programs.
pub struct Shell {
    folder: TempDir,
    /// That was free a moment ago, for the cloud.
    pub port: u16,
}

impl Shell {
    /// None if the programs are not built or one of the tools is missing.
    pub fn new(tools: &[&str]) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let finds = |tool: &&&str| std::env::split_paths(&path).any(|at| at.join(tool).exists());
        if let Some(missing) = PROGRAMS.iter().find(|name| !programs().join(name).exists()) {
            skip(&format!("{missing} is not built"));
            return None;
        }
        if let Some(missing) = tools.iter().find(|tool| !finds(tool)) {
            skip(&format!("{missing} is missing"));
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let folder = tempfile::tempdir().unwrap();
        Some(Self { folder, port })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Types the lines, and returns what was printed. A line that fails prints FAILED if it says so.
    pub async fn types(&self, script: &str) -> String {
        std::fs::write(self.path().join("script"), script).unwrap();
        let path = format!(
            "{}:{}",
            programs().display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = Command::new("sh");
        // All shells read from the same pipe, as from a keyboard: line by line.
        command
            .args(["-c", "cat script | bash > output 2> errors"])
            .current_dir(self.path())
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let shell = ProcessGroup::spawn(&mut command).unwrap();
        let ended = timeout(PATIENCE, shell.ended()).await;
        let late = if ended.is_err() {
            "FAILED to end in time\n"
        } else {
            ""
        };
        [late, &self.reads("output"), &self.reads("errors")].concat()
    }

    pub fn reads(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
}

fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_readme-cloud"))
        .parent()
        .unwrap()
}
