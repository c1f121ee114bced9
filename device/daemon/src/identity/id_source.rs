//! What can say who the device is.

use std::fmt;

/// What can say who the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// The board's serial number in the device tree, as the boot loader put it there.
    SerialNumber,
    /// /etc/machine-id, hashed for this application.
    MachineId,
    /// The address that is built into a network interface, as twelve digits.
    Mac,
    /// The host's name.
    Hostname,
}

impl IdSource {
    /// In this order they are asked.
    pub const ORDER: [Self; 4] = [Self::SerialNumber, Self::MachineId, Self::Mac, Self::Hostname];

    /// Its name in the configuration, in the status and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SerialNumber => "serial-number",
            Self::MachineId => "machine-id",
            Self::Mac => "mac",
            Self::Hostname => "hostname",
        }
    }

    /// Whether it is part of the board. What is not can be changed by an update or by the network,
    /// on the same board.
    pub(super) const fn is_hardware(self) -> bool {
        match self {
            Self::SerialNumber | Self::Mac => true,
            Self::MachineId | Self::Hostname => false,
        }
    }
}

impl fmt::Display for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
