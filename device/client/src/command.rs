//! What the application asks of the driver.

use fedecks_device_core::{
    KeepError, LoggedIn, LoginError, Network, NewKept, NotRegistered, SendError,
};
use fedecks_protocol::{Credentials, UpFrame};
use tokio::sync::oneshot;

use crate::kept::Kept;
use crate::unsent::Share;

/// A request from the application. The reply to a logout is an error while the token is still on disk.
pub(crate) enum Command {
    Login { credentials: Credentials, reply: oneshot::Sender<Result<LoggedIn, LoginError>> },
    Logout { reply: oneshot::Sender<Result<(), String>> },
    Reconnect { reply: oneshot::Sender<Result<(), NotRegistered>> },
    Keep { kept: NewKept, reply: oneshot::Sender<Result<Kept, KeepError>>, _share: Share },
    Network(Network),
    Shutdown,
}

/// A message from the application. It has a separate queue: a message waits for the ones before it to be
/// sent, and commands must not wait for that.
pub(crate) struct Outbound {
    pub(crate) frame: UpFrame,
    /// Answered when the cloud has confirmed that it has read it.
    pub(crate) confirm: bool,
    pub(crate) reply: oneshot::Sender<Result<(), SendError>>,
    /// Returned when the message is encoded.
    pub(crate) share: Share,
}
