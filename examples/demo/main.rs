//! Runs the real programs: the service and the server, driven by their commands; a cloud with its own
//! handler; a program on the device library. Run by `ci/demo`, which builds them first into the
//! folder of this one.

mod program;

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use program::Program;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DEVICE: &str = "kitchen-1";

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demonstration is for people to read"
)]
fn main() -> ExitCode {
    let began = Instant::now();
    match demonstrate() {
        Ok(()) => {
            println!("\nEverything worked, in {:.1} s.", began.elapsed().as_secs_f64());
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
    let cloud_data = folder.path().join("cloud");

    heading("The service and the server");
    let claim = add_claim(&cloud_data)?;
    step(&format!(
        "`fedecks-cloud claim add --devices {DEVICE}` made a claim: a secret that registers this device"
    ));
    let header = add_api_token(&cloud_data)?;
    step(
        "`fedecks-cloud token add` created a token for the HTTP API, with the roles read and send",
    );
    let mut server = start_server(&cloud_data)?;
    let url = format!("wss://{}", server.await_line("the line \"listening\"", listening_address)?);
    step(&format!("`fedecks-cloud serve --self-signed` listens on {url}"));
    let ca = cloud_data.join("self-signed/ca.pem");
    let service = Service::start(folder.path(), &url, &ca)?;
    step(&format!(
        "`fedecksd` started as the device {DEVICE}; it has no token and waits for a login"
    ));
    service.log_in(&claim)?;
    step("`fedecks login` registered it; its token is on disk, the claim is not");
    let api = Api { url: url.replacen("wss:", "https:", 1), ca: ca.clone(), header };
    let mut events = api.events()?;
    service.fedecks(&["send", r#"{"temperature":21.5}"#])?;
    let event = events.await_line("the message among the events", message_of_event)?;
    step(&format!("up: `fedecks send` on the device, GET /api/v1/events streamed {event}"));
    let mut listener = service.command(&["listen"])?;
    listener.await_text("listening")?;
    api.send(r#"{"fan":"on"}"#)?;
    let message = listener.await_line("a message", |line| Some(line.to_owned()))?;
    step(&format!(
        "down: POST /api/v1/devices/{DEVICE}/messages, `fedecks listen` printed {message}"
    ));
    step(&format!("`fedecks status --json` shows {}", service.health()?));
    let began = Instant::now();
    let service = service.kill_and_restart()?;
    service.await_connected()?;
    step(&format!("killed and restarted, it reconnected with its token after {}", after(began)));
    server.terminate()?;

    heading("A cloud with a custom handler");
    let (_, address) = url.split_once("//").unwrap_or_default();
    let mut cloud = start_cloud(&cloud_data, address)?;
    cloud.await_json("listening")?;
    cloud.write(&format!("listen {DEVICE}"))?;
    let began = Instant::now();
    expect_connected_by(&mut cloud, "token")?;
    step(&format!(
        "started instead of the server, it had the device connected after {}",
        after(began)
    ));
    let mut listener = service.command(&["listen"])?;
    service.fedecks(&["send", r#"["hello","matey"]"#])?;
    let message = cloud.await_json("message")?["message"].to_string();
    step(&format!("up: `fedecks send` on the device, the cloud received {message}"));
    listener.await_text("listening")?;
    cloud.write(&format!(r#"push {DEVICE} ["hi","there"]"#))?;
    let message = listener.await_line("a message", |line| Some(line.to_owned()))?;
    step(&format!("down: the cloud sent it, `fedecks listen` on the device printed {message}"));
    cloud.kill()?;
    step("the cloud was killed with SIGKILL");
    let began = Instant::now();
    let mut cloud = start_cloud(&cloud_data, address)?;
    expect_connected_by(&mut cloud, "token")?;
    step(&format!("restarted, it had the device connected after {}", after(began)));
    service.fedecks(&["logout"])?;
    step("`fedecks logout` ended the connection and removed the token");
    service.terminate()?;

    heading("A program that embeds the library");
    let data = folder.path().join("program");
    std::fs::create_dir(&data)?;
    let mut device = Program::start(
        "example-device",
        &[url.as_ref(), DEVICE.as_ref(), data.as_os_str(), ca.as_os_str()],
    )?;
    device.await_json("unregistered")?;
    device.write(&format!(r#"login {{"claim":"{claim}"}}"#))?;
    device.await_json("logged_in")?;
    expect_connected_by(&mut cloud, "credentials")?;
    device.write("quit")?;
    device.await_end()?;
    step("the same connection inside another program, without the service");
    step("the claim let the device return without its token, as it is for this device alone");
    cloud.kill()
}

/// The device service on a separate bus.
struct Service {
    bus: String,
    configuration: PathBuf,
    process: Program,
    // Dropped last.
    _bus: Program,
}

impl Service {
    fn start(folder: &Path, url: &str, ca: &Path) -> Result<Self> {
        let data = folder.join("device");
        std::fs::create_dir(&data)?;
        let configuration = folder.join("fedecks.toml");
        std::fs::write(
            &configuration,
            format!(
                "url = \"{url}\"\ndevice_id = \"{DEVICE}\"\ndata_dir = {data:?}\nca_file = {ca:?}\n"
            ),
        )?;
        let (daemon, bus) = start_bus(folder)?;
        let process = start_service(&bus, &configuration)?;
        Ok(Self { bus, configuration, process, _bus: daemon })
    }

    fn log_in(&self, claim: &str) -> Result<()> {
        let mut login = self.command(&["login", "--claim", "-"])?;
        login.write(claim)?;
        login.await_end().map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Result<Program> {
        Program::start_on(Some(&self.bus), "fedecks", arguments)
    }

    /// Runs the command `fedecks` to its end.
    fn fedecks(&self, arguments: &[&str]) -> Result<Vec<String>> {
        self.command(arguments)?.await_end()
    }

    /// The values that a support engineer checks first.
    fn health(&self) -> Result<String> {
        let lines = self.fedecks(&["status", "--json"])?.join("");
        let health: serde_json::Value = serde_json::from_str(&lines)?;
        let picked = ["state", "attempts", "failures"].map(|key| (key, health[key].clone()));
        Ok(serde_json::to_string(&std::collections::BTreeMap::from(picked))?)
    }

    fn await_connected(&self) -> Result<()> {
        self.fedecks(&["status", "--wait", "connected", "--timeout", "15s"]).map(drop)
    }

    /// As a power cut would.
    fn kill_and_restart(self) -> Result<Self> {
        let Self { bus, configuration, process, _bus } = self;
        process.kill()?;
        let process = start_service(&bus, &configuration)?;
        Ok(Self { bus, configuration, process, _bus })
    }

    fn terminate(self) -> Result<()> {
        self.process.terminate()
    }
}

fn start_service(bus: &str, configuration: &Path) -> Result<Program> {
    let arguments = [OsStr::new("--config"), configuration.as_os_str()];
    let mut service = Program::start_on(Some(bus), "fedecksd", &arguments)?;
    // The command finds it from now on.
    service.await_text("the D-Bus service is ready")?;
    Ok(service)
}

/// The server's HTTP API, by curl.
struct Api {
    url: String,
    ca: PathBuf,
    /// A file with the header that has the token; as an argument every user could see it.
    header: PathBuf,
}

impl Api {
    fn curl(&self, arguments: &[&str], path: &str) -> Result<Program> {
        let mut command = Command::new("curl");
        let header = format!("@{}", self.header.display());
        command.args(["--silent", "--show-error", "--fail-with-body", "--header", &header]);
        command.arg("--cacert").arg(&self.ca).args(arguments).arg(format!("{}{path}", self.url));
        Program::spawn(command)
    }

    /// The stream of messages from devices.
    fn events(&self) -> Result<Program> {
        let mut events = self.curl(&["--no-buffer", "--include"], "/api/v1/events?kind=message")?;
        // Once the head has arrived, nothing is missed.
        events.await_text("200 OK")?;
        Ok(events)
    }

    fn send(&self, json: &str) -> Result<()> {
        let arguments = ["--header", "content-type: application/json", "--data", json];
        let path = format!("/api/v1/devices/{DEVICE}/messages");
        self.curl(&arguments, &path)?.await_end().map(drop)
    }
}

/// The device's message in a line of the events.
fn message_of_event(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line.strip_prefix("data:")?).ok()?;
    Some(event.get("message")?.to_string())
}

/// A bus of the user who runs the demonstration. A real device has its system bus.
fn start_bus(folder: &Path) -> Result<(Program, String)> {
    let configuration = folder.join("bus.conf");
    let socket = format!("unix:path={}", folder.join("bus").display());
    std::fs::write(
        &configuration,
        format!(
            "<busconfig><type>system</type><listen>{socket}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>"
        ),
    )?;
    let mut command = Command::new("dbus-daemon");
    command.arg("--config-file").arg(&configuration).args(["--nofork", "--print-address"]);
    let mut daemon = Program::spawn(command)?;
    daemon.await_text("unix:path=")?;
    Ok((daemon, socket))
}

/// Makes a claim for the device, and returns its secret.
fn add_claim(data: &Path) -> Result<String> {
    let arguments = ["claim", "add", "--devices", DEVICE, "--data-dir"].map(OsStr::new);
    let arguments = [&arguments[..], &[data.as_os_str()]].concat();
    let lines = Program::start("fedecks-cloud", &arguments)?.await_end()?;
    let secret = lines.into_iter().find(|line| line.starts_with("fdc_"));
    secret.ok_or_else(|| "no claim".into())
}

/// Makes an API token, and a file with the header that has it.
fn add_api_token(data: &Path) -> Result<PathBuf> {
    let arguments = ["token", "add", "demo", "--role", "read", "--role", "send", "--data-dir"];
    let arguments = [&arguments.map(OsStr::new)[..], &[data.as_os_str()]].concat();
    let lines = Program::start("fedecks-cloud", &arguments)?.await_end()?;
    let token = lines.iter().find(|line| line.starts_with("fdk_")).ok_or("no token")?;
    let header = data.join("api-header");
    std::fs::write(&header, format!("authorization: Bearer {token}\n"))?;
    Ok(header)
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

fn expect_connected_by(cloud: &mut Program, how: &str) -> Result<()> {
    let event = cloud.await_json("connected")?;
    if event["by"] == how {
        Ok(())
    } else {
        Err(format!("the device connected by {} instead of {how}", event["by"]).into())
    }
}

fn after(began: Instant) -> String {
    format!("{} ms", began.elapsed().as_millis())
}

#[expect(clippy::print_stdout, reason = "a demonstration is for people to read")]
fn heading(text: &str) {
    println!("\n{text}");
}

#[expect(clippy::print_stdout, reason = "a demonstration is for people to read")]
fn step(text: &str) {
    println!("  ✓ {text}");
}
