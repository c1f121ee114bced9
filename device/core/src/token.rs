//! The token in memory and on disk.

use fedecks_protocol::IssuedToken;

/// The token in memory and what is still to be done about the one on disk. One order to the store
/// is under way at a time; the newest one waiting replaces older ones.
#[derive(Debug, Default)]
pub(crate) struct TokenKeeper {
    token: Option<IssuedToken>,
    running: Option<StoreOrder>,
    waiting: Option<StoreOrder>,
}

/// Whether the store has what is known here: the token, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It has, unless it was never asked.
    Yes,
    /// It was told and has not answered.
    UnderWay,
    /// It could not be written; it is told again.
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoreOrder {
    Keep(IssuedToken),
    Forget,
}

impl TokenKeeper {
    pub(crate) fn get(&self) -> Option<&IssuedToken> {
        self.token.as_ref()
    }

    pub(crate) fn stored(&self) -> Stored {
        match (&self.running, &self.waiting) {
            (None, None) => Stored::Yes,
            (None, Some(_)) => Stored::Failed,
            (Some(_), _) => Stored::UnderWay,
        }
    }

    /// Takes over what the store had.
    pub(crate) fn loaded(&mut self, token: IssuedToken) {
        self.token = Some(token);
    }

    /// A new token: gives what to tell the store now, if it is free.
    pub(crate) fn replace(&mut self, token: IssuedToken) -> Option<StoreOrder> {
        self.token = Some(token.clone());
        self.order(StoreOrder::Keep(token))
    }

    /// No token any more: gives what to tell the store now, if it is free.
    pub(crate) fn forget(&mut self) -> Option<StoreOrder> {
        self.token = None;
        self.order(StoreOrder::Forget)
    }

    /// The store has finished an order: gives the next one to tell it at once. After a failure the
    /// order stays, unless a newer one took its place; [`TokenKeeper::retry`] gives it again.
    pub(crate) fn finished(&mut self, success: bool) -> Option<StoreOrder> {
        let done = self.running.take();
        if self.waiting.is_none() && !success {
            self.waiting = done;
            return None;
        }
        self.retry()
    }

    /// What the store is to be told now.
    pub(crate) fn retry(&mut self) -> Option<StoreOrder> {
        if self.running.is_some() {
            return None;
        }
        self.running = self.waiting.take();
        self.running.clone()
    }

    fn order(&mut self, order: StoreOrder) -> Option<StoreOrder> {
        self.waiting = Some(order);
        self.retry()
    }
}
