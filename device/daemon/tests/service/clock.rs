//! Boards without a battery-backed clock: the service in 1970, under Debian's libfaketime.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use fedecks_cloud::store::unix_now;
use fedecks_common::utc;
use fedecks_device::clock::BUILD_TIME;
use fedecks_testing::certificates::{Authority, Certificate, DAY};
use fedecks_testing::cloud::CloudOptions;
use tempfile::TempDir;

use crate::support::fedecksd::Setup;
use crate::support::{By, Cloud, Recorder, Seen, has_programs, skip, until, write};

/// When the program was built, which is the earliest time that it accepts.
fn build_time() -> u64 {
    BUILD_TIME.parse().unwrap()
}

/// libfaketime shifts every absolute time of a timerfd, even on `CLOCK_BOOTTIME` and whatever its options: the
/// service's timers would expire in half a century. This library is preloaded before it.
const UNSHIFTED_TIMERS: &str = "
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    return (int)syscall(SYS_timerfd_settime, fd, flags, new, old);
}
";

/// The libraries to preload for a wrong wall clock, and the folder of one of them.
fn faketime() -> Option<(String, TempDir)> {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    let Some(library) = libraries.find(|library| library.exists()) else {
        skip("libfaketime is missing, of the package libfaketime");
        return None;
    };
    if !has_programs(&[("cc", "gcc")]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, timers) = (folder.path().join("timers.c"), folder.path().join("timers.so"));
    fs::write(&source, UNSHIFTED_TIMERS).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&timers, &source]);
    assert!(compiler.status().unwrap().success());
    Some((format!("{} {}", timers.display(), library.display()), folder))
}

async fn cloud(certificate: &Certificate) -> Cloud {
    cloud_at(([127, 0, 0, 1], 0).into(), certificate).await
}

async fn cloud_at(address: SocketAddr, certificate: &Certificate) -> Cloud {
    let options = CloudOptions { address, tls: Some(certificate.tls()), ..CloudOptions::default() };
    options.start(Recorder).await
}

/// A device in 1970 with this cloud, which trusts only this authority. Only its wall clock is wrong.
fn in_1970(preload: &str, cloud: &Cloud, authority: &Authority) -> Setup {
    let setup = Setup::new("");
    let ca_file = authority.write(setup.folder.path());
    setup
        .line("url", &format!("wss://localhost:{}", cloud.address.port()))
        .line("ca_file", ca_file.to_str().unwrap())
        .value("only_ca_file", "true")
        .variable("LD_PRELOAD", preload)
        .variable("FAKETIME", "@1970-01-02 00:00:00")
        .variable("TZ", "UTC")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .with_credentials()
}

#[tokio::test]
async fn in_1970_it_connects_and_warns_about_its_clock() {
    let Some((preload, _folder)) = faketime() else { return };
    let authority = Authority::new("ours");
    let mut cloud = cloud(&authority.issue("localhost")).await;
    let setup = in_1970(&preload, &cloud, &authority);
    let mut service = setup.start();
    let started = service.logs("fedecksd started").await;
    assert!(started.starts_with("1970-01-02T00:00:0"), "{started}");
    let warning = service.logs("the system clock is wrong").await;
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("clock=1970-01-02T00:00:0"), "{warning}");
    service.logs("used and removed").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.kill().await;

    // After the next power cut it is 1970 again.
    let _service = setup.start();
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}

#[tokio::test]
async fn in_1970_a_certificate_is_refused_for_the_right_reason() {
    let Some((preload, _folder)) = faketime() else { return };
    let authority = Authority::new("ours");
    let ended = build_time() - DAY;
    let expired = authority.issue_valid("localhost", ended - DAY..ended);
    let end = format!("a certificate of localhost expired at {}", utc(ended));
    let floor = format!("it is at least {}", utc(build_time()));
    let untrusted =
        "the certificate of localhost was not issued by an authority that this device trusts";
    for (certificate, reasons) in [
        (expired, &[&*end, &floor, "this device's clock shows 1970-01-02T00:00:0"][..]),
        (
            authority.issue("elsewhere.test"),
            &["the certificate is not for localhost, only for elsewhere.test"],
        ),
        (Authority::new("a stranger").issue("localhost"), &[untrusted]),
    ] {
        let cloud = cloud(&certificate).await;
        let setup = in_1970(&preload, &cloud, &authority);
        let mut service = setup.start();
        let line = service.logs("connection failed").await;
        assert!(reasons.iter().all(|reason| line.contains(reason)), "{reasons:?}: {line}");
        // It retries.
        service.logs("connection failed").await;
        let log = service.terminate().await;
        assert!(!log.contains("INFO connected"), "{log}");
    }
}

/// The program with another build time.
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
    write(&file, program, 0o755);
    file
}

#[tokio::test]
async fn the_known_time_survives_a_power_cut() {
    let Some((preload, _folder)) = faketime() else { return };
    let authority = Authority::new("ours");
    let ended = unix_now() - 10 * DAY;
    let firmware = tempfile::tempdir().unwrap();
    let program = built_at(unix_now() - 30 * DAY, firmware.path());

    // It expired after the build: with this clock it is accepted, and the known time rises only to its end.
    let expired = authority.issue_valid("localhost", ended - DAY..ended);
    let mut first = cloud(&expired).await;
    let exec = format!("shift; exec {} \"$@\"", program.display());
    let setup = in_1970(&preload, &first, &authority).by(&["sh", "-c", &exec, "sh"]);
    let mut service = setup.start();
    service.logs("used and removed").await;
    assert_eq!(first.next().await, Seen::Connected(By::Credentials));
    assert_eq!(floor_on_disk(&setup, ended).await, ended);
    service.kill().await;
    let address = first.stop().await;

    // A cloud with a valid certificate. The known time rises to its time.
    let now = unix_now();
    let mut second = cloud_at(address, &authority.issue("localhost")).await;
    let mut service = setup.start();
    assert_eq!(second.next().await, Seen::Connected(By::Token));
    service.logs("connected").await;
    let floor = floor_on_disk(&setup, now).await;
    assert!((now..now + 60).contains(&floor), "{floor} is not the cloud's {now}");
    service.kill().await;
    let address = second.stop().await;

    // After a power cut it is 1970 again, and the first certificate is refused.
    let _third = cloud_at(address, &expired).await;
    let mut service = setup.start();
    let line = service.logs("connection failed").await;
    let since = format!("it is at least {}", utc(floor));
    assert!(line.contains(&since), "{line}");
}

/// The time on disk as soon as it is at least `least`.
async fn floor_on_disk(setup: &Setup, least: u64) -> u64 {
    until(async || {
        let text = fs::read_to_string(setup.data().join("time")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("seconds "));
        line.map(|seconds| seconds.parse().unwrap()).filter(|seconds| *seconds >= least)
    })
    .await
}
