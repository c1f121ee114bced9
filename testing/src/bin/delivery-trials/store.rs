//! The cloud's store: backups of it, and what is gone when one is restored.

use std::collections::{BTreeMap, BTreeSet};

use fedecks_testing::history::{Direction, Entry, Erased, Fate, History, Message, Program};
use fedecks_testing::http::Http;

use crate::cloud_application::{self, Cursor};
use crate::keep::Keep;
use crate::pair::Pair;

/// What a store holds for the device of the trials.
struct Content {
    /// The log of messages from it, by their ids.
    log: BTreeMap<String, Message>,
    /// Where the log ends.
    end: String,
    /// Messages to it, with their final state if they have one.
    states: BTreeMap<String, Option<Fate>>,
}

impl Content {
    async fn read(api: &Http, keep: Keep) -> Self {
        let (mut log, mut end) = (BTreeMap::new(), "0".to_owned());
        loop {
            let (received, next) = cloud_application::log(api, keep, &end).await.unwrap();
            if received.is_empty() {
                break;
            }
            log.extend(received.into_iter().filter_map(|it| {
                let (lane, number) = (it.lane, it.number);
                Some((it.id?, Message { direction: Direction::Up, lane, number }))
            }));
            end = next;
        }
        Self { log, end, states: cloud_application::states(api, keep).await }
    }
}

/// Restores the newest backup while the server, which was killed, is away. Enters what is gone.
pub(crate) async fn restore(pair: &mut Pair, keep: Keep, history: &History, cursor: &Cursor) {
    let before = read(pair, keep).await;
    report_fates(&before.states, history);
    pair.restore_store().await;
    let after = read(pair, keep).await;
    let is_gone = |id: &&String| !after.log.contains_key(*id);
    let messages: BTreeSet<Message> =
        before.log.keys().filter(is_gone).map(|id| before.log[id]).collect();
    let states = before.states.iter();
    let waited = states.filter(|(id, fate)| fate.is_none() && !after.states.contains_key(*id));
    let ids = waited.map(|(id, _)| id.clone()).collect();
    let (holder, brought) = (Program::Cloud, BTreeSet::new());
    history.add(Entry::Erased(Erased { holder, messages, ids, brought }));
    cursor.set_back(&after.end);
}

/// Reads a store by a server that the device does not reach.
async fn read(pair: &mut Pair, keep: Keep) -> Content {
    let address = pair.cloud.address;
    pair.cloud.start_at(([127, 0, 0, 1], 0).into()).await;
    let content = Content::read(&pair.api_at(pair.cloud.address), keep).await;
    pair.cloud.kill().await;
    pair.cloud.address = address;
    content
}

/// Enters the final states of messages to the device.
pub(crate) fn report_fates(states: &BTreeMap<String, Option<Fate>>, history: &History) {
    for (id, message) in history.ids(Direction::Down) {
        if let Some(fate) = states.get(&id).copied().flatten() {
            history.add(Entry::Reported(message, fate));
        }
    }
}
