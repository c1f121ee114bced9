//! Callers, a device and its connections that do things in random orders: each kept message has the state that a model
//! expects, is handed to the device in order, and is settled once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use fedecks_protocol::{
    Ack, Capabilities, DeliveryFrame, DownFrame, Kept, Lane, Resume, Skip, StreamId, Tag, UpFrame,
};
use fedecks_store::Role;
use fedecks_testing::http::Http;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;
use futures_util::future::join_all;
use http::StatusCode;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::device_messages::{MESSAGES, accepted, cancel, get};
use crate::support::{Server, problem};
use crate::webhooks::Receiver;

const SEEDS: [u64; 4] = [1, 2, 3, 4];

const STEPS: usize = 250;

struct World {
    /// There is always one, except while it restarts.
    server: Option<Server>,
    token: String,
    http: Http,
    random: StdRng,
    /// In the order in which they were accepted.
    posted: Vec<Posted>,
    /// What the device is done with, by the lane.
    positions: BTreeMap<u64, Position>,
    connection: Option<Connection>,
    /// When the last one was cut, which the server sees a little later.
    cut_at: Option<Instant>,
    /// Which messages the device is done with, by lane, in order, and whether it has rejected them.
    done: Vec<(Lane, String, bool)>,
    /// What has been on the wire.
    seen: BTreeSet<String>,
}

#[derive(Debug)]
struct Posted {
    id: String,
    lane: Lane,
    collapse_key: Option<u8>,
    expires_in: u64,
    at: Instant,
    /// With its idempotency key, which is the number of the message.
    request: (String, String),
    /// The device was connected since then.
    was_connected: bool,
    is_cancelled: bool,
    /// Its final state, once it was seen.
    settled: Option<Value>,
}

#[derive(Clone)]
struct Position {
    stream: StreamId,
    up_to: u64,
    tag: Tag,
    rejected: Vec<u64>,
}

struct Connection {
    raw: RawDevice,
    lanes: BTreeMap<u64, Lane>,
    /// Received, and not acknowledged.
    inbox: VecDeque<(Lane, Entry)>,
}

enum Entry {
    Kept(Kept),
    Skip(Skip),
}

impl World {
    async fn new(seed: u64, receiver: &Receiver) -> Self {
        let server = Server::with(&receiver.configuration("kinds = [\"message-settled\"]\n")).await;
        let token = server.token(Role::ALL).await;
        let http = server.http().token(&token).json();
        let mut world = Self {
            server: Some(server),
            token,
            http,
            random: StdRng::seed_from_u64(seed),
            posted: Vec::new(),
            positions: BTreeMap::new(),
            connection: None,
            cut_at: None,
            done: Vec::new(),
            seen: BTreeSet::new(),
        };
        world.connect().await;
        // It is in the store about a second after it was seen.
        let path = "/api/v1/devices/kitchen-1";
        let first_seen = async || world.http.get(path).await.json()["first_seen"].is_string();
        until(async || first_seen().await.then_some(())).await;
        world
    }

    async fn step(&mut self) {
        match self.random.random_range(0..40) {
            0..=9 => self.post().await,
            10..=13 => self.connect().await,
            14..=19 => self.receive().await,
            20..=24 => self.acknowledge().await,
            25 | 26 => self.cut(),
            27..=29 => self.cancel().await,
            30..=35 => self.check_one().await,
            36 | 37 => self.repeat().await,
            38 => sleep(Duration::from_millis(self.random.random_range(0..400))).await,
            _ if self.random.random_range(0..6) == 0 => self.restart().await,
            _ => {}
        }
    }

    async fn post(&mut self) {
        let number = self.posted.len();
        let lane = if self.random.random_range(0..4) == 0 { Lane::Urgent } else { Lane::Normal };
        let expires_in = [1, 2, 3, 600, 600, 600][self.random.random_range(0..6)];
        let collapse_key = [None, None, Some(1), Some(2)][self.random.random_range(0..4)];
        let mut path = format!("{MESSAGES}?keep=true&lane={lane}&expires_in={expires_in}");
        if let Some(key) = collapse_key {
            path.push_str(&format!("&collapse_key={key}"));
        }
        let body = number.to_string();
        let keyed = self.http.clone().header("idempotency-key", &body);
        let id = accepted(&keyed.post(&path, body.clone()).await);
        let is_recent = |at: Instant| at.elapsed() < Duration::from_secs(1);
        let was_just_cut = self.cut_at.is_some_and(is_recent);
        self.posted.push(Posted {
            id,
            lane,
            collapse_key,
            expires_in,
            at: Instant::now(),
            request: (path, body),
            was_connected: self.connection.is_some() || was_just_cut,
            is_cancelled: false,
            settled: None,
        });
    }

    /// The same request, or another one with its key.
    async fn repeat(&mut self) {
        let Some(number) = self.some_message() else { return };
        let Posted { id, request: (path, body), .. } = &self.posted[number];
        let keyed = self.http.clone().header("idempotency-key", &number.to_string());
        assert_eq!(accepted(&keyed.post(path, body.clone()).await), *id);
        let other = keyed.post(path, format!("[{body}]")).await;
        assert_eq!(problem(&other), "422 idempotency-key-reused");
    }

    async fn cancel(&mut self) {
        let Some(number) = self.some_message() else { return };
        let id = self.posted[number].id.clone();
        let answer = cancel(&self.http, &id).await;
        if answer.status == StatusCode::NO_CONTENT {
            let is_done = self.done.iter().any(|(_, done, _)| *done == id);
            assert!(!is_done && !self.is_in_inbox(&id), "{id} has arrived");
            self.posted[number].is_cancelled = true;
            self.check(number).await;
            assert!(self.posted[number].settled.is_some());
            return;
        }
        let (problem, state) = (problem(&answer), get(&self.http, &id).await["state"].clone());
        match problem.as_str() {
            "409 already-sent" => {
                // The device may just have told that it did not arrive.
                let is_done = self.done.iter().any(|(_, done, _)| *done == id);
                assert!(state != "queued" || !(is_done || self.is_in_inbox(&id)), "{id}");
            }
            "409 already-settled" => assert!(is_final(&state), "{id} is {state}"),
            other => panic!("{other}"),
        }
    }

    async fn connect(&mut self) {
        if self.connection.is_some() {
            return;
        }
        let address = self.server.as_ref().unwrap().address;
        let mut raw = RawDevice::connect(address, "kitchen-1").await;
        raw.send(&UpFrame::Hello(Capabilities::KEPT_MESSAGES)).await;
        self.connection = Some(Connection { raw, lanes: BTreeMap::new(), inbox: VecDeque::new() });
        for posted in &mut self.posted {
            posted.was_connected = true;
        }
    }

    /// Takes what has arrived, and answers each Resume.
    async fn receive(&mut self) {
        while let Some(connection) = &mut self.connection {
            let frame = timeout(Duration::from_millis(15), connection.raw.frame()).await;
            let Ok(DownFrame::Delivery(frame)) = frame else { return };
            match frame {
                DeliveryFrame::Resume(resume) => self.resume(resume).await,
                DeliveryFrame::Kept(kept) => {
                    let lane = connection.lanes[&kept.handle];
                    let id = kept.tag.to_string();
                    let is_known = self.posted.iter().any(|it| it.id == id && it.lane == lane);
                    assert!(is_known, "{id} was not posted in the lane {lane}");
                    let was_seen = !self.seen.insert(id.clone());
                    assert!(kept.redelivered || !was_seen, "{id} came before");
                    connection.inbox.push_back((lane, Entry::Kept(kept)));
                }
                DeliveryFrame::Skip(skip) => {
                    let lane = connection.lanes[&skip.handle];
                    connection.inbox.push_back((lane, Entry::Skip(skip)));
                }
                DeliveryFrame::Close { .. }
                | DeliveryFrame::Ack(_)
                | DeliveryFrame::Rewind { .. } => {
                    panic!("{frame:?}")
                }
            }
        }
    }

    async fn resume(&mut self, resume: Resume) {
        let Some(connection) = &mut self.connection else { return };
        let Resume { handle, lane, stream, oldest, .. } = resume;
        let new = Position { stream, up_to: 0, tag: Tag(0), rejected: Vec::new() };
        let position = self.positions.entry(lane.number()).or_insert_with(|| new.clone());
        if position.stream != stream {
            *position = new;
        }
        assert!(oldest <= position.up_to + 1, "nothing is missing in {resume:?}");
        position.rejected.retain(|number| *number >= oldest);
        connection.lanes.insert(handle, lane);
        let ack = ack(handle, position);
        connection.raw.send(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await;
    }

    /// The application takes or rejects a part of what has arrived.
    async fn acknowledge(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let count = self.random.random_range(0..=connection.inbox.len());
        let mut changed = BTreeSet::new();
        for (lane, entry) in connection.inbox.drain(..count) {
            let position = self.positions.get_mut(&lane.number()).unwrap();
            let handle = match entry {
                Entry::Kept(kept) => {
                    assert_eq!(kept.sequence, position.up_to + 1, "no gap, and nothing twice");
                    let rejects = self.random.random_range(0..5) == 0;
                    if rejects {
                        position.rejected.push(kept.sequence);
                    }
                    self.done.push((lane, kept.tag.to_string(), rejects));
                    (position.up_to, position.tag) = (kept.sequence, kept.tag);
                    kept.handle
                }
                Entry::Skip(skip) => {
                    assert_eq!(skip.from, position.up_to + 1, "no gap, and nothing twice");
                    (position.up_to, position.tag) = (skip.to, Tag(0));
                    skip.handle
                }
            };
            changed.insert((handle, lane.number()));
        }
        for (handle, lane) in changed {
            let position = self.positions.get_mut(&lane).unwrap();
            let ack = ack(handle, position);
            connection.raw.send(&UpFrame::Delivery(DeliveryFrame::Ack(ack))).await;
        }
    }

    fn cut(&mut self) {
        if self.connection.take().is_some() {
            self.cut_at = Some(Instant::now());
        }
    }

    async fn restart(&mut self) {
        self.cut();
        let server = self.server.take().unwrap().restart(|| {}).await;
        self.http = server.http().token(&self.token).json();
        self.server = Some(server);
    }

    fn some_message(&mut self) -> Option<usize> {
        let count = self.posted.len();
        (count > 0).then(|| {
            // The latest ones, mostly.
            let from = if self.random.random_range(0..4) == 0 { 0 } else { count.max(6) - 6 };
            self.random.random_range(from..count)
        })
    }

    fn is_in_inbox(&self, id: &str) -> bool {
        let is = |(_, entry): &(Lane, Entry)| matches!(entry, Entry::Kept(kept) if kept.tag.to_string() == id);
        self.connection.as_ref().is_some_and(|connection| connection.inbox.iter().any(is))
    }

    async fn check_one(&mut self) {
        if let Some(number) = self.some_message() {
            self.check(number).await;
        }
    }

    /// Compares the state of a message with what it may be.
    async fn check(&mut self, number: usize) {
        let found = get(&self.http, &self.posted[number].id).await;
        let Posted { id, at, expires_in, .. } = &self.posted[number];
        let (state, reason) = (found["state"].as_str().unwrap(), &found["reason"]);
        let key = self.posted[number].collapse_key;
        let is_replaced = key.is_some()
            && self.posted[number + 1..].iter().any(|later| later.collapse_key == key);
        let done = self.done.iter().find(|(_, done, _)| done == id);
        let done = done.map(|(_, _, rejected)| if *rejected { "rejected" } else { "delivered" });
        // The store has whole seconds.
        let may_be_due = at.elapsed() + Duration::from_secs(1) > Duration::from_secs(*expires_in);
        if let Some(settled) = &self.posted[number].settled {
            assert_eq!(found, *settled, "a final state is final");
        }
        let is_right = match (done, state) {
            // Its acknowledgement may be on its way.
            (Some(expected), state) => state == expected || state == "sent",
            (None, "queued") => {
                let must_be_replaced =
                    is_replaced && !self.posted[number].was_connected && !may_be_due;
                !(self.is_in_inbox(id) || must_be_replaced)
            }
            (None, "sent") => self.posted[number].was_connected,
            (None, "expired") => may_be_due && !self.is_in_inbox(id),
            (None, "dropped") if reason == "cancelled" => self.posted[number].is_cancelled,
            (None, "dropped") => reason == "replaced" && is_replaced && !self.is_in_inbox(id),
            (None, _) => false,
        };
        assert!(is_right, "message {number}: {found}, done: {done:?}");
        assert!(!self.posted[number].is_cancelled || state == "dropped", "{found}");
        if is_final(&found["state"]) {
            assert!(found["settled_at"].is_string(), "{found}");
            self.posted[number].settled = Some(found);
        }
    }

    /// The device takes all that waits; returns the final states.
    async fn finish(mut self, receiver: &mut Receiver) -> BTreeMap<String, (Value, Value)> {
        let end = Instant::now() + Duration::from_secs(20);
        while self.posted.iter().any(|posted| posted.settled.is_none()) {
            assert!(Instant::now() < end, "some messages are not settled");
            self.connect().await;
            self.receive().await;
            self.acknowledge().await;
            for number in 0..self.posted.len() {
                if self.posted[number].settled.is_none() {
                    self.check(number).await;
                }
            }
        }
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.http.get(&format!("{MESSAGES}?limit=7{cursor}")).await.json();
            listed.extend(page["messages"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let expected: Vec<_> = self.posted.iter().rev().map(|it| it.settled.clone()).collect();
        assert_eq!(listed.into_iter().map(Some).collect::<Vec<_>>(), expected);
        for lane in Lane::ALL {
            let place = |id: &String| self.posted.iter().position(|posted| posted.id == *id);
            let done = self.done.iter().filter(|(its_lane, ..)| *its_lane == lane);
            let places: Vec<_> = done.map(|(_, id, _)| place(id)).collect();
            assert!(places.is_sorted_by(|one, next| one < next), "{lane}: {places:?}");
        }
        let (mut settled, mut ids) = (BTreeMap::new(), BTreeSet::new());
        while settled.len() < self.posted.len() {
            let Ok(event) = timeout(Duration::from_secs(10), receiver.next()).await else {
                let is_missing = |posted: &&Posted| !settled.contains_key(&posted.id);
                let missing: Vec<_> = self.posted.iter().filter(is_missing).collect();
                panic!("no event about {missing:?}");
            };
            if !ids.insert(event.header("webhook-id").to_owned()) {
                // A delivery that was in progress at a restart may be repeated.
                continue;
            }
            let event = event.json();
            let id = event["message_id"].as_str().unwrap().to_owned();
            let state = (event["state"].clone(), event["reason"].clone());
            assert_eq!(settled.insert(id.clone(), state), None, "{id} is settled once");
        }
        let states = self.posted.iter().map(|posted| {
            let settled = posted.settled.clone().unwrap();
            (posted.id.clone(), (settled["state"].clone(), settled["reason"].clone()))
        });
        assert_eq!(settled, states.collect());
        settled
    }
}

fn ack(handle: u64, position: &Position) -> Ack {
    let Position { up_to, tag, rejected, .. } = position.clone();
    Ack { handle, up_to, tag, credit_to: up_to + 8, credit_bytes: 32 * 1024, rejected }
}

fn is_final(state: &Value) -> bool {
    ["delivered", "rejected", "expired", "dropped"].iter().any(|word| state == *word)
}

#[expect(clippy::print_stdout, reason = "says which orders failed")]
async fn run(seed: u64) -> BTreeMap<String, (Value, Value)> {
    println!("seed {seed}");
    let mut receiver = Receiver::start().await;
    let mut world = World::new(seed, &receiver).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.finish(&mut receiver).await
}

#[tokio::test]
async fn random_orders_lead_to_the_states_of_the_model() {
    let mut states = BTreeSet::new();
    for settled in join_all(SEEDS.map(|seed| Box::pin(run(seed)))).await {
        assert!(settled.len() > STEPS / 8, "{}", settled.len());
        states.extend(
            settled.into_values().map(|(state, reason)| json!([state, reason]).to_string()),
        );
    }
    // The orders were random enough to have all of them.
    let all = [
        r#"["delivered",null]"#,
        r#"["dropped","cancelled"]"#,
        r#"["dropped","replaced"]"#,
        r#"["expired",null]"#,
        r#"["rejected",null]"#,
    ];
    assert_eq!(states.iter().map(String::as_str).collect::<Vec<_>>(), all);
}
