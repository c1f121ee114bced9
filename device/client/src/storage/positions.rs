//! How far this device is in the kept messages of its cloud, in a file.

use fedecks_device_core::{Positions, StreamPosition};
use fedecks_protocol::{DeviceId, InstallationId, Lane, StreamId, Tag};

use super::{AtomicFile, DataDir, StoreError};

/// The file of a device in a directory.
#[derive(Debug)]
pub(crate) struct PositionsFile {
    file: AtomicFile,
    device: DeviceId,
}

impl PositionsFile {
    pub(crate) fn new(directory: impl Into<DataDir>, device: DeviceId) -> Self {
        Self { file: AtomicFile::new(directory, "positions"), device }
    }

    pub(crate) fn save(&self, positions: &Positions) -> Result<(), StoreError> {
        let mut body = format!("device {}\ncloud {}\n", self.device, positions.installation);
        for StreamPosition { stream, lane, up_to, tag } in &positions.streams {
            body += &format!("{stream} {lane} {up_to} {tag}\n");
        }
        self.file.write(&body)
    }

    /// `None` if there are none, or if they are those of another device.
    pub(crate) fn load(&self) -> Result<Option<Positions>, StoreError> {
        let read = self.file.read_if_any(parse)?;
        Ok(read.filter(|(device, _)| *device == self.device).map(|(_, positions)| positions))
    }
}

fn parse(body: &str) -> Option<(DeviceId, Positions)> {
    let mut lines = body.lines();
    let device = DeviceId::new(lines.next()?.strip_prefix("device ")?).ok()?;
    let installation = InstallationId(id(lines.next()?.strip_prefix("cloud ")?)?);
    let streams = lines.map(position).collect::<Option<Vec<_>>>()?;
    Some((device, Positions { installation, streams }))
}

fn position(line: &str) -> Option<StreamPosition> {
    let mut words = line.split(' ');
    let stream = StreamId(id(words.next()?)?);
    let lane = words.next()?;
    let lane = Lane::ALL.into_iter().find(|it| it.as_str() == lane)?;
    let up_to = words.next()?.parse().ok()?;
    // 0 is the tag of a number without a message.
    let tag = Tag(u64::from_str_radix(words.next()?, 16).ok()?);
    words.next().is_none().then_some(StreamPosition { stream, lane, up_to, tag })
}

/// 16 bytes in hexadecimal digits.
fn id(text: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_a_device_and_a_cloud() {
        let directory = tempfile::tempdir().unwrap();
        let file = |device| PositionsFile::new(directory.path(), DeviceId::new(device).unwrap());
        assert_eq!(file("a").load().unwrap(), None);
        let position = |number, lane, tag| StreamPosition {
            stream: StreamId([number; 16]),
            lane,
            up_to: 1 << 40,
            tag: Tag(tag),
        };
        let streams = vec![position(1, Lane::Urgent, u64::MAX), position(2, Lane::Normal, 0)];
        let positions = Positions { installation: InstallationId([0xab; 16]), streams };
        file("a").save(&positions).unwrap();
        assert_eq!(file("a").load().unwrap(), Some(positions));
        assert_eq!(file("b").load().unwrap(), None);
        std::fs::write(directory.path().join("positions"), "damaged").unwrap();
        assert_eq!(file("a").load().unwrap(), None);
    }
}
