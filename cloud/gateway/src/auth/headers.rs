//! The headers of a request: of one that hyper has read, and of one that was accepted before.

#[cfg(feature = "serve")]
use fedecks_edge::UpgradeHead;
use http::{HeaderMap, HeaderName};

/// Headers, several of which may have the same name.
pub(crate) trait Headers {
    /// The values of all headers with this name.
    fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]>;
}

impl Headers for HeaderMap {
    fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(|value| value.as_bytes())
    }
}

#[cfg(feature = "serve")]
impl Headers for UpgradeHead<'_> {
    fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
    }
}
