//! The handler of the guide, a device to go with it, and a network in between.

pub(crate) mod proxy;

use std::net::SocketAddr;
use std::time::Duration;

use fedecks_cloud::{Decision, Handler, Login, Options, Outcome, Published, Session};
use fedecks_device::{Credentials, DeviceId};
pub(crate) use fedecks_testing::recorder::By;
use fedecks_testing::recorder::decide;
use fedecks_testing::{cloud, device};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) type Cloud = cloud::Cloud<Called>;

pub(crate) const DEVICE: &str = "nerves-242a";

/// What the handler was called with.
pub(crate) enum Called {
    Authenticate(DeviceId, Credentials),
    Connected(By),
}

/// The handler of the guide: a user name and a password, a topic down and a topic up for each device.
pub(crate) struct MySocketHandler(pub(crate) UnboundedSender<Called>);

impl Handler for MySocketHandler {
    async fn authenticate(&self, login: Login<'_>) -> Decision {
        let call = Called::Authenticate(login.device.clone(), login.credentials.clone());
        let _ = self.0.send(call);
        decide(&login)
    }

    async fn on_connect(&self, session: &Session) {
        session.subscribe(downstream(session.device().as_str()));
        let _ = self.0.send(Called::Connected(By::of(session)));
    }

    async fn on_published(&self, _session: &Session, published: Published) -> Outcome {
        Outcome::Send(published.message)
    }

    async fn on_message(&self, session: &Session, message: fedecks_cloud::Term) -> Outcome {
        session.hub().publish(upstream(session.device().as_str()), &message).await.unwrap();
        Outcome::Ok
    }
}

pub(crate) fn downstream(device: &str) -> String {
    format!("nerves_downstream_topic.{device}")
}

pub(crate) fn upstream(device: &str) -> String {
    format!("nerves_upstream_topic.{device}")
}

pub(crate) async fn start_cloud() -> Cloud {
    Cloud::start(MySocketHandler).await
}

pub(crate) async fn start_cloud_with(options: Options) -> Cloud {
    let options = cloud::CloudOptions { options, ..cloud::CloudOptions::default() };
    options.start(MySocketHandler).await
}

/// How the next connection proves itself.
pub(crate) async fn next_connection(cloud: &mut Cloud) -> By {
    cloud
        .until(|called| match called {
            Called::Connected(by) => Some(by),
            Called::Authenticate(..) => None,
        })
        .await
}

pub(crate) async fn start_device(address: SocketAddr) -> device::Device {
    device::Device::start_with(&format!("ws://{address}"), DEVICE, |builder| {
        builder.pong_deadline(Duration::from_secs(1))
    })
    .await
}

pub(crate) async fn logged_in_device(address: SocketAddr) -> device::Device {
    let mut device = start_device(address).await;
    device.login().await;
    device
}
