//! A cloud, a system bus, and the service on it.

use super::bus::Bus;
use super::fedecksd::{Fedecksd, Setup};
use super::{By, Cloud, Seen, cloud};

/// Logged when the service owns its name.
pub(crate) const READY: &str = "the D-Bus service is ready";

pub(crate) struct Scene {
    pub(crate) cloud: Cloud,
    pub(crate) bus: Bus,
    pub(crate) setup: Setup,
    pub(crate) service: Fedecksd,
}

impl Scene {
    /// The service waits for a login. None, and the test is skipped, if there can be no bus.
    pub(crate) async fn unregistered() -> Option<Self> {
        Self::start(|setup| setup).await
    }

    /// The service is connected.
    pub(crate) async fn connected() -> Option<Self> {
        let mut scene = Self::start(Setup::with_credentials).await?;
        assert_eq!(scene.cloud.next().await, Seen::Connected(By::Credentials));
        scene.is_provisioned().await;
        Some(scene)
    }

    /// Waits until the service has used its credentials, which may be before it is ready.
    pub(crate) async fn is_provisioned(&mut self) {
        const USED: &str = "used and removed";
        if !self.service.log().contains(USED) {
            self.service.logs(USED).await;
        }
    }

    pub(crate) async fn start(change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        let bus = Bus::start().await?;
        let cloud = cloud().await;
        let setup = change(Setup::new(cloud.address).on(&bus));
        let mut service = setup.start();
        service.logs(READY).await;
        Some(Self { cloud, bus, setup, service })
    }
}
