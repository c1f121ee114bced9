//! The idle HTTP connections of a server, and which of them give way to others. It closes none itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::rate_limit_key::RateLimitKey;

/// The number of an idle time, in the order in which they began.
pub(crate) type Ticket = u64;

/// A connection that can give way to others.
pub(crate) trait Evict: Debug + Send + Sync {
    /// It has to give way, if it still is in the idle time with this ticket. It is off the list already.
    fn evict(&self, ticket: Ticket);
}

/// The connection that was idle for longest, off the list.
pub(crate) type Oldest = (Ticket, Arc<dyn Evict>);

/// Of all connections, and of those of one address, an eighth may be idle.
const SHARE: u32 = 8;

/// The idle connections. Those of trusted proxies are not limited, since a proxy keeps as many as it needs, and
/// give way last.
#[derive(Debug)]
pub(crate) struct IdleConnections {
    lists: Mutex<Lists>,
    most: usize,
    most_per_client: u32,
}

#[derive(Debug, Default)]
struct Lists {
    next: Ticket,
    strangers: BTreeMap<Ticket, (Arc<dyn Evict>, RateLimitKey)>,
    proxies: BTreeMap<Ticket, Arc<dyn Evict>>,
    /// How many of the strangers each client has.
    clients: HashMap<RateLimitKey, u32>,
}

impl IdleConnections {
    /// One may be idle, however few connections there may be.
    pub(crate) fn new(connections: u32, connections_per_address: u32) -> Self {
        Self {
            lists: Mutex::default(),
            most: (connections / SHARE).max(1) as usize,
            most_per_client: (connections_per_address / SHARE).max(1),
        }
    }

    /// Whether the client may have one more.
    pub(crate) fn has_room(&self, client: RateLimitKey) -> bool {
        let lists = self.lists.lock();
        lists.clients.get(&client).is_none_or(|count| *count < self.most_per_client)
    }

    /// Puts a connection on the list; its client is `None` if it is a trusted proxy's. If there are too many,
    /// also returns the one that was idle for longest, which has to give way.
    pub(crate) fn enter(
        &self,
        connection: Arc<dyn Evict>,
        client: Option<RateLimitKey>,
    ) -> (Ticket, Option<Oldest>) {
        let mut lists = self.lists.lock();
        let ticket = lists.next;
        lists.next += 1;
        let Some(client) = client else {
            lists.proxies.insert(ticket, connection);
            return (ticket, None);
        };
        let is_full = lists.strangers.len() >= self.most;
        let oldest = if is_full { lists.oldest_stranger() } else { None };
        *lists.clients.entry(client).or_insert(0) += 1;
        lists.strangers.insert(ticket, (connection, client));
        (ticket, oldest)
    }

    /// Takes a connection off the list, if it is on it.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let mut lists = self.lists.lock();
        if let Some((_, client)) = lists.strangers.remove(&ticket) {
            lists.forget(client);
        } else {
            lists.proxies.remove(&ticket);
        }
    }

    /// Lets the connection give way that was idle for longest.
    pub(crate) fn evict_oldest(&self) {
        let mut lists = self.lists.lock();
        let oldest = lists.oldest_stranger().or_else(|| lists.proxies.pop_first());
        drop(lists);
        if let Some((ticket, connection)) = oldest {
            connection.evict(ticket);
        }
    }

    pub(crate) fn len(&self) -> usize {
        let lists = self.lists.lock();
        lists.strangers.len() + lists.proxies.len()
    }
}

impl Lists {
    fn oldest_stranger(&mut self) -> Option<Oldest> {
        let (ticket, (connection, client)) = self.strangers.pop_first()?;
        self.forget(client);
        Some((ticket, connection))
    }

    fn forget(&mut self, client: RateLimitKey) {
        if let Entry::Occupied(mut count) = self.clients.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Connection(Mutex<Vec<Ticket>>);

    impl Evict for Connection {
        fn evict(&self, ticket: Ticket) {
            self.0.lock().push(ticket);
        }
    }

    fn client(number: u8) -> RateLimitKey {
        RateLimitKey::of([192, 0, 2, number].into())
    }

    #[test]
    fn strangers_give_way_before_proxies_and_the_longest_idle_first() {
        let idle = IdleConnections::new(80, 80);
        let connections: [Arc<Connection>; 3] = Default::default();
        let (proxys, _) = idle.enter(connections[0].clone(), None);
        let (first, _) = idle.enter(connections[1].clone(), Some(client(1)));
        let (second, _) = idle.enter(connections[2].clone(), Some(client(1)));
        for evicted in [(1, first), (2, second), (0, proxys)] {
            idle.evict_oldest();
            assert_eq!(*connections[evicted.0].0.lock(), [evicted.1]);
        }
        idle.evict_oldest();
        assert_eq!(idle.len(), 0);
        assert!(idle.lists.lock().clients.is_empty());
    }

    #[test]
    fn an_eighth_may_be_idle_in_sum_and_of_each_client() {
        let idle = IdleConnections::new(32, 16);
        let enter = |client| idle.enter(Arc::<Connection>::default(), Some(client));
        let tickets = [enter(client(1)).0, enter(client(1)).0, enter(client(2)).0];
        assert!(!idle.has_room(client(1)) && idle.has_room(client(2)));
        assert!(enter(client(3)).1.is_none());
        let (oldest, _) = enter(client(4)).1.unwrap();
        assert_eq!(oldest, tickets[0]);
        assert!(idle.has_room(client(1)));
        idle.leave(tickets[0]);
        idle.leave(tickets[1]);
        assert_eq!(idle.len(), 3);
        assert!(!idle.lists.lock().clients.contains_key(&client(1)));
    }
}
