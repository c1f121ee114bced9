//! A cloud, the service, and the daemons around it.

pub(crate) mod bus;
pub(crate) mod fedecksd;
pub(crate) mod machine;
pub(crate) mod name_server;
pub(crate) mod network_manager;
pub(crate) mod openssl;
pub(crate) mod process;
pub(crate) mod scene;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fedecks_cloud::Message;
use fedecks_cloud::messaging::KeepDown;
use fedecks_cloud::store::DownState;
use fedecks_protocol::{Tag, Term};
pub(crate) use fedecks_testing::recorder::{By, Recorder, Seen};
pub(crate) use fedecks_testing::wait::{PATIENCE, is_root, skip, until, within};
pub(crate) use fedecks_testing::{PASSWORD, USER};

use fedecksd::DEVICE;

pub(crate) type Cloud = fedecks_testing::cloud::Cloud<Seen>;

/// A cloud on a free port.
pub(crate) async fn cloud() -> Cloud {
    Cloud::start(Recorder).await
}

pub(crate) async fn cloud_at(address: SocketAddr) -> Cloud {
    Cloud::start_at(address, Recorder).await
}

/// The provisioning file of the account.
pub(crate) fn credentials() -> String {
    format!("username = {USER:?}\npassword = {PASSWORD:?}\n")
}

/// Writes a file with this mode. Renames it into place, as the service may be reading it.
pub(crate) fn write(file: &Path, content: impl AsRef<[u8]>, mode: u32) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(mode)).unwrap();
    fs::rename(new, file).unwrap();
}

/// The command, which is another package. Cargo builds it next to the service if it also tests that package,
/// whose own tests run it: as part of the workspace, or by `-p fedecks-cli`, which `ci/test` adds.
pub(crate) fn fedecks() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fedecksd")).with_file_name("fedecks");
    assert!(program.exists(), "{} is missing; add -p fedecks-cli", program.display());
    program
}

/// The PATH of this process, after `first`.
pub(crate) fn path_after(first: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/sbin".into()]);
    std::env::join_paths([first.to_owned()].into_iter().chain(folders)).unwrap()
}

/// Whether these programs, each with its Debian package, are installed; reports the test as skipped if not.
pub(crate) fn has_programs(programs: &[(&str, &str)]) -> bool {
    let path = path_after(Path::new("/bin"));
    let is_missing = |(program, _): &&(&str, &str)| {
        !std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    let Some((program, package)) = programs.iter().find(is_missing) else { return true };
    skip(&format!("{program} is missing, of the package {package}"));
    false
}

/// Sends a value to the device.
pub(crate) async fn push(cloud: &Cloud, term: Term) {
    cloud.hub.send(&DEVICE.parse().unwrap(), &term).await.unwrap();
}

/// Keeps a value for the device. Returns its id.
pub(crate) async fn push_kept(cloud: &Cloud, term: impl Into<Term>) -> Tag {
    let message = Message::from(term.into());
    let device = DEVICE.parse().unwrap();
    within(cloud.hub.send_kept_message(&device, &message, KeepDown::default())).await.unwrap()
}

/// Waits until a message that is kept for the device has this state.
pub(crate) async fn kept_is(cloud: &Cloud, id: Tag, expected: DownState) {
    let device = DEVICE.parse().unwrap();
    until(async || {
        let status = cloud.device_queue.message_status(&device, id).await.unwrap().unwrap();
        (status.state == expected).then_some(())
    })
    .await;
}

pub(crate) async fn push_raw(cloud: &Cloud, bytes: &[u8]) {
    cloud.hub.send_raw(&DEVICE.parse().unwrap(), bytes.to_vec()).await.unwrap();
}
