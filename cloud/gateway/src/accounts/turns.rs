//! Whose password is checked next: a bounded queue that is fair between addresses. What a check is, it
//! does not know.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fedecks_edge::RateLimitKey;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A limited number of turns at a time. Addresses take turns, however many checks each of them asks for;
/// and so do those that have logged in to the account before and those that have not.
#[derive(Debug)]
pub(super) struct Turns(Arc<Shared>);

/// The right to do one check. Dropping it passes the turn on.
#[derive(Debug)]
pub(super) struct Turn(Arc<Shared>);

/// Who asks for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) address: Option<RateLimitKey>,
    /// Whether it has logged in to the account before.
    pub(super) known: bool,
}

#[derive(Debug)]
struct Shared {
    /// The number of turns at a time.
    parallel: usize,
    /// How many may wait, of each kind of asker.
    max_waiting: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    running: usize,
    known: Lanes,
    others: Lanes,
    /// Whether the next turn is one of the others', if one of them waits.
    others_next: bool,
}

/// A lane for each address that waits.
#[derive(Debug, Default)]
struct Lanes {
    waiting: usize,
    lanes: HashMap<Option<RateLimitKey>, VecDeque<oneshot::Sender<Turn>>>,
    /// The addresses in `lanes`, in the order of their turns.
    order: VecDeque<Option<RateLimitKey>>,
}

impl Turns {
    pub(super) fn new(parallel: usize, max_waiting: usize) -> Self {
        Self(Arc::new(Shared { parallel, max_waiting, queue: Mutex::default() }))
    }

    /// Waits for a turn. Returns `None` if too many wait: then the latest of the address with the most
    /// is turned away, which need not be this one.
    pub(super) async fn wait(&self, asker: Asker) -> Option<Turn> {
        let turn = {
            let mut queue = self.0.queue.lock();
            if queue.running < self.0.parallel {
                queue.running += 1;
                return Some(Turn(self.0.clone()));
            }
            let lanes = if asker.known { &mut queue.known } else { &mut queue.others };
            lanes.push(asker.address, self.0.max_waiting)?
        };
        turn.await.ok()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let queue = self.0.queue.lock();
        queue.known.waiting + queue.others.waiting
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        loop {
            let next = {
                let mut queue = self.0.queue.lock();
                let next = queue.next();
                if next.is_none() {
                    queue.running -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(self.0.clone())) {
                Ok(()) => return,
                // The one that waited for it is gone. It would pass itself on when it is dropped.
                Err(turn) => std::mem::forget(turn),
            }
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.others_next = !self.others_next;
        if !self.others_next {
            self.others.pop().or_else(|| self.known.pop())
        } else {
            self.known.pop().or_else(|| self.others.pop())
        }
    }
}

impl Lanes {
    fn push(
        &mut self,
        address: Option<RateLimitKey>,
        max: usize,
    ) -> Option<oneshot::Receiver<Turn>> {
        if self.waiting >= max {
            let own = self.lanes.get(&address).map_or(0, VecDeque::len);
            let longest = self.lanes.values_mut().max_by_key(|lane| lane.len())?;
            if longest.len() <= own + 1 {
                return None;
            }
            longest.pop_back();
            self.waiting -= 1;
        }
        let (turn, wait) = oneshot::channel();
        let lane = self.lanes.entry(address).or_default();
        if lane.is_empty() {
            self.order.push_back(address);
        }
        lane.push_back(turn);
        self.waiting += 1;
        Some(wait)
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let address = self.order.pop_front()?;
        let lane = self.lanes.get_mut(&address)?;
        let turn = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&address);
        } else {
            self.order.push_back(address);
        }
        self.waiting -= 1;
        turn
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    fn asker(last: u8, known: bool) -> Asker {
        Asker { address: Some(RateLimitKey::of([192, 0, 2, last].into())), known }
    }

    /// Waits in the queue, from now on.
    fn queued(turns: &Arc<Turns>, asker: Asker) -> BoxFuture<'static, Option<Turn>> {
        let turns = turns.clone();
        let mut waiting = async move { turns.wait(asker).await }.boxed();
        match (&mut waiting).now_or_never() {
            Some(done) => std::future::ready(done).boxed(),
            None => waiting,
        }
    }

    /// Passes the turn on until no one waits; who had it, in order.
    async fn served(
        mut turn: Turn,
        mut waiting: Vec<(&'static str, BoxFuture<'static, Option<Turn>>)>,
    ) -> Vec<&'static str> {
        let mut names = Vec::new();
        while !waiting.is_empty() {
            drop(turn);
            let next = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(index, (name, waiting))| Some((index, *name, waiting.now_or_never()?)));
            let (index, name, next) = next.expect("someone has the turn");
            drop(waiting.remove(index));
            names.push(name);
            turn = next.expect("a turn");
        }
        names
    }

    #[tokio::test]
    async fn addresses_take_turns_however_much_they_ask_for() {
        let turns = Arc::new(Turns::new(1, 10));
        let turn = turns.wait(asker(1, false)).await.unwrap();
        let mut waiting = Vec::new();
        for (name, last) in [("a", 1), ("a", 1), ("a", 1), ("b", 2), ("b", 2), ("c", 3)] {
            waiting.push((name, queued(&turns, asker(last, false))));
        }
        assert_eq!(served(turn, waiting).await, ["a", "b", "c", "a", "b", "a"]);
        assert_eq!(turns.waiting(), 0);
    }

    #[tokio::test]
    async fn strangers_do_not_keep_known_addresses_waiting() {
        let turns = Arc::new(Turns::new(1, 10));
        let turn = turns.wait(asker(1, false)).await.unwrap();
        let mut waiting = Vec::new();
        for last in 1..=4 {
            waiting.push(("stranger", queued(&turns, asker(last, false))));
        }
        for last in 5..=6 {
            waiting.push(("known", queued(&turns, asker(last, true))));
        }
        let order = served(turn, waiting).await;
        assert_eq!(order, ["known", "stranger", "known", "stranger", "stranger", "stranger"]);
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_the_address_with_the_most() {
        let turns = Arc::new(Turns::new(1, 4));
        let turn = turns.wait(asker(1, false)).await.unwrap();
        let mut greedy: Vec<_> = (0..4).map(|_| queued(&turns, asker(1, false))).collect();
        assert!(queued(&turns, asker(1, false)).await.is_none(), "its own");
        let modest = [2, 3].map(|last| queued(&turns, asker(last, false)));
        for evicted in greedy.drain(2..) {
            assert!(evicted.await.is_none());
        }
        assert!(queued(&turns, asker(2, false)).await.is_none(), "it would be one of the longest");
        let mut waiting: Vec<_> = greedy.into_iter().map(|wait| ("greedy", wait)).collect();
        waiting.extend(modest.map(|wait| ("modest", wait)));
        assert_eq!(served(turn, waiting).await, ["greedy", "modest", "modest", "greedy"]);
    }

    #[tokio::test]
    async fn a_turn_whose_asker_is_gone_is_passed_on() {
        let turns = Arc::new(Turns::new(1, 4));
        let turn = turns.wait(asker(1, false)).await.unwrap();
        let gone = queued(&turns, asker(2, false));
        let gone_later = queued(&turns, asker(3, false));
        let stays = queued(&turns, asker(4, false));
        drop(gone);
        drop(turn);
        drop(gone_later);
        assert!(stays.await.is_some());
        assert!(turns.wait(asker(5, false)).await.is_some(), "none is lost");
    }
}
