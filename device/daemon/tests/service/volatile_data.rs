//! A data directory in memory, as below the volatile part of a read-only root: it is noticed, and said.

use fedecks_protocol::Term;

use crate::support::fedecksd::Setup;
use crate::support::{Cloud, Seen, cloud, is_root};

const PROBLEM: &str = "is in memory, so the token is lost with each boot";

/// The problems of the configuration in the next health report.
async fn reported(cloud: &mut Cloud) -> String {
    loop {
        let Seen::Message(report) = cloud.next().await else { continue };
        let health = report.get("fedecks.health").unwrap();
        return health.get("configuration").map_or_else(String::new, |it| format!("{it:?}"));
    }
}

/// A device that reports its health often, in a mount namespace where these commands were run before.
fn setup(cloud: &Cloud, mounts: &str) -> Setup {
    let setup = Setup::new(cloud.address).with_credentials().line("report_interval", "1s");
    let script = format!("set -e; {mounts}\nexec \"$@\"");
    let script = script.replace("DATA", setup.data().to_str().unwrap());
    setup.by(&["unshare", "--mount", "sh", "-c", &script, "sh"])
}

#[tokio::test]
async fn a_data_directory_in_memory_is_warned_of() {
    if !is_root() {
        return;
    }
    let overlay = "mount -t tmpfs none /mnt; mkdir /mnt/lower /mnt/upper /mnt/work; mkdir -p DATA; \
                   mount -t overlay none -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work DATA";
    for mounts in ["mkdir -p DATA; mount -t tmpfs none DATA", overlay] {
        let mut cloud = cloud().await;
        let setup = setup(&cloud, mounts);
        let mut service = setup.start();
        service.logs(PROBLEM).await;
        while !reported(&mut cloud).await.contains(PROBLEM) {}
        service.terminate().await;
    }
}

#[tokio::test]
async fn a_partition_that_is_mounted_later_ends_the_warning() {
    if !is_root() {
        return;
    }
    let mut cloud = cloud().await;
    // What is below the mount of memory is on this machine's disk.
    let setup =
        setup(&cloud, "mkdir -p DATA; mount -t tmpfs none DATA; (sleep 2; umount -l DATA) &");
    let mut service = setup.start();
    service.logs(PROBLEM).await;
    service.logs("the data directory is not in memory any more").await;
    while reported(&mut cloud).await != format!("{:?}", Term::Nil) {}
    service.terminate().await;
}
