//! A login that an operator has to allow, in a cloud that does so after a while.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use fedecks_cloud::{Decision, Handler, Login};
use fedecks_device::storage::DataDir;
use fedecks_protocol::{Credentials, DeviceId, NONCE_KEY, Refusal};
use fedecks_testing::cloud::Cloud;
use fedecks_testing::wait::within;
use tokio::sync::mpsc::UnboundedSender;

use super::status::SourceState;
use super::*;
use crate::config::DeviceConfig;

/// Records credentials, and gives these answers before it accepts.
struct Operator {
    seen: UnboundedSender<Credentials>,
    answers: Mutex<VecDeque<Decision>>,
}

impl Handler for Operator {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        self.seen.send(login.credentials.clone()).unwrap();
        self.answers.lock().unwrap().pop_front().unwrap_or(Decision::Accept)
    }
}

fn refuse(refusal: Refusal, retry_after: Option<u64>) -> Decision {
    Decision::Refuse { refusal, retry_after: retry_after.map(Duration::from_secs) }
}

#[tokio::test]
async fn a_taken_id_and_an_approval_only_delay_the_login() {
    let answers = Mutex::new(VecDeque::from([
        refuse(Refusal::IdTaken, None),
        Decision::Blocked,
        refuse(Refusal::ApprovalPending, Some(1)),
        refuse(Refusal::InUse, Some(1)),
    ]));
    let mut cloud = Cloud::start(|seen| Operator { seen, answers }).await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = data.join("provision.toml");
    fs::write(&file, "claim = \"fdc_secret\"\n").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let configuration = folder.path().join("fedecks.toml");
    let lines = format!("url = \"ws://{}\"\ndata_dir = {data:?}\n", cloud.address);
    fs::write(&configuration, lines).unwrap();
    let config = DeviceConfig::load(Some(&configuration), []).unwrap();
    let id = DeviceId::new("kitchen-1").unwrap();
    let provisioner = Provisioner::new(&config, &DataDir::unlocked(&data), id.clone());
    let mut sources = provisioner.watch();
    let client = Client::builder(config.url, id).data_dir(&data).start().await.unwrap().0;
    let short = Duration::from_millis(20);
    tokio::spawn(run_with(client.clone(), provisioner, Retry::new(short, short)));

    for (state, reason) in [
        (
            SourceState::PutOff,
            "the device id is registered already; to let it register again: fedecks-cloud device \
             allow-reregistration kitchen-1",
        ),
        (
            SourceState::PutOff,
            "the device is blocked; in the cloud: fedecks-cloud device unblock kitchen-1",
        ),
        (
            SourceState::LoggingIn,
            "an operator has to approve this device; in the cloud: fedecks-cloud device approve kitchen-1",
        ),
        (
            SourceState::LoggingIn,
            "a device with this id is connected; it waits until that connection ends; if another device \
             has it, one of them needs another id",
        ),
    ] {
        let is_it = |status: &ProvisioningStatus| {
            status.sources[0].state == state && status.sources[0].reason.as_deref() == Some(reason)
        };
        within(sources.wait_for(is_it)).await.unwrap();
        assert!(file.exists());
    }
    within(sources.wait_for(|status| status.sources[0].state == SourceState::Used)).await.unwrap();
    assert!(!file.exists());
    let mut nonces = Vec::new();
    for _ in 0..5 {
        let credentials = cloud.next().await;
        assert_eq!(credentials.text("claim"), Some("fdc_secret"));
        nonces.push(credentials.text(NONCE_KEY).unwrap().to_owned());
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 1, "it is the same login");
    within(client.shutdown()).await;
}
