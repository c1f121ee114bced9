//! Tests of the WebSocket with the bytes of a client.

use std::future::poll_fn;

use fedecks_testing::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};

use super::*;

const MAX: usize = 100_000;

fn pair(room: usize) -> (Socket<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(room);
    (Socket::new(ours, &[], MAX), theirs)
}

/// A frame of a client, masked with zeros, which leaves the payload unchanged.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

async fn read(socket: &mut Socket<DuplexStream>) -> Result<Incoming, SessionError> {
    poll_fn(|cx| socket.poll_read(cx, &mut |_| true)).await
}

async fn flush(socket: &mut Socket<DuplexStream>) {
    poll_fn(|cx| socket.poll_flush(cx)).await.unwrap();
}

#[tokio::test]
async fn messages_of_every_length_arrive_in_pieces_of_any_size() {
    for length in [0, 1, 125, 126, 127, 128, 129, 1000, 16_384, 65_535, 65_536, MAX] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        for piece in [1, 7, 1000, usize::MAX] {
            if length / piece > 2000 {
                continue;
            }
            let (mut socket, mut client) = pair(1 << 20);
            let bytes = [frame(2, &payload), frame(2, b"next")].concat();
            let writing = async {
                for piece in bytes.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let reading = async {
                let whole = Incoming::Frame(payload.clone().into());
                assert_eq!(read(&mut socket).await.unwrap(), whole);
                assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame("next".into()));
            };
            tokio::join!(writing, reading);
        }
    }
}

#[tokio::test]
async fn lengths_are_encoded_as_in_the_rfc() {
    for (length, head) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 0xff, 0xff]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let (mut socket, mut client) = pair(1 << 20);
        socket.send(&vec![7; length]);
        flush(&mut socket).await;
        let mut sent = vec![0; head.len() + length];
        client.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent[..head.len()], *head);
        assert!(sent[head.len()..].iter().all(|byte| *byte == 7));
    }
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_between_messages() {
    let (mut socket, mut client) = pair(1 << 20);
    client.write_all(&frame(9, b"device-1")).await.unwrap();
    client.write_all(&frame(2, b"message")).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Heartbeat);
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame("message".into()));
    socket.send(b"reply");
    flush(&mut socket).await;
    let mut sent = [0; 17];
    client.read_exact(&mut sent).await.unwrap();
    assert_eq!(&sent, b"\x8a\x08device-1\x82\x05reply");
}

#[tokio::test]
async fn reading_pauses_if_a_client_pings_but_does_not_read() {
    let (ours, _client) = duplex(1);
    let pings = frame(9, &[0; 125]).repeat(1000);
    let mut socket = Socket::new(ours, &pings, MAX);
    let mut read = 0;
    while poll_fn(|cx| Poll::Ready(socket.poll_read(cx, &mut |_| true).is_ready())).await {
        read += 1;
    }
    assert!((10..100).contains(&read), "{read} pings were read");
    assert!(socket.unsent() < 2 * MAX_PONG_BYTES as usize);
}

#[tokio::test]
async fn empty_buffers_are_freed() {
    let (mut socket, mut client) = pair(1 << 20);
    client.write_all(&frame(2, &vec![0; MAX])).await.unwrap();
    client.write_all(&frame(2, &vec![0; 20_000])).await.unwrap();
    read(&mut socket).await.unwrap();
    read(&mut socket).await.unwrap();
    socket.send(&vec![0; MAX]);
    flush(&mut socket).await;
    assert_eq!(socket.buffers.input.memory(), 0);
    assert_eq!(socket.buffers.output.memory(), 0);
}

#[tokio::test]
async fn a_socket_at_rest_keeps_nothing() {
    let (mut socket, mut client) = pair(1 << 20);
    for _ in 0..2 {
        client.write_all(&[frame(9, b"ping"), frame(2, b"message")].concat()).await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap(), Incoming::Heartbeat);
        assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame("message".into()));
        flush(&mut socket).await;
        assert!(socket.is_at_work());
        socket.rest();
        assert!(!socket.is_at_work());
    }
    // Of a message that is not complete, and after a close frame, the state is needed.
    client.write_all(&fragments(&[7; 20], 10)[0]).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Fragment);
    socket.rest();
    client.write_all(&fragments(&[7; 20], 10)[1]).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame(vec![7; 20].into()));
    socket.close(CloseReason::new(CloseCode::Replaced));
    flush(&mut socket).await;
    socket.rest();
    assert!(socket.is_at_work());
}

#[tokio::test]
async fn a_buffer_that_is_never_empty_releases_what_was_sent() {
    let (mut socket, mut client) = pair(10_000);
    let mut sink = vec![0; 10_000];
    for _ in 0..1000 {
        // tokio limits what a task may do without waiting.
        tokio::task::yield_now().await;
        socket.send(&[0; 10_000]);
        let flushed = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx).is_ready())).await;
        assert!(!flushed);
        client.read_exact(&mut sink).await.unwrap();
    }
    let capacity = socket.buffers.output.memory();
    assert!(capacity < 200_000, "{capacity}");
}

#[tokio::test]
async fn what_a_slow_reader_has_taken_is_not_kept() {
    let (mut socket, mut client) = pair(10_000);
    let mut sink = vec![0; 10_000];
    for _ in 0..10 {
        socket.send(&[0; MAX]);
    }
    while socket.unsent() > MAX {
        let (memory, unsent) = (socket.buffers.output.memory(), socket.unsent());
        assert!(memory <= 4 * unsent, "{memory} for {unsent}");
        tokio::task::yield_now().await;
        let _ = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx).is_ready())).await;
        client.read_exact(&mut sink).await.unwrap();
    }
}

#[tokio::test]
async fn the_cause_of_an_unusable_connection_is_an_error() {
    let mut compressed = frame(2, b"x");
    compressed[0] |= 0x40;
    let mut head_of_too_big = frame(2, &vec![0; MAX + 1]);
    head_of_too_big.truncate(20);
    let too_big = "the device sent a message of 100001 bytes, at most 100000 are allowed";
    let violation = "the device violated the WebSocket protocol: ";
    for (case, bytes, cause) in [
        ("unmasked", vec![0x82, 0x01, 0x00], violation),
        ("reserved", frame(3, b""), violation),
        ("compressed", compressed, violation),
        ("long ping", frame(9, &[0; 126]), violation),
        ("not UTF-8", frame(1, &[0xff]), violation),
        ("above the limit, before its payload", head_of_too_big, too_big),
        ("the end without a close frame", vec![], "the connection was lost: "),
    ] {
        let (mut socket, mut client) = pair(1000);
        client.write_all(&bytes).await.unwrap();
        if bytes.is_empty() {
            drop(client);
        }
        let error = read(&mut socket).await.unwrap_err().to_string();
        assert!(error.starts_with(cause), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    let (mut socket, mut client) = pair(1000);
    client.write_all(&frame(8, b"\x03\xf4retry-after=5")).await.unwrap();
    let close = read(&mut socket).await.unwrap();
    assert_eq!(close, Incoming::Close(CloseReason::parse(1012, "retry-after=5")));
    flush(&mut socket).await;
    let mut sent = [0; 4];
    client.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[..], [0x88, 15, 0x03, 0xf4]);
}

#[tokio::test]
async fn bytes_received_with_the_request_are_read_first() {
    let (ours, mut client) = duplex(1000);
    let bytes = frame(2, b"early");
    let mut socket = Socket::new(ours, &bytes[..3], MAX);
    client.write_all(&bytes[3..]).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame("early".into()));
}

#[tokio::test]
async fn flushing_includes_the_buffer_of_the_stream() {
    let (io, mut client) = duplex(100);
    // As with TLS, data is only sent by a flush.
    let mut socket = Socket::new(BufWriter::new(io), &[], MAX);
    socket.send(&[7; 1000]);
    let mut frame = [0; 1004];
    let reading = within(client.read_exact(&mut frame));
    let (flushed, read) = tokio::join!(poll_fn(|cx| socket.poll_flush(cx)), reading);
    flushed.unwrap();
    read.unwrap();
    assert_eq!(frame[4..], [7; 1000]);
}

#[tokio::test]
async fn reading_resumes_once_the_answers_to_many_pings_are_sent() {
    let (mut socket, mut client) = pair(1 << 20);
    client.write_all(&frame(9, &[0; 125]).repeat(100)).await.unwrap();
    client.write_all(&frame(2, b"message")).await.unwrap();
    for _ in 0..100 {
        assert_eq!(within(read(&mut socket)).await.unwrap(), Incoming::Heartbeat);
    }
    assert_eq!(within(read(&mut socket)).await.unwrap(), Incoming::Frame("message".into()));
}

/// The payload in fragments of this many bytes.
fn fragments(payload: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(piece);
    let mut frames: Vec<_> = payload.chunks(piece).map(|piece| frame(0, piece)).collect();
    frames[0][0] |= 2;
    frames.iter_mut().take(count - 1).for_each(|frame| frame[0] &= 0x7f);
    frames
}

#[tokio::test]
async fn every_fragment_is_admitted_and_returned() {
    let (mut socket, mut client) = pair(1 << 20);
    let payload: Vec<u8> = (0..100).collect();
    let mut frames = fragments(&payload, 30);
    frames.insert(2, frame(9, b"?"));
    client.write_all(&frames.concat()).await.unwrap();
    let mut heads = Vec::new();
    let mut admit = |head: &FrameHead| {
        heads.push((head.kind, head.is_final, head.payload));
        true
    };
    for expected in [
        Incoming::Fragment,
        Incoming::Fragment,
        Incoming::Heartbeat,
        Incoming::Fragment,
        Incoming::Frame(payload.into()),
    ] {
        let read = poll_fn(|cx| socket.poll_read(cx, &mut admit)).await.unwrap();
        assert_eq!(read, expected);
    }
    use FrameKind::{Begins, Continues, Control};
    assert_eq!(
        heads,
        [
            (Begins, false, 30),
            (Continues, false, 30),
            (Control, true, 1),
            (Continues, false, 30),
            (Continues, true, 10)
        ]
    );
}

#[tokio::test]
async fn a_frame_that_is_not_admitted_is_read_later() {
    let (mut socket, mut client) = pair(1 << 20);
    client.write_all(&[frame(2, b"one"), frame(2, &[7; 50_000])].concat()).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame("one".into()));
    for _ in 0..3 {
        let refused = poll_fn(|cx| Poll::Ready(socket.poll_read(cx, &mut |_| false))).await;
        assert!(refused.is_pending());
    }
    let buffered = socket.buffers.input.memory();
    assert!(buffered <= 2 * READ_AHEAD, "{buffered} bytes were read");
    assert_eq!(read(&mut socket).await.unwrap(), Incoming::Frame(vec![7; 50_000].into()));
}
