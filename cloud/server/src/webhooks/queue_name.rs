//! The names of the webhooks' queues in the store.

/// What they begin with.
pub(super) const PREFIX: &str = "webhook ";

/// The queue of the webhook of this name.
pub(crate) fn queue_name(webhook: &str) -> String {
    format!("{PREFIX}{webhook}")
}
