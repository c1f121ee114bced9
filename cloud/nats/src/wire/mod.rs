//! The messages between nodes and their encoding. Each begins with the version of the encoding; a message of another
//! version, or one that is malformed, is not decoded.

mod bytes;
mod head;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::backplane::Payload;
use fedecks_cloud::messaging::{Message, NodeId, Presence, Topic};
use fedecks_cloud::{DeviceId, Term};
use fedecks_protocol::{CloseReason, EncodeError};

use bytes::{Reader, Writer};
pub(crate) use head::Instance;
use head::{begin, decode_term, encode_term, head};
pub(crate) use outcome::Answer;

/// What an instance tells all others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Announcement {
    /// It is there, and has sent changes up to this number. To a hello, the others answer at once with theirs.
    Heartbeat { from: Instance, sequence: u64, hello: bool },
    /// Its changes with this number.
    Changes { from: Instance, sequence: u64, changes: Vec<Change> },
    /// It ends.
    Bye { from: Instance },
}

/// A change of the devices of an instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Arrived(Arc<Presence>),
    Left(Arc<Presence>),
    /// All devices of this node have left.
    NodeLeft(NodeId),
}

/// What an instance tells another one.
#[derive(Debug, Clone)]
pub(crate) enum Letter {
    /// Asks for a snapshot.
    AskSnapshot { from: Instance, nonce: u64 },
    /// A part of a snapshot.
    Snapshot(Part),
    /// A call that concerns a device of a node.
    Call { from: Instance, id: u64, node: NodeId, device: DeviceId, call: Call },
    /// No answer to this call is needed any longer.
    Cancel { from: Instance, id: u64 },
}

/// A part of all devices of an instance, after its changes up to a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) from: Instance,
    /// That of the question.
    pub(crate) nonce: u64,
    pub(crate) sequence: u64,
    pub(crate) index: u32,
    pub(crate) last: bool,
    pub(crate) devices: Vec<Arc<Presence>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Call {
    Deliver(Payload),
    Close(CloseReason),
    Wake,
    Ask { question: Term, timeout: Duration },
}

/// A message that was published on a topic.
#[derive(Debug)]
pub(crate) struct OnTopic {
    pub(crate) topic: Topic,
    pub(crate) message: Message,
}

impl Change {
    /// How many bytes it takes in a message, at most.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Arrived(presence) | Self::Left(presence) => size(presence) + 1,
            Self::NodeLeft(_) => 9,
        }
    }
}

/// How many bytes presence takes in a message.
pub(crate) fn size(presence: &Presence) -> usize {
    presence.device.as_str().len() + 20
}

impl Announcement {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Heartbeat { from, sequence, hello } => {
                let mut writer = begin(0, *from);
                writer.u64(*sequence);
                writer.u8(u8::from(*hello));
                writer.0
            }
            Self::Changes { from, sequence, changes } => {
                let mut writer = begin(1, *from);
                writer.u64(*sequence);
                for change in changes {
                    match change {
                        Change::Arrived(presence) => {
                            writer.u8(0);
                            writer.presence(presence);
                        }
                        Change::Left(presence) => {
                            writer.u8(1);
                            writer.presence(presence);
                        }
                        Change::NodeLeft(node) => {
                            writer.u8(2);
                            writer.u64(node.0);
                        }
                    }
                }
                writer.0
            }
            Self::Bye { from } => begin(2, *from).0,
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, kind, from) = head(bytes)?;
        let announcement = match kind {
            0 => Self::Heartbeat { from, sequence: reader.u64()?, hello: reader.flag()? },
            1 => {
                let (sequence, mut changes) = (reader.u64()?, Vec::new());
                while reader.end().is_none() {
                    changes.push(match reader.u8()? {
                        0 => Change::Arrived(reader.presence()?.into()),
                        1 => Change::Left(reader.presence()?.into()),
                        2 => Change::NodeLeft(NodeId(reader.u64()?)),
                        _ => return None,
                    });
                }
                Self::Changes { from, sequence, changes }
            }
            2 => Self::Bye { from },
            _ => return None,
        };
        reader.end()?;
        Some(announcement)
    }
}

impl Letter {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        Ok(match self {
            Self::AskSnapshot { from, nonce } => {
                let mut writer = begin(0, *from);
                writer.u64(*nonce);
                writer.0
            }
            Self::Snapshot(part) => {
                let mut writer = begin(1, part.from);
                writer.u64(part.nonce);
                writer.u64(part.sequence);
                writer.u32(part.index);
                writer.u8(u8::from(part.last));
                part.devices.iter().for_each(|presence| writer.presence(presence));
                writer.0
            }
            Self::Call { from, id, node, device, call } => {
                let mut writer = begin(2, *from);
                writer.u64(*id);
                writer.u64(node.0);
                writer.text(device.as_str());
                call.encode(&mut writer)?;
                writer.0
            }
            Self::Cancel { from, id } => {
                let mut writer = begin(3, *from);
                writer.u64(*id);
                writer.0
            }
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, kind, from) = head(bytes)?;
        let letter = match kind {
            0 => Self::AskSnapshot { from, nonce: reader.u64()? },
            1 => {
                let (nonce, sequence) = (reader.u64()?, reader.u64()?);
                let (index, last, mut devices) = (reader.u32()?, reader.flag()?, Vec::new());
                while reader.end().is_none() {
                    devices.push(reader.presence()?.into());
                }
                Self::Snapshot(Part { from, nonce, sequence, index, last, devices })
            }
            2 => {
                let (id, node) = (reader.u64()?, NodeId(reader.u64()?));
                let device = reader.device()?;
                Self::Call { from, id, node, device, call: Call::decode(&mut reader)? }
            }
            3 => Self::Cancel { from, id: reader.u64()? },
            _ => return None,
        };
        reader.end()?;
        Some(letter)
    }
}

impl Call {
    fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Deliver(Payload::Message(message)) => {
                writer.u8(0);
                writer.bytes(&encode_term(message)?);
            }
            Self::Deliver(Payload::Raw(bytes)) => {
                writer.u8(1);
                writer.bytes(bytes);
            }
            // All kinds are handled above; this is for later ones.
            Self::Deliver(_) => return Err(EncodeError::UnknownFrame),
            Self::Close(reason) => {
                writer.u8(2);
                writer.u16(reason.code.code());
                writer.text(&reason.text());
            }
            Self::Wake => writer.u8(3),
            Self::Ask { question, timeout } => {
                writer.u8(4);
                writer.u64(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
                writer.bytes(&encode_term(question)?);
            }
        }
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            0 => Self::Deliver(Payload::Message(decode_term(reader.rest())?.into())),
            1 => Self::Deliver(Payload::Raw(reader.rest().to_vec().into())),
            2 => Self::Close(CloseReason::parse(reader.u16()?, reader.text()?)),
            3 => Self::Wake,
            4 => {
                let timeout = Duration::from_millis(reader.u64()?);
                Self::Ask { timeout, question: decode_term(reader.rest())? }
            }
            _ => return None,
        })
    }
}

impl OnTopic {
    pub(crate) fn encode(
        from: Instance,
        topic: &Topic,
        message: &Message,
    ) -> Result<Vec<u8>, EncodeError> {
        let term = encode_term(message)?;
        let mut writer = begin(0, from);
        writer.text(topic.as_str());
        writer.bytes(&term);
        Ok(writer.0)
    }

    /// Whose message it is, without decoding it.
    pub(crate) fn sender(bytes: &[u8]) -> Option<Instance> {
        head(bytes).map(|(_, _, from)| from)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, kind, _) = head(bytes)?;
        let topic = reader.text()?.into();
        let message = decode_term(reader.rest())?.into();
        (kind == 0).then_some(Self { topic, message })
    }
}

#[cfg(test)]
mod tests;
