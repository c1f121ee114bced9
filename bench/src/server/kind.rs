//! Which server is measured, and its settings.

use std::path::PathBuf;

use crate::error::Result;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// tokio-tungstenite with a small read buffer and nothing else.
    Bare,
    /// Ours.
    Fedecks,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Fedecks, Self::Bare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "tokio-tungstenite",
            Self::Fedecks => "fedecks-cloud",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::BOTH
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("no server is called {name:?}").into())
    }
}

pub(crate) struct ServeOptions {
    pub(crate) kind: Kind,
    /// Certificate and key, in PEM files.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Where the server may write.
    pub(crate) folder: PathBuf,
}
