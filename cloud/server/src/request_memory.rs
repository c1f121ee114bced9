//! A bound on the memory that requests to the API and their responses take: in sum, for each API token, and for each
//! address. It knows only numbers; what they are of is in `http/api`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use fedecks_cloud::serve::RateLimitKey;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes the requests in progress may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestMemoryLimits {
    pub(crate) sum: usize,
    pub(crate) per_token: usize,
    pub(crate) per_address: usize,
}

/// The memory that requests take. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct RequestMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: RequestMemoryLimits,
    used: Mutex<Used>,
    /// One large body is parsed at a time, because that takes much memory for a short time.
    parsing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Used {
    sum: usize,
    tokens: HashMap<Arc<str>, usize>,
    addresses: HashMap<RateLimitKey, usize>,
}

/// The memory of one request, which is given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    memory: RequestMemory,
    token: Arc<str>,
    address: RateLimitKey,
    /// What it may not leave less of, in bytes, in the sum.
    reserve: usize,
    bytes: usize,
}

/// Which of the limits a request would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoMemory {
    Sum,
    Token,
    Address,
}

/// This part of the sum is not for messages: 1/8.
const RESERVE: usize = 8;

impl RequestMemory {
    pub(crate) fn new(limits: RequestMemoryLimits) -> Self {
        let parsing = Arc::new(Semaphore::new(1));
        Self(Arc::new(Shared { limits, used: Mutex::default(), parsing }))
    }

    /// For a request of this token, dashboard sessions included, from this address. Those that are `bulk`
    /// leave a part of the sum to others.
    pub(crate) fn request(&self, token: &str, address: IpAddr, bulk: bool) -> Held {
        Held {
            memory: self.clone(),
            token: token.into(),
            address: RateLimitKey::of(address),
            reserve: if bulk { self.0.limits.sum / RESERVE } else { 0 },
            bytes: 0,
        }
    }

    /// How many bytes the requests in progress take.
    pub(crate) fn used(&self) -> usize {
        self.0.used.lock().sum
    }

    /// Waits until no other large body is parsed.
    pub(crate) async fn parsing(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.0.parsing.clone().acquire_owned().await.ok()
    }
}

impl Held {
    pub(crate) fn limits(&self) -> &RequestMemoryLimits {
        &self.memory.0.limits
    }

    /// Holds this number of bytes from now on, if that is within the limits.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), NoMemory> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.take(more),
            None => {
                self.give_back(self.bytes - bytes);
                Ok(())
            }
        }
    }

    /// Takes more bytes, if they are within the limits.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let limits = &self.memory.0.limits;
        let used = &mut *self.memory.0.used.lock();
        let of = |used: Option<&usize>| used.copied().unwrap_or_default().saturating_add(bytes);
        let token = of(used.tokens.get(&self.token));
        let address = of(used.addresses.get(&self.address));
        let sum = used.sum.saturating_add(bytes);
        if token > limits.per_token {
            return Err(NoMemory::Token);
        }
        if address > limits.per_address {
            return Err(NoMemory::Address);
        }
        if sum > limits.sum - self.reserve {
            return Err(NoMemory::Sum);
        }
        used.sum = sum;
        if bytes > 0 {
            used.tokens.insert(self.token.clone(), token);
            used.addresses.insert(self.address, address);
        }
        self.bytes += bytes;
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        if bytes > 0 {
            let used = &mut *self.memory.0.used.lock();
            used.sum -= bytes;
            give_back(&mut used.tokens, self.token.clone(), bytes);
            give_back(&mut used.addresses, self.address, bytes);
            self.bytes -= bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

fn give_back<K: Hash + Eq>(used: &mut HashMap<K, usize>, key: K, bytes: usize) {
    if let Entry::Occupied(mut entry) = used.entry(key) {
        *entry.get_mut() -= bytes;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
    if used.is_empty() {
        // A table that was large once would stay so.
        *used = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_and_everything_is_given_back() {
        let limits = RequestMemoryLimits { sum: 1000, per_token: 500, per_address: 600 };
        let memory = RequestMemory::new(limits);
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let mut one = memory.request("a", here, true);
        assert_eq!(one.take(500), Ok(()));
        assert_eq!(memory.request("a", there, true).take(1), Err(NoMemory::Token));
        assert_eq!(memory.request("b", here, true).take(101), Err(NoMemory::Address));
        let mut other = memory.request("b", there, true);
        assert_eq!(other.take(376), Err(NoMemory::Sum), "a part is left to others");
        assert_eq!(other.take(375), Ok(()));
        assert_eq!(memory.used(), 875);
        assert_eq!(
            (one.set(400), one.set(501), one.set(500)),
            (Ok(()), Err(NoMemory::Token), Ok(()))
        );
        assert_eq!(memory.request("c", there, false).take(125), Ok(()));
        assert_eq!(memory.request("c", there, false).take(126), Err(NoMemory::Sum));
        drop((one, other));
        assert_eq!(memory.used(), 0);
        let used = memory.0.used.lock();
        assert!(used.tokens.is_empty() && used.addresses.is_empty());
    }
}
