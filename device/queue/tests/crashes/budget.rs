//! What a day offline costs: a message of 100 bytes every 2 s, written every 5 s.

use fedecks_device_queue::{Item, Limits, Queue, Record};
use fedecks_protocol::{Lane, StreamId, Tag};

use crate::simulated_disk::SimulatedDisk;

const MESSAGES: u64 = 43_200;
const FLUSHES: u64 = 17_280;
const BODY: usize = 100;

#[test]
fn day_offline_writes_at_most_three_times_the_payload() {
    for seed in 0..2 {
        let disk = SimulatedDisk::new(seed);
        let mut queue = Queue::open(disk, Limits::default()).queue;
        let mut sequence = 0;
        for flush in 1..=FLUSHES {
            while sequence < flush * MESSAGES / FLUSHES {
                sequence += 1;
                let item = Item::Message { raw: false, body: vec![1; BODY] };
                let tag = Tag(sequence);
                let record = Record { sequence, tag, sent_at_ms: 0, expires_at_ms: 0, item };
                queue.append(StreamId([1; 16]), Lane::Normal, record).unwrap();
            }
            queue.flush().unwrap();
        }
        assert_eq!(queue.usage().messages, MESSAGES);
        let disk = queue.into_directory();
        let factor = disk.written_bytes as f64 / (MESSAGES as f64 * BODY as f64);
        println!(
            "in place: {}, {} bytes, factor {factor:.2}, {} syncs",
            disk.in_place, disk.written_bytes, disk.syncs
        );
        assert!(factor <= 3.0, "{factor}");
        assert!(disk.syncs <= FLUSHES + 2 * (1 + disk.written_bytes / (256 * 1024)));
    }
}
