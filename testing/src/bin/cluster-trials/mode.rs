//! Which servers of a trial serve.

use std::str::FromStr;

/// Which servers serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One of them.
    Standby,
    /// All.
    Several,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Several => "several",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "standby" => Ok(Self::Standby),
            "several" => Ok(Self::Several),
            _ => Err("expected standby or several".to_owned()),
        }
    }
}
