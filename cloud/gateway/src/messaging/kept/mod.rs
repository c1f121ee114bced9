//! Messages that their device keeps until the cloud has stored their effects.

pub(crate) mod failures;
mod message;
pub(crate) mod rejections;

use std::sync::Arc;

use fedecks_protocol::InstallationId;
use fedecks_store::MessageStore;

pub use message::{Effects, KeptContent, KeptMessage};

use self::failures::Failures;
use self::rejections::Rejections;

/// What the sessions share for kept messages, in a cloud that has a store for them.
pub(crate) struct KeptMessages {
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) installation: InstallationId,
    pub(crate) failures: Failures,
    pub(crate) rejections: Rejections,
}
