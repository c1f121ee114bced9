//! `fedecksd --check` by root, on a machine where the service has its own user.

use std::fs;

use fedecks_testing::certificates::Authority;

use crate::support::cloud;
use crate::support::machine::Machine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_by_root_sees_what_the_user_of_the_service_sees() {
    let cloud = cloud().await;
    let Some(machine) = Machine::boot(cloud.address, "/var/lib/fedecks").await else { return };
    Authority::new("ours").write(&machine.path("/etc/fedecks"));
    let configuration = "url = \"wss://cloud.test\"\ndevice_id = \"d\"\n\
        ca_file = \"/etc/fedecks/ca.pem\"\n";
    fs::write(machine.path("/etc/fedecks/fedecks.toml"), configuration).unwrap();
    let check = async |before: &str| {
        let script = format!("{before}; fedecksd --check 2>&1; echo status $?");
        machine.run(&["sh", "-c", &script]).await
    };
    let unreadable = check("chmod 600 /etc/fedecks/ca.pem").await;
    assert!(unreadable.ends_with("status 78\n"), "{unreadable}");
    let error = "cannot read a PEM certificate from /etc/fedecks/ca.pem: Permission denied";
    assert!(unreadable.contains(error), "{unreadable}");
    assert!(unreadable.contains("as the user fedecks"), "{unreadable}");
    let good = check("chmod 644 /etc/fedecks/ca.pem").await;
    assert!(good.ends_with("status 0\n"), "{good}");
    // As after a run of the service by root.
    let files = "/var/lib/fedecks/token /var/lib/fedecks/lock";
    let stored = check(&format!("touch {files}; chmod 600 {files}")).await;
    assert!(stored.ends_with("status 3\n"), "{stored}");
    for name in ["token", "lock"] {
        let warning = format!("warning: cannot read /var/lib/fedecks/{name}: Permission");
        assert!(stored.contains(&warning), "{stored}");
    }
    let policy = "rm /var/lib/fedecks/*; mount --bind /dev/null \
        /usr/share/dbus-1/system.d/org.fedecks.Device1.conf; chown root: /var/lib/fedecks";
    let directory = check(policy).await;
    assert!(directory.ends_with("status 3\n"), "{directory}");
    assert!(directory.contains("warning: the data directory /var/lib/fedecks"), "{directory}");
    // Nothing was written, and root checks as itself if asked to.
    assert_eq!(machine.run(&["ls", "-A", "/var/lib/fedecks"]).await, "");
    machine.run(&["fedecksd", "--check", "--user", "root"]).await;
}
