//! Boards without a battery for their clock: the service in 1970, under Debian's libfaketime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedecks_cloud::serve::Tls;
use fedecks_common::utc;
use fedecks_device::clock::BUILD_TIME;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::cloud::{By, Cloud, Seen};
use crate::support::fedecksd::Setup;
use crate::support::{skip, within};

const DAY: u64 = 86_400;

/// When the program under test was built, its floor.
fn build_time() -> u64 {
    BUILD_TIME.parse().unwrap()
}

/// libfaketime moves every absolute time of a timerfd along with the wall clock, those on
/// `CLOCK_BOOTTIME` too, whatever it is told to leave alone; the service's timers would be due in
/// half a century. This goes before it.
const TIMERS_AS_THEY_ARE: &str = "
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    return (int)syscall(SYS_timerfd_settime, fd, flags, new, old);
}
";

/// What to preload for a wrong wall clock.
struct Faketime {
    library: PathBuf,
    timers: PathBuf,
    _folder: TempDir,
}

fn faketime() -> Option<Faketime> {
    let library = find_library()?;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("timers.c");
    let timers = folder.path().join("timers.so");
    fs::write(&source, TIMERS_AS_THEY_ARE).unwrap();
    let mut compiler = Command::new("cc");
    match compiler.args(["-shared", "-fPIC", "-o"]).args([&timers, &source]).status() {
        Ok(status) => assert!(status.success(), "cc: {status}"),
        Err(error) => {
            skip(&format!("cc cannot be run: {error}"));
            return None;
        }
    }
    Some(Faketime { library, timers, _folder: folder })
}

/// Wherever this architecture's Debian has it.
fn find_library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = folders
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.exists());
    if library.is_none() {
        skip("libfaketime is missing, of the package libfaketime");
    }
    library
}

/// An authority for the clouds of a test.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { certificate, key, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a server of this name, valid in between, in seconds since 1970.
    fn issue(&self, name: &str, not_before: u64, not_after: u64) -> Tls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(not_before);
        params.not_after = epoch + Duration::from_secs(not_after);
        let own = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        let folder = self.folder.path();
        let (chain, private) = (folder.join("server.pem"), folder.join("server.key"));
        fs::write(&chain, own.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        Tls::from_pem_files(chain, private).unwrap()
    }

    /// One that is valid now.
    fn issue_now(&self, name: &str) -> Tls {
        self.issue(name, now() - DAY, now() + 90 * DAY)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn cloud(tls: Tls) -> Cloud {
    Cloud::start_with("127.0.0.1:0".parse().unwrap(), Some(tls)).await
}

/// A device in 1970 that goes to this cloud and trusts this authority alone.
///
/// Only the wall clock is faked, for this process alone.
fn in_1970(faketime: &Faketime, cloud: &Cloud, authority: &Authority) -> Setup {
    let preload = format!("{} {}", faketime.timers.display(), faketime.library.display());
    Setup::new(&format!("wss://localhost:{}", cloud.address.port()))
        .line("ca_file", authority.file().to_str().unwrap())
        .flag("only_ca_file", true)
        .variable("LD_PRELOAD", preload)
        .variable("FAKETIME", "@1970-01-02 00:00:00")
        .variable("TZ", "UTC")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .with_credentials()
}

#[tokio::test]
async fn in_1970_it_connects_and_says_that_its_clock_is_wrong() {
    let Some(faketime) = faketime() else { return };
    let authority = Authority::new("ours");
    let mut cloud = cloud(authority.issue_now("localhost")).await;
    let setup = in_1970(&faketime, &cloud, &authority);
    let mut service = setup.start();
    let started = service.says("fedecksd started").await;
    assert!(started.starts_with("1970-01-02T00:00:0"), "{started}");
    let warning = service.says("the system's clock is wrong").await;
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("clock=1970-01-02 00:00:0"), "{warning}");
    service.says("used and removed").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.kill().await;

    // And after the next power cut, in 1970 again.
    let _service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}

/// What a device in 1970 says about a cloud that it must refuse, twice: it goes on trying.
async fn refused(faketime: &Faketime, authority: &Authority, tls: Tls) -> String {
    let cloud = cloud(tls).await;
    let setup = in_1970(faketime, &cloud, authority);
    let mut service = setup.start();
    let first = service.says("connection failed").await;
    service.says("connection failed").await;
    let said = service.terminate_and_tell().await;
    assert!(!said.contains("INFO connected"), "{said}");
    first
}

#[tokio::test]
async fn in_1970_a_certificate_that_ended_before_the_build_is_refused() {
    let Some(faketime) = faketime() else { return };
    let authority = Authority::new("ours");
    let ended = build_time() - DAY;
    let said =
        refused(&faketime, &authority, authority.issue("localhost", ended - DAY, ended)).await;
    let end = format!("a certificate of localhost expired on {}", utc(ended));
    let floor = format!("it is {} or later", utc(build_time()));
    assert!(said.contains(&end) && said.contains(&floor), "{said}");
    assert!(said.contains("this device's clock says 1970-01-02 00:00:0"), "{said}");
}

#[tokio::test]
async fn in_1970_another_name_is_refused() {
    let Some(faketime) = faketime() else { return };
    let authority = Authority::new("ours");
    let said = refused(&faketime, &authority, authority.issue_now("elsewhere.test")).await;
    assert!(said.contains("certificate not valid for name \"localhost\""), "{said}");
}

#[tokio::test]
async fn in_1970_an_untrusted_authority_is_refused() {
    let Some(faketime) = faketime() else { return };
    let stranger = Authority::new("a stranger");
    let said = refused(&faketime, &Authority::new("ours"), stranger.issue_now("localhost")).await;
    let reason = "no authority that this device trusts vouches for the certificate of localhost";
    assert!(said.contains(reason), "{said}");
}

/// The program as it would be if it had been built then.
fn built_at(seconds: u64, folder: &Path) -> PathBuf {
    let mut program = fs::read(env!("CARGO_BIN_EXE_fedecksd")).unwrap();
    let (build, other) = (BUILD_TIME.as_bytes(), seconds.to_string().into_bytes());
    assert_eq!(build.len(), other.len());
    let places: Vec<usize> = (0..program.len() - build.len())
        .filter(|&place| program[place..].starts_with(build))
        .collect();
    assert!(!places.is_empty(), "the program does not contain its build time {BUILD_TIME}");
    for place in places {
        program[place..place + build.len()].copy_from_slice(&other);
    }
    let file = folder.join("fedecksd");
    fs::write(&file, program).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    file
}

#[tokio::test]
async fn what_time_it_is_outlives_a_power_cut_and_refuses_what_ended_since_the_build() {
    let Some(faketime) = faketime() else { return };
    let authority = Authority::new("ours");
    let ended = now() - 10 * DAY;
    let firmware = tempfile::tempdir().unwrap();
    let program = built_at(now() - 30 * DAY, firmware.path());

    // It ended after the build: with this clock it passes, and the floor rises to its end alone.
    let mut first = cloud(authority.issue("localhost", ended - DAY, ended)).await;
    let setup = in_1970(&faketime, &first, &authority).program(&program);
    let mut service = setup.start();
    service.says("used and removed").await;
    assert_eq!(first.next().await, Seen::Connected(By::Credentials));
    assert_eq!(floor_on_disk(&setup, ended).await, ended);
    service.kill().await;
    let address = first.stop().await;

    // A cloud that is right. The floor rises to its time.
    let now = now();
    let valid = authority.issue_now("localhost");
    let mut second = Cloud::start_with(address, Some(valid)).await;
    let mut service = setup.start();
    assert_eq!(second.next().await, Seen::Connected(By::Token));
    service.says("connected").await;
    let floor = floor_on_disk(&setup, now).await;
    assert!((now..now + 60).contains(&floor), "{floor} is not the cloud's {now}");
    service.kill().await;
    let address = second.stop().await;

    // The same device after a power cut, the same clock: what passed before is refused now.
    let ended_tls = authority.issue("localhost", ended - DAY, ended);
    let _third = Cloud::start_with(address, Some(ended_tls)).await;
    let mut service = setup.start();
    let said = service.says("connection failed").await;
    let since = format!("it is {} or later", utc(floor));
    assert!(said.contains(&since), "{said}");
}

/// What the file of the floor says as soon as that is at least `least`.
async fn floor_on_disk(setup: &Setup, least: u64) -> u64 {
    let file = setup.data().join("time");
    within(async {
        loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("seconds "));
            match line.map(|seconds| seconds.parse().unwrap()) {
                Some(seconds) if seconds >= least => return seconds,
                Some(_) | None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}
