//! Reads any bytes as the header of the PROXY protocol: no panic, no read beyond the header, memory bounded by the
//! longest header, and the same client whatever follows it.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use fedecks_fuzz::{Counting, within};
use libfuzzer_sys::fuzz_target;

#[path = "../../cloud/edge/src/proxy_protocol.rs"]
mod proxy_protocol;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The fixed part and the longest rest.
const LONGEST: usize = 16 + 2048;

/// For one header, and the text of an error.
const MEMORY: usize = 8 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let (header, used) = within(MEMORY, || read(bytes));
    assert!(used <= LONGEST, "read {used} bytes, at most {LONGEST} are a header");
    if let Ok(client) = header {
        let (again, used_again) = read(&[&bytes[..used], b"GET / HTTP/1.1\r\n\r\n"].concat());
        assert_eq!((again.expect("was valid"), used_again), (client, used));
    }
    // Random bytes hardly ever begin with the signature; this gets to the addresses.
    if !bytes.starts_with(SIGNATURE) {
        let signed = [SIGNATURE, bytes].concat();
        let _ = within(MEMORY, || read(&signed));
    }
});

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

type Read = Result<Option<std::net::SocketAddr>, String>;

/// What was read, and how many bytes of it.
fn read(bytes: &[u8]) -> (Read, usize) {
    let mut rest = bytes;
    let read = {
        let mut reading = pin!(proxy_protocol::read(&mut rest));
        match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read.map_err(|error| error.to_string()),
            Poll::Pending => panic!("a slice is never pending"),
        }
    };
    (read, bytes.len() - rest.len())
}
