//! Which source reports on the network (NetworkManager or the kernel), and its name in the configuration.

use std::str::FromStr;

use fedecks_device_core::Observation;
use tokio::sync::watch;

/// By what the network is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkWatch {
    /// By NetworkManager while it is on the system bus, by the kernel otherwise.
    #[default]
    Auto,
    /// By NetworkManager; while it is not there, nothing is known.
    NetworkManager,
    /// By the kernel, over rtnetlink.
    Netlink,
    /// By nothing.
    None,
}

/// A text that names no [`NetworkWatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {0:?}, expected \"auto\", \"network-manager\", \"netlink\" or \"none\"")]
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

/// Where a sight comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkSource {
    /// NetworkManager, over D-Bus.
    NetworkManager,
    /// The kernel, over rtnetlink.
    Netlink,
}

impl NetworkSource {
    /// As in the configuration and the report of the health.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkManager => "network-manager",
            Self::Netlink => "netlink",
        }
    }
}

/// The newest sight. One that nobody took before the next one came is forgotten: the way from one to
/// another does not matter, only where it leads.
pub(crate) type Newest = watch::Sender<Option<(NetworkSource, Observation)>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watch_has_a_name_and_others_are_told_which() {
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
            "is \"NetworkManager\", expected \"auto\", \"network-manager\", \"netlink\" or \"none\""
        );
    }
}
