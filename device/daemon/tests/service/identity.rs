//! Who the device is, across starts on a system that shows more or less of itself.

use std::fs;

use crate::support::cloud::{By, Cloud, Seen};
use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::is_root;

/// A system that says of itself only what is set here, in a mount namespace of its own.
#[derive(Default)]
struct System {
    serial_number: Option<&'static str>,
    machine_id: Option<&'static str>,
    hostname: &'static str,
}

impl System {
    fn start(&self, setup: Setup) -> (Setup, Fedecksd) {
        let folder = setup.folder.path();
        let machine_id = folder.join("machine-id");
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
}

fn unnamed(cloud: &Cloud) -> Setup {
    Setup::new(&format!("ws://{}", cloud.address)).with_credentials().without("device_id")
}

#[tokio::test]
async fn the_device_is_the_same_after_each_start_whatever_else_comes_up_or_goes_away() {
    if !is_root() {
        return;
    }
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let system = System { hostname: "kitchen-9", ..System::default() };
    let (setup, mut service) = system.start(unnamed(&cloud));
    let started = service.says("fedecksd started").await;
    assert!(started.contains("device=kitchen-9 device_id_from=\"hostname\""), "{started}");
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says("used and removed").await;
    service.terminate().await;

    // That it comes by its token says that it is the same device.
    let system = System {
        hostname: "renamed-by-dhcp",
        serial_number: Some("SN-0042"),
        machine_id: Some("3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
    };
    let (setup, mut service) = system.start(setup);
    let started = service.says("fedecksd started").await;
    assert!(started.contains("device=kitchen-9 device_id_from=\"hostname\""), "{started}");
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.terminate().await;
    assert!(!setup.data().join("provision.toml").exists());
}

#[tokio::test]
async fn the_serial_number_comes_first_and_holds_while_it_cannot_be_read() {
    if !is_root() {
        return;
    }
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let complete = System {
        hostname: "kitchen-9",
        serial_number: Some("SN-0042"),
        machine_id: Some("3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
    };
    let (setup, mut service) = complete.start(unnamed(&cloud));
    let started = service.says("fedecksd started").await;
    assert!(started.contains("device=SN-0042 device_id_from=\"serial-number\""), "{started}");
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says("used and removed").await;
    service.terminate().await;

    let (setup, mut service) = System { serial_number: None, ..complete }.start(setup);
    service.says("what is remembered holds").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
    service.terminate().await;

    // The data partition on another board: another device, which has no token.
    let (_setup, mut service) =
        System { serial_number: Some("SN-0043"), hostname: "cellar", machine_id: None }
            .start(setup);
    let started = service.says("fedecksd started").await;
    assert!(started.contains("device=SN-0043 device_id_from=\"serial-number\""), "{started}");
    service.says("unregistered: waiting for a login").await;
    service.terminate().await;
}

#[tokio::test]
async fn a_data_partition_that_remembers_another_device_and_comes_late_ends_the_service() {
    if !is_root() {
        return;
    }
    let mut cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let system = System { hostname: "kitchen-9", ..System::default() };
    let (setup, mut service) = system.start(unnamed(&cloud));
    assert_eq!(cloud.next().await, Seen::Connected(By::Credentials));
    service.says("used and removed").await;
    service.terminate().await;

    let away = setup.folder.path().join("away");
    fs::rename(setup.data(), &away).unwrap();
    let (setup, mut service) = System { hostname: "cellar", ..System::default() }.start(setup);
    let started = service.says("fedecksd started").await;
    assert!(started.contains("device=cellar"), "{started}");
    fs::rename(&away, setup.data()).unwrap();
    service.says("says that this device is kitchen-9: start again").await;
    let (_setup, mut service) = System { hostname: "cellar", ..System::default() }.start(setup);
    service.says("device=kitchen-9").await;
    assert_eq!(cloud.next().await, Seen::Connected(By::Token));
}

#[tokio::test]
async fn without_any_source_it_says_why_and_ends() {
    if !is_root() {
        return;
    }
    let cloud = Cloud::start("127.0.0.1:0".parse().unwrap()).await;
    let system = System { hostname: "localhost", ..System::default() };
    let (_setup, mut service) = system.start(unnamed(&cloud));
    let said = service.says("nothing says who this device is").await;
    for part in
        ["serial-number: ", "machine-id: is no machine id", "mac: ", "hostname: is \"localhost\""]
    {
        assert!(said.contains(part), "{said}");
    }
}
