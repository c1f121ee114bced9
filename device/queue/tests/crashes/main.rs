//! Power cuts, failing syncs and full disks at random moments. `FEDECKS_QUEUE_KILLS` is how many power cuts.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, which clippy does not recognize.

mod budget;
mod damage;
mod simulated_disk;

use std::collections::BTreeMap;

use fedecks_device_queue::{InFlight, Item, Limits, Lost, Queue, Record};
use fedecks_protocol::{Lane, StreamId, Tag};

use simulated_disk::SimulatedDisk;

/// What a stream must still contain.
#[derive(Debug, Default)]
struct Model {
    lane: Lane,
    /// The tags by number.
    all: BTreeMap<u64, Tag>,
    confirmed: u64,
    acknowledged: u64,
    lost: Vec<(u64, u64)>,
    last: u64,
}

impl Model {
    fn is_gone(&self, sequence: u64) -> bool {
        sequence <= self.acknowledged
            || self.lost.iter().any(|(from, to)| (*from..=*to).contains(&sequence))
    }
}

type Models = BTreeMap<StreamId, Model>;

fn limits() -> Limits {
    Limits {
        segment_bytes: 600,
        max_bytes: 6000,
        max_messages: 80,
        max_body_bytes: 700,
        free_bytes: 100,
        streams_per_lane: 4,
    }
}

fn lose(models: &mut Models, lost: Lost) {
    if let Some(model) = models.get_mut(&lost.stream) {
        model.lost.push((lost.from, lost.to));
    }
}

/// Everything that was confirmed is there, in order, once and with its tag.
fn check(queue: &mut Queue<SimulatedDisk>, models: &Models, seed: u64) {
    for (stream, model) in models {
        let (mut after, mut seen) = (0, Vec::new());
        loop {
            let window = queue.read(*stream, after, 5, 500).unwrap();
            let Some(end) = window.last() else { break };
            for record in &window {
                assert!(record.sequence > after, "seed {seed}: order");
                after = record.last();
                if let Item::Message { body, .. } = &record.item {
                    let known = model.all.get(&record.sequence);
                    assert_eq!(known, Some(&record.tag), "seed {seed}: number");
                    assert_eq!(body.first().copied(), body.last().copied(), "seed {seed}");
                    seen.push(record.sequence);
                }
            }
            after = end.last();
        }
        for sequence in model.all.range(..=model.confirmed).map(|(sequence, _)| *sequence) {
            let there = seen.contains(&sequence) || model.is_gone(sequence);
            assert!(there, "seed {seed}: {sequence} of {stream:?} is missing: {model:?}");
        }
    }
}

/// One start of the program until the power fails.
fn run(disk: SimulatedDisk, models: &mut Models, seed: u64, ids: &mut u64) -> SimulatedDisk {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut opened = Queue::open(disk, limits());
    assert!(opened.error.is_none());
    check(&mut opened.queue, models, seed);
    let mut queue = opened.queue;
    queue.directory().writes_left = Some(random.u64(1..60));
    let mut streams: Vec<StreamId> = Vec::new();
    for lane in Lane::ALL {
        *ids += 1;
        let stream = StreamId(u128::from(*ids).to_be_bytes());
        models.insert(stream, Model { lane, ..Model::default() });
        streams.push(stream);
    }
    for _ in 0..400 {
        if queue.directory().is_off() {
            break;
        }
        match random.u8(..10) {
            0..6 => {
                let stream = streams[random.usize(..streams.len())];
                *ids += 1;
                let model = models.get_mut(&stream).unwrap();
                let body = vec![*ids as u8; random.usize(1..120)];
                let record = Record {
                    sequence: model.last + 1,
                    tag: Tag(*ids),
                    sent_at_ms: 0,
                    expires_at_ms: 0,
                    item: Item::Message { raw: false, body },
                };
                if let Ok(lost) = queue.append(stream, model.lane, record) {
                    model.last += 1;
                    model.all.insert(model.last, Tag(*ids));
                    lost.into_iter().for_each(|lost| lose(models, lost));
                }
            }
            6 | 7 => {
                if queue.flush().is_ok() {
                    for stream in &streams {
                        let model = models.get_mut(stream).unwrap();
                        model.confirmed = model.last;
                    }
                }
            }
            8 => {
                let index = random.usize(..models.len());
                let (stream, model) = models.iter_mut().nth(index).unwrap();
                if model.last > model.acknowledged {
                    let up_to = random.u64(model.acknowledged + 1..=model.last);
                    model.acknowledged = up_to;
                    let _ = queue.acknowledged(*stream, up_to);
                }
            }
            _ => {
                let sent = random.u64(..10);
                let in_flight: Vec<InFlight> =
                    models.keys().map(|stream| InFlight { stream: *stream, up_to: sent }).collect();
                if let Ok(Some(lost)) = queue.drop_oldest(Lane::Normal, None, &in_flight) {
                    assert!(lost.from > sent, "seed {seed}: in flight");
                    lose(models, lost);
                }
            }
        }
    }
    queue.directory().writes_left = Some(0);
    let mut disk = queue.into_directory();
    disk.restart();
    disk
}

#[test]
fn what_was_flushed_survives_power_cuts() {
    let kills: u64 = std::env::var("FEDECKS_QUEUE_KILLS")
        .ok()
        .map_or(20_000, |kills| kills.parse().expect("a number"));
    let (mut done, mut round) = (0, 0);
    let first: u64 = std::env::var("FEDECKS_QUEUE_SEED")
        .map_or_else(|_| fastrand::u64(..1 << 40), |seed| seed.parse().expect("a number"));
    println!("FEDECKS_QUEUE_SEED={first}");
    while done < kills {
        let seed = first + round;
        let mut disk = SimulatedDisk::new(seed);
        disk.failing_syncs = [0, 5, 20][(seed % 3) as usize];
        disk.capacity = [u64::MAX, 4000][(seed / 2 % 2) as usize];
        let (mut models, mut ids) = (Models::new(), 0);
        for start in 0..10 {
            disk = run(disk, &mut models, seed.wrapping_mul(31).wrapping_add(start), &mut ids);
            done += 1;
        }
        round += 1;
    }
}
