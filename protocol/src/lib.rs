//! The protocol between a Fedecks device and its cloud.
//!
//! This crate does no I/O. It defines the values in messages ([`Term`]), the frames that carry them
//! ([`UpFrame`], [`DownFrame`]), their encoding ([`Dialect`]), the header that authenticates a device
//! ([`AuthRequest`]) and how a cloud rejects or closes a connection ([`Refusal`], [`CloseReason`]).
//! `docs/protocol.md` specifies the same for clients in other languages; the hexadecimal fixtures in
//! `tests/` keep the two in step.

mod budget;
mod credentials;
mod delivery;
mod device_id;
mod dialect;
mod encoded_term;
mod frame;
mod handshake;
mod limits;
mod request;
mod term;
mod token;

pub use budget::Budget;
pub use credentials::{
    CLAIM_KEY, CLAIM_PREFIX, Credentials, CredentialsError, DEVICE_ID_KEY, NONCE_KEY, TOKEN_KEY,
};
pub use delivery::{
    Ack, Capabilities, Content, DeliveryFrame, InstallationId, InvalidTag, Kept, Lane, Resume,
    Skip, SkipReason, StreamId, Tag,
};
pub use device_id::{DeviceId, InvalidDeviceId};
pub use dialect::{Dialect, Received};
pub use encoded_term::EncodedTerm;
pub use frame::{DeliveryOffer, DownFrame, IssuedToken, Sequence, UpFrame, Welcome};
pub use handshake::{
    AuthError, AuthRequest, CloseCode, CloseReason, MAX_HEADER_CHARS, Proof, Refusal,
};
pub use limits::{DecodeError, EncodeError, Limits, OverBudget};
pub use request::{NoReplyReason, RequestFrame, RequestId, UndecodableContent};
pub use term::{JsonReader, JsonTerm, LiteralJson, Term, TermError};
pub use token::{InvalidToken, Token};

/// Header of the upgrade request with the [`AuthRequest`].
pub const AUTH_HEADER: &str = "x-fedecks-auth";

/// Header of a refusal with the machine-readable reason, see [`Refusal::reason`].
pub const REFUSAL_HEADER: &str = "x-fedecks-refusal";

/// Value of `WWW-Authenticate` in every 401 from Fedecks; distinguishes it from a proxy's.
pub const CHALLENGE: &str = "Fedecks";

/// Default path of the WebSocket endpoint for devices.
pub const DEFAULT_PATH: &str = "/fedecks/websocket";
