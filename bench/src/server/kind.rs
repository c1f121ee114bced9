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
    /// fastwebsockets with hyper.
    Fastwebsockets,
    /// tokio-websockets.
    TokioWebsockets,
    /// Nothing but the kernel's own buffers at rest.
    Floor,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Fedecks, Self::Bare, Self::Floor, Self::Fastwebsockets, Self::TokioWebsockets];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "tokio-tungstenite",
            Self::Fedecks => "fedecks-cloud",
            Self::Fastwebsockets => "fastwebsockets",
            Self::TokioWebsockets => "tokio-websockets",
            Self::Floor => "floor",
        }
    }

    /// Whether it is measured over TLS too.
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Bare | Self::Fedecks)
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::ALL
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
