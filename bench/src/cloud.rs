//! The program `fedecks-cloud serve` as a process, for what is measured of the whole server.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::error::Result;
use crate::identity::{Certificate, SALT, SECRET, STORE, add_account};
use crate::process::Usage;

/// How long the program may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the file is looked for that says that it listens.
const LOOK: Duration = Duration::from_millis(1);

/// The program `fedecks-cloud serve` with its store in a folder, as a team runs it. It ends with this
/// one.
pub(crate) struct CloudProgram<'a> {
    program: &'a Path,
    folder: &'a Path,
    pub(crate) address: SocketAddr,
    child: Child,
    pub(crate) usage: Usage,
}

impl<'a> CloudProgram<'a> {
    /// Starts it on a free port with the defaults for all that is not in `configuration`.
    pub(crate) async fn start(
        program: &'a Path,
        folder: &'a Path,
        tls: Option<&Certificate>,
        configuration: &str,
    ) -> Result<Self> {
        add_account(folder).await?;
        let mut text = format!(
            "secret = {SECRET:?}\nsalt = {SALT:?}\nstore = {STORE:?}\ndata_dir = \"data\"\n\
             {configuration}\n"
        );
        if let Some(Certificate { chain, key, .. }) = tls {
            text.push_str(&format!("[tls]\ncertificate = {chain:?}\nkey = {key:?}\n"));
        }
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("cloud.toml"))?
            .write_all(text.as_bytes())?;
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, address, usage) = serve(program, folder, any_port).await?;
        Ok(Self { program, folder, address, child, usage })
    }

    /// Makes an API token with these options; the server takes it within about a second.
    pub(crate) async fn api_token(&self, options: &[&str]) -> Result<String> {
        let output = Command::new(self.program)
            .args(["token", "add", "bench", "--config", "cloud.toml"])
            .args(options)
            .current_dir(self.folder)
            .output()
            .await?;
        let printed = String::from_utf8(output.stdout)?;
        let token = printed.lines().find(|line| line.starts_with("fdk_"));
        let said = String::from_utf8_lossy(&output.stderr);
        Ok(token.ok_or_else(|| format!("no API token was made: {said}"))?.to_owned())
    }

    /// Ends it as a power cut would: by SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it anew at the same address and returns as soon as it listens.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        (self.child, _, self.usage) = serve(self.program, self.folder, self.address).await?;
        Ok(())
    }
}

/// Its log, at the level that is the default, goes to a file.
async fn serve(
    program: &Path,
    folder: &Path,
    listen: SocketAddr,
) -> Result<(Child, SocketAddr, Usage)> {
    let ready = folder.join("ready");
    if ready.exists() {
        std::fs::remove_file(&ready)?;
    }
    let log = folder.join("log");
    let mut child = Command::new(program)
        .args(["serve", "--config", "cloud.toml", "--ready-file", "ready"])
        .args(["--listen", &listen.to_string()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::OpenOptions::new().create(true).append(true).open(&log)?)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let deadline = Instant::now() + PATIENCE;
    let addresses = loop {
        if let Ok(addresses) = std::fs::read_to_string(&ready) {
            break addresses;
        }
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > deadline {
            let log = std::fs::read_to_string(&log)?;
            return Err(format!("the server did not come up, ended: {ended:?}\n{log}").into());
        }
        sleep(LOOK).await;
    };
    let address = addresses.lines().next().ok_or("the server listens nowhere")?.parse()?;
    let usage = Usage::of(child.id().ok_or("the server ended as soon as it listened")?)?;
    Ok((child, address, usage))
}
