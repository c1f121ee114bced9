//! That messages survive their encoding, and that nothing else is decoded.

use super::*;
use fedecks_cloud::messaging::{BackplaneError, ConnectionId, DeliverError};

fn presence(device: &str, stamp: u64) -> Arc<Presence> {
    let connection = ConnectionId::from_parts(stamp, NodeId(7));
    Arc::new(Presence::new(DeviceId::new(device).unwrap(), connection))
}

fn announcements() -> Vec<Announcement> {
    let from = Instance(u64::MAX);
    let changes = vec![
        Change::Arrived(presence("a", 1)),
        Change::Left(presence("kitchen-1", u64::MAX)),
        Change::NodeLeft(NodeId(3)),
    ];
    vec![
        Announcement::Heartbeat { from, sequence: 5, hello: true },
        Announcement::Changes { from, sequence: 6, changes },
        Announcement::Bye { from },
    ]
}

fn letters() -> Vec<Letter> {
    let (from, node, device) = (Instance(1), NodeId(2), DeviceId::new("a").unwrap());
    let devices = vec![presence("a", 1), presence("b", 2)];
    let call = |call| Letter::Call { from, id: 9, node, device: device.clone(), call };
    let reason =
        CloseReason::retry_after(fedecks_protocol::CloseCode::Restart, Duration::from_secs(3));
    let ask = Call::Ask { question: Term::from("uptime"), timeout: Duration::from_secs(30) };
    vec![
        Letter::AskSnapshot { from, nonce: 4 },
        Letter::Snapshot(Part { from, nonce: 4, sequence: 5, index: 1, last: true, devices }),
        call(Call::Deliver(Payload::Message(Term::from("hello").into()))),
        call(Call::Deliver(Payload::Raw(vec![1, 2].into()))),
        call(Call::Close(reason)),
        call(Call::Wake),
        call(ask),
        Letter::Cancel { from, id: 9 },
    ]
}

#[test]
fn messages_survive_their_encoding() {
    for announcement in announcements() {
        assert_eq!(Announcement::decode(&announcement.encode()), Some(announcement));
    }
    for letter in letters() {
        let bytes = letter.encode().unwrap();
        let decoded = Letter::decode(&bytes).unwrap();
        assert_eq!(decoded.encode().unwrap(), bytes, "{letter:?}");
    }
    let failed = Answer::Delivered(Err(DeliverError::Backplane(BackplaneError::new("down"))));
    for answer in [failed, Answer::Delivered(Ok(())), Answer::Closed(true)] {
        assert_eq!(Answer::decode(&answer.encode(Instance(1))), Some(answer));
    }
    let (topic, message) = (Topic::from("a topic"), Message::from(Term::from("hello")));
    let bytes = OnTopic::encode(Instance(1), &topic, &message).unwrap();
    let decoded = OnTopic::decode(&bytes).unwrap();
    assert_eq!((decoded.topic, decoded.message), (topic, message));
    assert_eq!(OnTopic::sender(&bytes), Some(Instance(1)));
}

#[test]
fn a_change_is_not_bigger_than_it_says() {
    for change in [Change::Arrived(presence("a", 1)), Change::NodeLeft(NodeId(1))] {
        let changes = |changes| Announcement::Changes { from: Instance(1), sequence: 1, changes };
        let empty = changes(Vec::new()).encode().len();
        assert!(changes(vec![change.clone()]).encode().len() <= empty + change.size());
    }
}

#[test]
fn other_versions_and_malformed_messages_are_not_decoded() {
    let mut all: Vec<Vec<u8>> = announcements().iter().map(Announcement::encode).collect();
    all.extend(letters().iter().map(|letter| letter.encode().unwrap()));
    let answer = Answer::Answered(Err(fedecks_cloud::messaging::RequestError::TimedOut));
    all.push(answer.encode(Instance(1)));
    for bytes in all {
        let is_decoded = |bytes: &[u8]| {
            Announcement::decode(bytes).is_some()
                || Letter::decode(bytes).is_some()
                || Answer::decode(bytes).is_some()
        };
        assert!(is_decoded(&bytes));
        let mut newer = bytes.clone();
        newer[0] += 1;
        assert!(!is_decoded(&newer));
        assert!(OnTopic::decode(&newer).is_none());
        // Whatever is cut off or changed, nothing panics.
        for end in 0..bytes.len() {
            is_decoded(&bytes[..end]);
            OnTopic::decode(&bytes[..end]);
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[end] ^= 1 << bit;
                is_decoded(&changed);
                OnTopic::decode(&changed);
            }
        }
    }
}
