//! What comes through the server's API: messages, kept messages also to devices that are away, and questions.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use fedecks_testing::http::Http;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::device::World;
use super::tally::Count;
use crate::error::Result;
use crate::identity::device_id;

/// How often something is sent.
const EVERY: Duration = Duration::from_millis(500);

/// How many devices are tried until one is as wanted.
const TRIES: usize = 200;

/// How many calls are in progress at most. A device that has fallen silent does not answer its question in time.
const AT_ONCE: usize = 32;

/// Sends until all have to leave, and waits for the answers. No device gets anything before it has come once.
pub(super) async fn send(world: Arc<World>, api: Http, seed: u64) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving = world.leaving.clone();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            _ = leaving.wait_for(|leaving| *leaving) => break,
            _ = due.tick() => {}
        }
        while let Some(done) = running.try_join_next() {
            done?;
        }
        let what = What::choose(&mut random);
        let index = what.device(&world, &mut random);
        if let (Some(index), true) = (index, running.len() < AT_ONCE) {
            running.spawn(call(world.clone(), api.clone(), what, index));
        }
    }
    while let Some(done) = running.join_next().await {
        done?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Message,
    Kept,
    /// Kept for a device that is away.
    KeptForAway,
    Question,
}

impl What {
    fn choose(random: &mut Rng) -> Self {
        match random.u8(..5) {
            0 => Self::Message,
            1 => Self::Kept,
            2 => Self::KeptForAway,
            _ => Self::Question,
        }
    }

    fn device(self, world: &World, random: &mut Rng) -> Option<usize> {
        let is_connected = self != Self::KeptForAway;
        let mut tried = (0..TRIES).map(|_| random.usize(..world.connected.len()));
        tried.find(|index| world.is_connected(*index) == is_connected)
    }

    fn path(self) -> &'static str {
        match self {
            Self::Message => "messages",
            Self::Kept | Self::KeptForAway => "messages?keep=true",
            Self::Question => "requests?timeout=5",
        }
    }
}

async fn call(world: Arc<World>, api: Http, what: What, index: usize) {
    let tally = &world.tally;
    let called = async {
        let path = format!("/api/v1/devices/{}/{}", device_id(index)?, what.path());
        let answer = api.try_open(Method::POST, &path, "\"stop\"").await.ok_or("no answer")?;
        let status = answer.status().as_u16();
        Ok::<_, crate::error::Error>((status, answer.text().await?))
    };
    match (what, called.await) {
        (What::Message, Ok((202, _))) => tally.count(Count::MessagesAccepted),
        (What::Kept | What::KeptForAway, Ok((202, _))) => tally.count(Count::KeptAccepted),
        (What::Question, Ok((200, _))) => tally.count(Count::QuestionsAnswered),
        // The device has left, or fallen silent, or has not been there yet.
        (What::Message | What::Question, Ok((409 | 504, _))) => tally.count(Count::TooLate),
        (What::KeptForAway, Ok((404, _))) => tally.count(Count::TooLate),
        (what, other) => tally.unexpected(format!("API, {what:?} to {index}: {other:?}")),
    }
}
