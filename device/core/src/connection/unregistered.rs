//! The state without a token or a login: waits for one.

use super::next::Next;
use super::retry_policy::Retry;
use super::shared::Shared;
use super::token_store::Loaded;
use crate::event::Event;

#[derive(Debug)]
pub(super) struct Unregistered;

impl Unregistered {
    pub(super) fn begin(cx: &mut Shared) -> Self {
        // A login may have ended before the store has answered.
        if cx.tokens.has_looked() {
            cx.out.emit(Event::Unregistered);
        }
        Self
    }

    pub(super) fn on_loaded(&self, loaded: Loaded, cx: &mut Shared) -> Option<Next> {
        match loaded {
            Loaded::Token => Some(Next::Waiting(Retry::Soon)),
            Loaded::FirstMiss => {
                cx.out.emit(Event::Unregistered);
                None
            }
            Loaded::Nothing => None,
        }
    }
}
