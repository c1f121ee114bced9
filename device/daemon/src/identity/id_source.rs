//! The sources of a device id: their names, their order, and which are hardware.

use std::fmt;
use std::str::FromStr;

/// A source of the device's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// The board's serial number in the device tree, put there by the boot loader.
    SerialNumber,
    /// /etc/machine-id, hashed for this application.
    MachineId,
    /// The permanent MAC address of a network interface, as twelve hexadecimal digits.
    Mac,
    /// The host name, if the configuration chooses it.
    Hostname,
}

impl IdSource {
    /// All sources.
    pub const ALL: [Self; 4] = [Self::SerialNumber, Self::MachineId, Self::Mac, Self::Hostname];

    /// Those that are tried without a choice, in this order. Not the host name: an image gives the same one to all
    /// boards.
    pub const AUTOMATIC: [Self; 3] = [Self::SerialNumber, Self::MachineId, Self::Mac];

    /// The name in the configuration, in the status and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SerialNumber => "serial-number",
            Self::MachineId => "machine-id",
            Self::Mac => "mac",
            Self::Hostname => "hostname",
        }
    }

    /// Whether it is part of the board. An update or the network can change the others on the same board.
    pub(super) const fn is_hardware(self) -> bool {
        matches!(self, Self::SerialNumber | Self::Mac)
    }
}

impl FromStr for IdSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|source| source.name() == text).ok_or_else(|| {
            format!("{text:?} is not a source; expected serial-number, machine-id, mac or hostname")
        })
    }
}

impl fmt::Display for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
