//! What a Fedecks device and its cloud agree on.
//!
//! This crate does no I/O. It holds the values that travel ([`Term`]), the frames that carry them
//! ([`UpFrame`], [`DownFrame`]), their bytes ([`Dialect`]), the header that authenticates a device
//! ([`AuthRequest`]) and the ways in which a cloud says no ([`Refusal`], [`CloseReason`]).
//! `docs/protocol.md` describes the same for people who write a client in another language; the
//! hexadecimal fixtures in `tests/` hold both to it.

mod credentials;
mod device_id;
mod dialect;
mod frame;
mod handshake;
mod term;
mod token;

pub use credentials::{Credentials, CredentialsError, DEVICE_ID_KEY, TOKEN_KEY};
pub use device_id::{DeviceId, InvalidDeviceId};
pub use dialect::{DecodeError, Dialect, EncodeError, Limits};
pub use frame::{DownFrame, IssuedToken, RequestId, Sequence, UpFrame, Welcome};
pub use handshake::{
    AuthError, AuthRequest, CloseCode, CloseReason, MAX_HEADER_CHARS, Proof, Refusal,
};
pub use term::{JsonTerm, Term, TermError};
pub use token::{InvalidToken, Token};

/// Header of the upgrade request that carries the [`AuthRequest`].
pub const AUTH_HEADER: &str = "x-fedecks-auth";

/// Header of a refusal that carries the machine-readable reason, see [`Refusal::reason`].
pub const REFUSAL_HEADER: &str = "x-fedecks-refusal";

/// Value of `WWW-Authenticate` in every 401 of ours; it tells our refusal from a proxy's.
pub const CHALLENGE: &str = "Fedecks";

/// Path of the device socket where nothing else is configured.
pub const DEFAULT_PATH: &str = "/fedecks/websocket";
