//! The programs of the demonstration as child processes, with their output as lines.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Result;

/// How long any step may take.
const STEP: Duration = Duration::from_secs(15);

/// A running program. Dropping it kills it.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts one of this workspace's programs, from the folder of this one.
    pub(crate) fn start<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Result<Self> {
        Self::start_on(None, name, arguments)
    }

    /// The same, with the bus at this address as its system bus.
    pub(crate) fn start_on<A: AsRef<OsStr>>(
        bus: Option<&str>,
        name: &str,
        arguments: &[A],
    ) -> Result<Self> {
        let path = std::env::current_exe()?.with_file_name(name);
        if !path.exists() {
            return Err(format!("{} is missing; ci/demo builds it", path.display()).into());
        }
        let mut command = Command::new(path);
        command.args(arguments);
        // Never the bus of the machine that runs the demonstration.
        command.env("DBUS_SYSTEM_BUS_ADDRESS", bus.unwrap_or("unix:path=/nonexistent"));
        Self::spawn(command)
    }

    /// Starts any program.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(std::result::Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { name, child, lines, seen: Vec::new() })
    }

    pub(crate) fn write(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().ok_or("the program has no input")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Waits for the first line for which `find` returns a value.
    pub(crate) fn await_line<T>(
        &mut self,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + STEP;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = find(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(error) => {
                    let why = match error {
                        RecvTimeoutError::Timeout => format!("did not come within {STEP:?}"),
                        RecvTimeoutError::Disconnected => {
                            "did not come before the program ended".to_owned()
                        }
                    };
                    return Err(format!("{what} {why}; {}", self.said()).into());
                }
            }
        }
    }

    pub(crate) fn await_text(&mut self, text: &str) -> Result<()> {
        self.await_line(&format!("the line {text:?}"), |line| line.contains(text).then_some(()))
    }

    pub(crate) fn await_json(&mut self, event: &str) -> Result<serde_json::Value> {
        self.await_line(&format!("the event {event:?}"), |line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            (value["event"] == event).then_some(value)
        })
    }

    /// Closes its input and waits until it has ended successfully; returns its output.
    pub(crate) fn await_end(mut self) -> Result<Vec<String>> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        self.seen.extend(self.lines.iter());
        if status.success() {
            Ok(std::mem::take(&mut self.seen))
        } else {
            Err(format!("it ended with {status}; {}", self.said()).into())
        }
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as systemd does.
    pub(crate) fn terminate(self) -> Result<()> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        if !status.success() {
            return Err(format!("{} could not be terminated", self.name).into());
        }
        self.await_end().map(drop)
    }

    fn said(&self) -> String {
        format!("{} said:\n    {}", self.name, self.seen.join("\n    "))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if the program has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
