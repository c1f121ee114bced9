//! The sources of network observations, NetworkManager and the kernel, and their configured names.

use std::str::FromStr;

use fedecks_device_core::Observation;
use tokio::sync::watch;

/// How the network is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkWatch {
    /// Through NetworkManager while it is on the system bus, through the kernel otherwise.
    #[default]
    Auto,
    /// Through NetworkManager; while it does not run, the network state is unknown.
    NetworkManager,
    /// Through the kernel, over rtnetlink.
    Netlink,
    /// Not at all.
    None,
}

/// A text that is not the name of a [`NetworkWatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network watch; expected \"auto\", \"network-manager\", \"netlink\" or \"none\""
)]
pub struct InvalidNetworkWatch(String);

impl FromStr for NetworkWatch {
    type Err = InvalidNetworkWatch;

    fn from_str(text: &str) -> Result<Self, InvalidNetworkWatch> {
        match text {
            "auto" => Ok(Self::Auto),
            "network-manager" => Ok(Self::NetworkManager),
            "netlink" => Ok(Self::Netlink),
            "none" => Ok(Self::None),
            _ => Err(InvalidNetworkWatch(text.to_owned())),
        }
    }
}

/// The source of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkSource {
    /// NetworkManager, over D-Bus.
    NetworkManager,
    /// The kernel, over rtnetlink.
    Netlink,
}

impl NetworkSource {
    /// Its name in the configuration and in the health report.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkManager => "network-manager",
            Self::Netlink => "netlink",
        }
    }
}

/// The latest observation. Intermediate ones may be skipped: only the current state matters.
pub(crate) type Latest = watch::Sender<Option<(NetworkSource, Observation)>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watch_has_a_name_and_an_unknown_name_lists_them() {
        for (name, watch) in [
            ("auto", NetworkWatch::Auto),
            ("network-manager", NetworkWatch::NetworkManager),
            ("netlink", NetworkWatch::Netlink),
            ("none", NetworkWatch::None),
        ] {
            assert_eq!(name.parse(), Ok(watch));
        }
        assert_eq!(
            "NetworkManager".parse::<NetworkWatch>().unwrap_err().to_string(),
            "\"NetworkManager\" is not a network watch; expected \"auto\", \"network-manager\", \"netlink\" or \"none\""
        );
    }
}
