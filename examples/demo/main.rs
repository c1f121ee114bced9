//! The main job, run for real: two ends on the libraries, then the service and the server. Run by
//! `ci/demo`, which builds the programs first; they are looked for beside this one.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DEVICE: &str = "kitchen-1";
const USER: &str = "marvin";
const PASSWORD: &str = "forty-two-towels";
/// How long any step may take.
const STEP: Duration = Duration::from_secs(15);

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demonstration is there to be read"
)]
fn main() -> ExitCode {
    let began = Instant::now();
    match demonstrate() {
        Ok(()) => {
            println!("\nAll of it worked, in {:.1} s.", began.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("fedecks-demo-").tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("device"))?;
    std::fs::create_dir(at("service"))?;

    let cloud_data = at("cloud");

    heading("The service and the server");
    add_account(&cloud_data)?;
    step(&format!(
        "`fedecks-cloud account add {USER}` added an account, its password on the input"
    ));
    let mut server = start_server(&cloud_data)?;
    let url = format!("wss://{}", server.await_line("the line \"listening\"", listening_address)?);
    step(&format!("`fedecks-cloud serve --self-signed` listens on {url}"));
    let ca = cloud_data.join("self-signed/ca.pem");
    let credentials = at("service").join("credentials.toml");
    let configuration = at("service").join("fedecks.toml");
    write_private(&credentials, &format!("username = \"{USER}\"\npassword = \"{PASSWORD}\"\n"))?;
    std::fs::write(
        &configuration,
        format!(
            "url = \"{url}\"\ndevice_id = \"{DEVICE}\"\ndata_dir = {:?}\nca_file = {ca:?}\n\
             credentials_file = {credentials:?}\n",
            at("service")
        ),
    )?;
    let arguments = [OsStr::new("--config"), configuration.as_os_str()];
    let mut service = Program::start("fedecksd", &arguments)?;
    service.await_text("logged in")?;
    service.await_text("used and removed")?;
    if credentials.exists() {
        return Err("the credentials file is still there".into());
    }
    step("`fedecksd` logged in from its one-time credentials file (mode 0600), which is gone now");
    service.kill()?;
    let began = Instant::now();
    let mut service = Program::start("fedecksd", &arguments)?;
    service.await_text(" connected")?;
    step(&format!("killed and started again, it was back by token {} later", after(began)));
    service.terminate()?;
    server.terminate()?;
    step("both ended cleanly on SIGTERM");

    heading("Two programs on the libraries");
    let mut cloud = start_cloud(&cloud_data, "127.0.0.1:0")?;
    let address = cloud.await_json("listening")?["address"].as_str().unwrap_or_default().to_owned();
    let url = format!("wss://{address}");
    cloud.write(&format!("listen {DEVICE}"))?;
    step(&format!("a cloud with a handler of its own listens on {url}"));

    let mut device = start_device(&url, &at("device"), &ca)?;
    device.await_json("unregistered")?;
    step(&format!("the device {DEVICE} started; it has no token and waits for a login"));
    device.write(&format!(r#"login {{"username":"{USER}","password":"{PASSWORD}"}}"#))?;
    device.await_json("connected")?;
    device.await_json("logged_in")?;
    expect_how(&mut cloud, "credentials")?;
    step("the device logged in with its credentials and has stored a token");

    device.write(r#"send ["hello","matey"]"#)?;
    let message = cloud.await_json("message")?["message"].to_string();
    step(&format!("up: the cloud got {message}"));
    cloud.write(&format!(r#"push {DEVICE} ["hi","there"]"#))?;
    let message = device.await_json("message")?["message"].to_string();
    step(&format!("down: the device got {message}"));

    device.kill()?;
    cloud.await_json("disconnected")?;
    step("the device was killed with SIGKILL");
    let began = Instant::now();
    let mut device = start_device(&url, &at("device"), &ca)?;
    device.await_json("connected")?;
    expect_how(&mut cloud, "token")?;
    step(&format!(
        "started again, it was back by token {} later, without credentials",
        after(began)
    ));

    cloud.kill()?;
    device.await_json("connection_lost")?;
    step("the cloud was killed with SIGKILL");
    let began = Instant::now();
    let mut cloud = start_cloud(&cloud_data, &address)?;
    cloud.await_json("listening")?;
    device.await_json("connected")?;
    expect_how(&mut cloud, "token")?;
    step(&format!("started again, it had its device back {} later, by itself", after(began)));
    device.write("quit")?;
    device.await_end()?;
    cloud.kill()?;
    Ok(())
}

fn add_account(data: &Path) -> Result<()> {
    let arguments = [
        "account".as_ref(),
        "add".as_ref(),
        USER.as_ref(),
        "--data-dir".as_ref(),
        data.as_os_str(),
    ];
    let mut command = Program::start("fedecks-cloud", &arguments)?;
    command.write(PASSWORD)?;
    command.await_end()
}

fn start_server(data: &Path) -> Result<Program> {
    let rest = ["--self-signed", "--listen", "127.0.0.1:0"].map(OsStr::new);
    Program::start(
        "fedecks-cloud",
        &[&["serve".as_ref(), "--data-dir".as_ref(), data.as_os_str()], &rest[..]].concat(),
    )
}

/// The address in the server's log line `listening address=...`.
fn listening_address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(" listening ")?;
    let address = rest.split_whitespace().find_map(|field| field.strip_prefix("address="))?;
    Some(address.to_owned())
}

fn start_cloud(data: &Path, address: &str) -> Result<Program> {
    Program::start("example-cloud", &[data.as_os_str(), address.as_ref()])
}

fn start_device(url: &str, data: &Path, ca: &Path) -> Result<Program> {
    Program::start(
        "example-device",
        &[url.as_ref(), DEVICE.as_ref(), data.as_os_str(), ca.as_os_str()],
    )
}

fn write_private(file: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn expect_how(cloud: &mut Program, how: &str) -> Result<()> {
    let event = cloud.await_json("connected")?;
    if event["by"] == how {
        Ok(())
    } else {
        Err(format!("the device came by {} instead of by {how}", event["by"]).into())
    }
}

fn after(began: Instant) -> String {
    format!("{} ms", began.elapsed().as_millis())
}

#[expect(clippy::print_stdout, reason = "a demonstration is there to be read")]
fn heading(text: &str) {
    println!("\n{text}");
}

#[expect(clippy::print_stdout, reason = "a demonstration is there to be read")]
fn step(text: &str) {
    println!("  ✓ {text}");
}

fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is missing; ci/demo builds it", path.display()).into())
    }
}

/// A program that runs, with its output as lines. Dropping it kills it.
struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    fn start<A: AsRef<OsStr>>(name: &'static str, arguments: &[A]) -> Result<Self> {
        let mut child = Command::new(beside(name)?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
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

    fn write(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().ok_or("the program has no input")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Waits for a line of which `find` makes something.
    fn await_line<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
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
                        RecvTimeoutError::Disconnected => "did not come before the end".to_owned(),
                    };
                    let seen = self.seen.join("\n    ");
                    return Err(format!("{what} {why}; {} said:\n    {seen}", self.name).into());
                }
            }
        }
    }

    fn await_text(&mut self, text: &str) -> Result<()> {
        self.await_line(&format!("the line {text:?}"), |line| line.contains(text).then_some(()))
    }

    fn await_json(&mut self, event: &str) -> Result<serde_json::Value> {
        self.await_line(&format!("the event {event:?}"), |line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            (value["event"] == event).then_some(value)
        })
    }

    fn await_end(mut self) -> Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} ended with {status}", self.name).into())
        }
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn terminate(self) -> Result<()> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        if !status.success() {
            return Err(format!("{} could not be told to end", self.name).into());
        }
        self.await_end()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
