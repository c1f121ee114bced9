//! The device id across starts, on a system whose sources change.

use std::fs;

use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::{By, Cloud, Seen, cloud, is_root};

/// A system whose only sources are these: serial number, machine id and host name.
type System = (Option<&'static str>, Option<&'static str>, &'static str);

const MACHINE_ID: Option<&str> = Some("3d1219c7c4c5404aaa1f6d2a48adfda4\n");

/// Starts the service in a mount namespace with this system.
fn start(setup: Setup, (serial_number, machine_id, hostname): System) -> (Setup, Fedecksd) {
    let file = setup.folder.path().join("machine-id");
    fs::write(&file, machine_id.unwrap_or("uninitialized\n")).unwrap();
    let base = "/sys/firmware/devicetree/base";
    let serial_number = serial_number.map_or_else(String::new, |serial_number| {
        format!("mkdir -p {base}; printf '{serial_number}\\0' > {base}/serial-number;")
    });
    let script = format!(
        "set -e
        mount -t tmpfs none /sys/class
        mount -t tmpfs none /sys/firmware
        mount --bind {} /etc/machine-id
        {serial_number}
        hostname {hostname}
        exec \"$@\"",
        file.display()
    );
    let setup = setup.by(&["unshare", "--mount", "--uts", "sh", "-c", &script, "sh"]);
    let service = setup.start();
    (setup, service)
}

/// One start, whose log has `text`, and which connects like this, to its end.
async fn run(setup: Setup, cloud: &mut Cloud, system: System, text: &str, by: By) -> Setup {
    let (setup, mut service) = start(setup, system);
    service.logs(text).await;
    assert_eq!(cloud.next().await, Seen::Connected(by));
    if by == By::Credentials {
        service.logs("used and removed").await;
    }
    service.terminate().await;
    setup
}

/// A cloud, and a device for it without an id; none, and the test is skipped, without root.
async fn unnamed() -> Option<(Cloud, Setup)> {
    if !is_root() {
        return None;
    }
    let cloud = cloud().await;
    let setup = Setup::new(cloud.address).with_credentials().without("device_id");
    Some((cloud, setup))
}

#[tokio::test]
async fn the_id_stays_the_same_whatever_other_sources_appear() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let text = "device=kitchen-9 device_id_from=\"hostname\"";
    let named = (None, None, "kitchen-9");
    let by_name = setup.line("device_id_from", "hostname");
    let setup = run(by_name, &mut cloud, named, text, By::Credentials).await;
    // The token shows that the device is the same.
    let complete = (Some("SN-0042"), MACHINE_ID, "renamed-by-dhcp");
    let setup = run(setup.without("device_id_from"), &mut cloud, complete, text, By::Token).await;
    assert!(!setup.data().join("provision.toml").exists());
}

#[tokio::test]
async fn boards_with_the_same_host_name_are_different_devices() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let text = "device_id_from=\"machine-id\"";
    let one = (None, MACHINE_ID, "buildroot");
    let _one = run(setup, &mut cloud, one, text, By::Credentials).await;
    let other = Setup::new(cloud.address).with_credentials().without("device_id");
    let another = (None, Some("5c1219c7c4c5404aaa1f6d2a48adfda4\n"), "buildroot");
    run(other, &mut cloud, another, text, By::Credentials).await;

    // A board with nothing else does not become the device "buildroot".
    let third = Setup::new(cloud.address).with_credentials().without("device_id");
    let (_third, mut service) = start(third, (None, None, "buildroot"));
    service.logs("cannot determine the device id").await;
}

#[tokio::test]
async fn the_serial_number_comes_first_and_survives_read_errors() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let text = "device=SN-0042 device_id_from=\"serial-number\"";
    let complete = (Some("SN-0042"), MACHINE_ID, "kitchen-9");
    let setup = run(setup, &mut cloud, complete, text, By::Credentials).await;

    let text = "cannot read the device id from its source, using the saved one";
    let setup = run(setup, &mut cloud, (None, MACHINE_ID, "kitchen-9"), text, By::Token).await;

    // The data on another board: another device, without a token.
    let (_setup, mut service) = start(setup, (Some("SN-0043"), None, "cellar"));
    service.logs("unregistered: waiting for a login").await;
    service.logs("device=SN-0043 device_id_from=\"serial-number\"").await;
    service.terminate().await;
}

#[tokio::test]
async fn a_late_data_partition_of_another_device_ends_the_service() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let (kitchen, cellar) = ((None, None, "kitchen-9"), (None, None, "cellar"));
    let setup = setup.line("device_id_from", "hostname");
    let setup = run(setup, &mut cloud, kitchen, "fedecksd started", By::Credentials).await;

    let away = setup.unmount_data();
    let (setup, mut service) = start(setup, cellar);
    service.logs("device=cellar").await;
    fs::rename(&away, setup.data()).unwrap();
    service.logs("has the device id kitchen-9: restart the service").await;
    let (_setup, mut service) = start(setup, cellar);
    service.logs("device=kitchen-9").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}

#[tokio::test]
async fn without_any_source_it_ends_with_the_reasons() {
    let Some((_cloud, setup)) = unnamed().await else { return };
    let (_setup, mut service) = start(setup, (None, None, "localhost"));
    let error = service.logs("cannot determine the device id").await;
    let reasons = ["serial-number: ", "machine-id: is not a machine id", "mac: "];
    assert!(reasons.iter().all(|reason| error.contains(reason)), "{error}");
}
