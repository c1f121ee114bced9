//! Kept messages and the end-to-end keep-alive.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind")]

use fedecks_protocol::{Ack, Content, Kept, Resume, Skip};

use crate::machine::*;

const CLOUD: InstallationId = InstallationId([7; 16]);

fn offering(installation: InstallationId) -> Welcome {
    let capabilities = Capabilities::ALL;
    Welcome { delivery: Some(DeliveryOffer { capabilities, installation }), ..welcome() }
}

fn keep(it: &mut Machine, lane: Lane, size: usize) -> Result<Tag, KeepError> {
    keep_for(it, lane, size, secs(3600))
}

fn keep_for(
    it: &mut Machine,
    lane: Lane,
    size: usize,
    expires_in: Duration,
) -> Result<Tag, KeepError> {
    let content = NewContent::Raw(vec![7; size]);
    it.core.handle_keep(
        it.now,
        KeepId(1),
        NewKept { lane, content, sent_at_ms: None, expires_in, place: Place::Memory },
    );
    let mut answer = None;
    while let Some(action) = it.core.poll_action() {
        match action {
            Action::AnswerKeep { id: KeepId(1), result } => answer = Some(result),
            Action::Settle { settled: Settled::Voided(SkipReason::QueueFull), .. } => {}
            action => panic!("{action:?}"),
        }
    }
    answer.expect("an answer")
}

/// What is sent when the link takes more, and what is settled.
fn written(it: &mut Machine) -> (Vec<UpFrame>, Vec<(Tag, Settled)>) {
    let (mut frames, mut settled) = (Vec::new(), Vec::new());
    loop {
        it.core.handle_writable(it.now);
        let before = frames.len();
        while let Some(action) = it.core.poll_action() {
            match action {
                Action::Transmit { message: Outgoing::Frame(bytes), .. } => {
                    frames.push(Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap());
                }
                Action::Settle { tag, settled: how } => settled.push((tag, how)),
                _ => {}
            }
        }
        if frames.len() == before {
            return (frames, settled);
        }
    }
}

fn ack(handle: u64, up_to: u64, tag: Tag) -> DownFrame {
    let (credit_to, credit_bytes, rejected) = (up_to + 64, 256 * 1024, Vec::new());
    DownFrame::Delivery(DeliveryFrame::Ack(Ack {
        handle,
        up_to,
        tag,
        credit_to,
        credit_bytes,
        rejected,
    }))
}

fn connect(it: &mut Machine, attempt: u64, welcome: Welcome) {
    it.dialed(attempt, Ok(())).frame(attempt, &DownFrame::Welcome(welcome));
    assert!(
        written(it)
            .0
            .iter()
            .all(|frame| !matches!(frame, UpFrame::Delivery(DeliveryFrame::Ack(_))))
    );
}

fn kept_numbers(frames: &[UpFrame]) -> Vec<(u64, bool)> {
    let number = |frame: &UpFrame| match frame {
        UpFrame::Delivery(DeliveryFrame::Kept(kept)) => Some((kept.sequence, kept.redelivered)),
        _ => None,
    };
    frames.iter().filter_map(number).collect()
}

#[test]
fn what_is_kept_without_a_connection_is_sent_after_the_welcome() {
    let mut it = Machine::dialing();
    let tags: Vec<_> = (1..=3).map(|size| keep(&mut it, Lane::Normal, size).unwrap()).collect();
    assert_eq!(it.core.queue().messages, 3);
    it.dialed(1, Ok(())).frame(1, &DownFrame::Welcome(offering(CLOUD)));
    let (frames, _) = written(&mut it);
    assert_eq!(frames[0], UpFrame::Hello(Capabilities::ALL));
    let UpFrame::Delivery(DeliveryFrame::Resume(resume)) = &frames[1] else { panic!("{frames:?}") };
    let Resume { handle, lane, stream, .. } = *resume;
    assert_eq!((handle, lane, resume.oldest, resume.newest), (1, Lane::Normal, 1, 3));
    for (place, tag) in tags.iter().enumerate() {
        let content = Content::Raw(vec![7; place + 1]);
        let (sequence, tag) = (place as u64 + 1, *tag);
        let (sent_at_ms, redelivered) = (None, false);
        let kept = Kept { handle: 1, sequence, tag, sent_at_ms, redelivered, content };
        assert_eq!(frames[place + 2], UpFrame::Delivery(DeliveryFrame::Kept(kept)));
    }
    it.frame(1, &ack(1, 2, tags[1]));
    let (frames, settled) = written(&mut it);
    assert!(frames.is_empty());
    assert_eq!(settled, [(tags[0], Settled::Delivered), (tags[1], Settled::Delivered)]);

    // The rest comes again, flagged, once the cloud has said where it is.
    it.broken(1).discard_outputs();
    it.wake_after(it.wait()).discard_outputs();
    it.dialed(2, Ok(())).frame(2, &DownFrame::Welcome(offering(CLOUD)));
    let (frames, _) = written(&mut it);
    let resumed = Resume { stream, oldest: 3, newest: 3, ..*resume };
    assert_eq!(frames[1..], [UpFrame::Delivery(DeliveryFrame::Resume(resumed))]);
    it.frame(2, &ack(1, 2, tags[1]));
    assert_eq!(kept_numbers(&written(&mut it).0), [(3, true)]);
    it.frame(2, &ack(1, 3, tags[2]));
    assert_eq!(written(&mut it).1, [(tags[2], Settled::Delivered)]);
    assert_eq!(it.core.queue(), QueueStatus::default());
}

#[test]
fn a_cloud_that_offers_nothing_gets_nothing_of_it() {
    let mut it = Machine::dialing();
    keep(&mut it, Lane::Normal, 1).unwrap();
    it.dialed(1, Ok(())).frame(1, &DownFrame::Welcome(welcome()));
    assert_eq!(written(&mut it).0, []);
    assert_eq!(it.core.queue().messages, 1);
}

#[test]
fn the_queue_is_bounded_by_its_lane_s_rule() {
    let mut it = Machine::dialing();
    let first = keep(&mut it, Lane::Normal, 1000).unwrap();
    for _ in 0..2000 {
        keep(&mut it, Lane::Normal, 1000).unwrap();
        assert!(it.core.queue().bytes <= Config::KEEP_BYTES);
    }
    for _ in 0..100 {
        keep(&mut it, Lane::Urgent, 1000).unwrap();
    }
    let dropped = it.core.queue().lost;
    assert!(dropped > 1000, "{dropped}");
    let content = NewContent::Raw(vec![7; 60_000]);
    let huge = NewKept {
        lane: Lane::Urgent,
        content,
        sent_at_ms: None,
        expires_in: secs(60),
        place: Place::Memory,
    };
    let mut only_urgent = Machine::dialing();
    for _ in 0..17 {
        only_urgent.core.handle_keep(only_urgent.now, KeepId(1), huge.clone());
    }
    only_urgent.discard_outputs();
    let it = &mut it;
    let full = keep(&mut only_urgent, Lane::Urgent, 30_000);
    assert!(
        matches!(full, Err(KeepError::QueueFull { limit: Config::KEEP_BYTES, .. })),
        "{full:?}"
    );
    assert!(it.core.queue().bytes <= Config::KEEP_BYTES);

    it.dialed(1, Ok(())).frame(1, &DownFrame::Welcome(offering(CLOUD)));
    let (frames, _) = written(it);
    let skips: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame {
            UpFrame::Delivery(DeliveryFrame::Skip(skip)) => Some(*skip),
            _ => None,
        })
        .collect();
    let [Skip { from: 1, to, reason: SkipReason::QueueFull, .. }] = skips[..] else {
        panic!("{skips:?} after {first}")
    };
    assert_eq!(to, dropped, "one frame says so, however many were dropped");
    let normal =
        frames.iter().position(|frame| matches!(frame, UpFrame::Delivery(DeliveryFrame::Skip(_))));
    let last_urgent = kept_numbers(&frames[..normal.unwrap()]);
    assert_eq!(last_urgent.len(), 8, "the urgent lane goes first, within its credit");
}

#[test]
fn what_expires_is_dropped_unless_it_was_sent() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    let sent = keep_for(&mut it, Lane::Normal, 1, secs(5)).unwrap();
    written(&mut it);
    it.broken(1).discard_outputs();
    let waits = keep_for(&mut it, Lane::Normal, 1, secs(5)).unwrap();
    it.core.handle_network(it.now, Network::Down);
    it.now = it.now + secs(6);
    it.core.handle_timeout(it.now);
    let settled = written(&mut it).1;
    assert_eq!(settled, [(waits, Settled::Voided(SkipReason::Expired))], "not {sent}");
    assert_eq!((it.core.queue().messages, it.core.queue().lost), (1, 1));
}

#[test]
fn what_was_kept_for_one_cloud_is_not_sent_to_another() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    it.broken(1).discard_outputs();
    let tag = keep(&mut it, Lane::Normal, 1).unwrap();
    it.wake_after(it.wait()).discard_outputs();
    it.dialed(2, Ok(())).frame(2, &DownFrame::Welcome(offering(InstallationId([8; 16]))));
    let (frames, settled) = written(&mut it);
    assert_eq!(frames, [UpFrame::Hello(Capabilities::ALL)]);
    assert_eq!(settled, [(tag, Settled::Voided(SkipReason::OtherCloud))]);
    keep(&mut it, Lane::Normal, 1).unwrap();
    assert_eq!(kept_numbers(&written(&mut it).0), [(1, false)]);
}

#[test]
fn what_another_cloud_may_have_is_settled_too() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    let sent = keep(&mut it, Lane::Normal, 1).unwrap();
    assert_eq!(kept_numbers(&written(&mut it).0), [(1, false)]);
    it.broken(1).discard_outputs();
    let waits = keep(&mut it, Lane::Urgent, 1).unwrap();
    it.wake_after(it.wait()).discard_outputs();
    it.dialed(2, Ok(())).frame(2, &DownFrame::Welcome(offering(InstallationId([8; 16]))));
    let lost = Settled::Voided(SkipReason::OtherCloud);
    assert_eq!(written(&mut it).1, [(sent, lost), (waits, lost)]);
    let queue = it.core.queue();
    assert_eq!((queue.messages, queue.bytes, queue.lost), (0, 0, 2));
}

#[test]
fn what_expired_before_its_fate_was_known_is_not_sent_again() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    let tags: Vec<_> =
        (0..2).map(|_| keep_for(&mut it, Lane::Normal, 1, secs(5)).unwrap()).collect();
    assert_eq!(kept_numbers(&written(&mut it).0), [(1, false), (2, false)]);
    it.broken(1).discard_outputs();
    it.wake_after(it.wait()).discard_outputs();
    it.wake_after(secs(6)).expect([]);
    it.dialed(2, Ok(())).frame(2, &DownFrame::Welcome(offering(CLOUD)));
    assert_eq!(written(&mut it).1, [], "whether they arrived is not known yet");
    it.frame(2, &ack(1, 1, tags[0]));
    let (frames, settled) = written(&mut it);
    let expired = Settled::Voided(SkipReason::Expired);
    assert_eq!(settled, [(tags[0], Settled::Delivered), (tags[1], expired)]);
    let skip = Skip { handle: 1, from: 2, to: 2, reason: SkipReason::Expired };
    assert_eq!(frames, [UpFrame::Delivery(DeliveryFrame::Skip(skip))]);
}

#[test]
fn a_kept_message_does_not_hide_a_suspend() {
    let mut it = Machine::connected_with(offering(CLOUD));
    it.pass(secs(8 * 3600));
    keep(&mut it, Lane::Normal, 1).unwrap();
    it.give(Connection::handle_writable);
    it.expect_wait(aborted(LostReason::Suspended), SPREAD);
    assert_eq!(it.core.queue().messages, 1);
}

#[test]
fn a_cloud_that_acknowledges_what_was_never_sent_is_hung_up_on() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    keep(&mut it, Lane::Normal, 1).unwrap();
    written(&mut it);
    it.frame(1, &ack(1, 0, Tag(0))).frame(1, &ack(1, 2, Tag(9)));
    let outputs = it.drain();
    assert!(outputs.contains(&disconnect(1, CloseCode::ProtocolError)), "{outputs:?}");
    it.expect_state(State::Waiting { until: it.now + it.wait() });
}

/// Sends a message that is to be confirmed over a link that accepts everything. Returns what else than pings is sent.
fn send_to_confirm(it: &mut Machine, send: SendId) -> Vec<UpFrame> {
    it.core.handle_send(it.now, send, &message("hi"), true);
    let mut frames = Vec::new();
    while let Some(action) = it.core.poll_action() {
        let Action::Transmit { send, message, .. } = action else { panic!("{action:?}") };
        if let Outgoing::Frame(bytes) = message {
            frames.push(Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap());
        }
        if let Some(send) = send {
            it.core.handle_transmitted(send, true);
        }
    }
    frames
}

fn answer_send(send: SendId, result: Result<(), SendError>) -> Output {
    Output::Other(Action::AnswerSend { send, result })
}

#[test]
fn a_send_is_confirmed_by_the_session_and_unknown_without_it() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    assert_eq!(send_to_confirm(&mut it, SEND), [message("hi"), UpFrame::KeepAlive(1)]);
    it.expect([]);
    // It only lives, or says what cannot be.
    it.frame(1, &DownFrame::Alive(0)).frame(1, &DownFrame::Alive(2)).expect([]);
    it.frame(1, &DownFrame::Alive(1)).expect([answer_send(SEND, Ok(()))]);

    assert_eq!(send_to_confirm(&mut it, SEND), [message("hi"), UpFrame::KeepAlive(2)]);
    // Something else proves nothing.
    it.now = it.now + secs(9);
    it.pong(1);
    it.now = it.now + secs(2);
    it.core.handle_timeout(it.now);
    let outputs = it.drain();
    assert!(outputs.contains(&answer_send(SEND, Err(SendError::Unconfirmed))), "{outputs:?}");
    assert!(outputs.contains(&disconnect(1, CloseCode::GoingAway)), "{outputs:?}");
}

#[test]
fn a_message_that_takes_long_does_not_hide_the_session() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    send_to_confirm(&mut it, SEND);
    for _ in 0..20 {
        it.now = it.now + secs(9);
        it.core.handle_timeout(it.now);
        it.progress(1).discard_outputs().expect_state(State::Connected);
    }
    it.frame(1, &DownFrame::Alive(1)).expect([answer_send(SEND, Ok(()))]);
}

#[test]
fn a_proxy_that_answers_pings_itself_is_found_out() {
    let mut it = Machine::dialing();
    connect(&mut it, 1, offering(CLOUD));
    let started = it.now;
    while it.core.state() == State::Connected {
        it.now = it.core.poll_timeout().unwrap();
        it.core.handle_timeout(it.now);
        let pinged = it.drain().iter().any(|output| {
            matches!(output, Output::Other(Action::Transmit { message: Outgoing::Ping, .. }))
        });
        if pinged {
            it.pong(1).discard_outputs();
        }
    }
    assert!(it.now - started <= secs(3 * 19 + 10), "{:?}", it.now - started);
}
