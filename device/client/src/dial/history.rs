//! The history of the cloud's addresses, shared by the attempts and the connections that follow them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use fedecks_device_core::{AddressHistory, Candidate};

use crate::clock::BootClock;

/// Which addresses have failed, in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Arc<Mutex<AddressHistory>>);

/// A connection to an address that counts as failed, until the cloud has answered there.
#[derive(Debug)]
pub(crate) struct Probation {
    history: History,
    address: SocketAddr,
}

impl History {
    pub(super) fn connected(&self, address: SocketAddr) -> Probation {
        self.with(|history| history.connected(BootClock::now(), address));
        Probation { history: self.clone(), address }
    }

    pub(super) fn order(&self, addresses: &[SocketAddr]) -> Vec<Candidate> {
        self.with(|history| history.order(BootClock::now(), addresses))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut AddressHistory) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probation {
    /// The cloud has answered.
    pub(crate) fn pass(self) {
        self.history.with(|history| history.answered(self.address));
    }
}
