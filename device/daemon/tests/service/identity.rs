//! The device id across starts, on a system whose sources change.

use std::fs;

use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::{By, Cloud, Seen, cloud, is_root};

/// A system with only these sources, in a mount namespace.
#[derive(Default)]
struct System {
    serial_number: Option<&'static str>,
    machine_id: Option<&'static str>,
    hostname: &'static str,
}

impl System {
    fn named(hostname: &'static str) -> Self {
        Self { hostname, ..Self::default() }
    }

    fn complete(hostname: &'static str) -> Self {
        let machine_id = Some("3d1219c7c4c5404aaa1f6d2a48adfda4\n");
        Self { serial_number: Some("SN-0042"), machine_id, hostname }
    }

    fn start(&self, setup: Setup) -> (Setup, Fedecksd) {
        let machine_id = setup.folder.path().join("machine-id");
        fs::write(&machine_id, self.machine_id.unwrap_or("uninitialized\n")).unwrap();
        let serial_number = self.serial_number.map_or_else(String::new, |serial_number| {
            let place = "/sys/firmware/devicetree/base";
            format!("mkdir -p {place}; printf '{serial_number}\\0' > {place}/serial-number;")
        });
        let script = format!(
            "set -e
            mount -t tmpfs none /sys/class
            mount -t tmpfs none /sys/firmware
            mount --bind {} /etc/machine-id
            {serial_number}
            hostname {}
            exec \"$@\"",
            machine_id.display(),
            self.hostname
        );
        let setup = setup.by(&["unshare", "--mount", "--uts", "sh", "-c", &script, "sh"]);
        let service = setup.start();
        (setup, service)
    }

    /// One start, whose log has `text` and whose connection is like this, if there is one, to its end.
    async fn run(&self, setup: Setup, cloud: &mut Cloud, text: &str, by: Option<By>) -> Setup {
        let (setup, mut service) = self.start(setup);
        service.logs(text).await;
        match by {
            Some(by) => assert_eq!(cloud.next().await, Seen::Connected(by)),
            None => drop(service.logs("unregistered: waiting for a login").await),
        }
        if by == Some(By::Credentials) {
            service.logs("used and removed").await;
        }
        service.terminate().await;
        setup
    }
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

const STARTED_BY_NAME: &str = "device=kitchen-9 device_id_from=\"hostname\"";

#[tokio::test]
async fn the_id_stays_the_same_whatever_other_sources_appear() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let by = Some(By::Credentials);
    let setup = System::named("kitchen-9").run(setup, &mut cloud, STARTED_BY_NAME, by).await;
    // The token shows that the device is the same.
    let renamed = System::complete("renamed-by-dhcp");
    let setup = renamed.run(setup, &mut cloud, STARTED_BY_NAME, Some(By::Token)).await;
    assert!(!setup.data().join("provision.toml").exists());
}

#[tokio::test]
async fn the_serial_number_comes_first_and_survives_read_errors() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let complete = System::complete("kitchen-9");
    let text = "device=SN-0042 device_id_from=\"serial-number\"";
    let setup = complete.run(setup, &mut cloud, text, Some(By::Credentials)).await;

    let text = "cannot read the device id from its source, using the saved one";
    let incomplete = System { serial_number: None, ..complete };
    let setup = incomplete.run(setup, &mut cloud, text, Some(By::Token)).await;

    // The data on another board: another device, without a token.
    let other = System { serial_number: Some("SN-0043"), ..System::named("cellar") };
    let text = "device=SN-0043 device_id_from=\"serial-number\"";
    other.run(setup, &mut cloud, text, None).await;
}

#[tokio::test]
async fn a_late_data_partition_of_another_device_ends_the_service() {
    let Some((mut cloud, setup)) = unnamed().await else { return };
    let text = "fedecksd started";
    let by = Some(By::Credentials);
    let setup = System::named("kitchen-9").run(setup, &mut cloud, text, by).await;

    let away = setup.unmount_data();
    let cellar = System::named("cellar");
    let (setup, mut service) = cellar.start(setup);
    service.logs("device=cellar").await;
    fs::rename(&away, setup.data()).unwrap();
    service.logs("has the device id kitchen-9: restart the service").await;
    let (_setup, mut service) = cellar.start(setup);
    service.logs("device=kitchen-9").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}

#[tokio::test]
async fn without_any_source_it_ends_with_the_reasons() {
    let Some((_cloud, setup)) = unnamed().await else { return };
    let (_setup, mut service) = System::named("localhost").start(setup);
    let error = service.logs("cannot determine the device id").await;
    for part in [
        "serial-number: ",
        "machine-id: is not a machine id",
        "mac: ",
        "hostname: is \"localhost\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
}
