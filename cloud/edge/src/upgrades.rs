//! Upgrades that are answered before HTTP: without what HTTP sets up for requests of any kind, a connection takes a
//! quarter less.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;

use http::HeaderName;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use httparse::{Header, Request, Status};
use tokio::io::{AsyncRead, ReadBuf};

use crate::peer::Peer;
use crate::socket::Socket;
use crate::task::Task;

/// Answers upgrades before the filter, see [`Listen::upgrades`](crate::Listen::upgrades).
#[derive(Clone)]
pub struct Upgrades(Arc<dyn UpgradeHandler>);

impl Upgrades {
    /// Upgrades that this handler accepts.
    pub fn new(handler: impl UpgradeHandler) -> Self {
        Self(Arc::new(handler))
    }

    /// Has the handler accept the request that a connection begins with. Returns the socket if it does not, or if
    /// the request is not a whole one in `read`.
    pub(crate) fn accept(&self, read: &[u8], peer: &Peer, socket: Socket) -> Result<Task, Socket> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = Request::new(&mut []);
        match request.parse_with_uninit_headers(read, &mut headers) {
            Ok(Status::Complete(length)) => match UpgradeHead::new(&request) {
                Some(head) => {
                    let rest = read.get(length..).unwrap_or_default();
                    self.0.accept(&head, rest, peer, socket)
                }
                None => Err(socket),
            },
            Ok(Status::Partial) | Err(_) => Err(socket),
        }
    }
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrades(…)")
    }
}

/// Accepts upgrades, or leaves them to the filter.
pub trait UpgradeHandler: Send + Sync + 'static {
    /// Returns what follows the upgrade, which sends the response first, or else the socket: the filter then receives
    /// the request as if this had not been called. `rest` was received after the head.
    fn accept(
        &self,
        head: &UpgradeHead<'_>,
        rest: &[u8],
        peer: &Peer,
        socket: Socket,
    ) -> Result<Task, Socket>;
}

/// The head of a request with GET, by HTTP/1.1 and without a body. It has no `Debug`, which would show secrets.
pub struct UpgradeHead<'a> {
    path: &'a str,
    headers: &'a [Header<'a>],
}

/// A request with more is left to the filter.
const MAX_HEADERS: usize = 32;

/// How much is read for a head, in bytes. A longer one is left to the filter.
const MAX_HEAD: usize = 4096;

impl<'a> UpgradeHead<'a> {
    /// `None` if it is another kind of request.
    fn new(request: &'a Request<'_, '_>) -> Option<Self> {
        let (method, path, version) = (request.method?, request.path?, request.version?);
        let head = Self { path, headers: request.headers };
        let has = |name: &HeaderName| head.values(name).next().is_some();
        let is_bare = !has(&CONTENT_LENGTH) && !has(&TRANSFER_ENCODING) && !has(&EXPECT);
        (method == "GET" && version == 1 && is_bare).then_some(head)
    }

    /// The target of the request as it was received: for almost all a path.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The values of all headers with this name.
    pub fn values<'b>(&'b self, name: &'b HeaderName) -> impl Iterator<Item = &'a [u8]> + 'b {
        let name = name.as_str();
        let is_it = |header: &&Header<'a>| {
            header.name.len() == name.len() && header.name.eq_ignore_ascii_case(name)
        };
        self.headers.iter().filter(is_it).map(|header| header.value)
    }
}

/// Reads what a connection begins with, as much as is there at once.
pub(crate) async fn first_bytes(socket: &mut Socket) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        let mut bytes = [MaybeUninit::uninit(); MAX_HEAD];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
        Ok(buffer.filled().to_vec()).into()
    })
    .await
}
