//! A disk in memory that keeps or loses what was not synced, in any combination and torn at any byte, by seed.

use std::collections::BTreeMap;
use std::io;

use fedecks_device_queue::{Directory, Entry, Space};

#[derive(Debug, Clone)]
pub(crate) struct SimulatedDisk {
    random: fastrand::Rng,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Every state of the names since the last sync. A journal keeps their order.
    states: Vec<BTreeMap<String, usize>>,
    /// The power fails at the write after this number of them.
    pub(crate) writes_left: Option<u64>,
    /// One sync in this number fails; 0: none.
    pub(crate) failing_syncs: u64,
    pub(crate) read_only: bool,
    pub(crate) capacity: u64,
    pub(crate) in_place: bool,
    pub(crate) written_bytes: u64,
    pub(crate) syncs: u64,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Debug, Clone)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
    /// A sync failed: no later one makes up for it.
    doomed: bool,
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            states: Vec::new(),
            writes_left: None,
            failing_syncs: 0,
            read_only: false,
            capacity: u64::MAX,
            in_place: seed % 2 == 0,
            written_bytes: 0,
            syncs: 0,
        }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.writes_left == Some(0)
    }

    /// The power fails and returns.
    pub(crate) fn restart(&mut self) {
        self.states.push(self.names.clone());
        self.states.push(self.durable_names.clone());
        let state = self.random.usize(..self.states.len());
        self.names = self.states.swap_remove(state);
        self.durable_names = self.names.clone();
        self.states.clear();
        for (index, inode) in self.inodes.iter_mut().enumerate() {
            if !self.names.values().any(|named| *named == index) {
                *inode = Inode::default();
                continue;
            }
            for write in std::mem::take(&mut inode.unsynced) {
                let len = match self.random.u8(..3) {
                    0 => 0,
                    1 => self.random.usize(..=write.bytes.len()),
                    _ => write.bytes.len(),
                };
                put(&mut inode.durable, write.offset, &write.bytes[..len]);
            }
            inode.content = inode.durable.clone();
        }
        self.writes_left = None;
    }

    /// Changes one byte of a file.
    pub(crate) fn damage(&mut self, name: &str, at: usize) {
        let inode = self.names[name];
        self.inodes[inode].durable[at] ^= 0x55;
        self.inodes[inode].content[at] ^= 0x55;
    }

    /// Counts a write. The last before the power fails may be torn like those before it.
    fn write(&mut self) -> io::Result<()> {
        if self.is_off() {
            return Err(io::Error::other("no power"));
        }
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if let Some(left) = &mut self.writes_left {
            *left -= 1;
        }
        Ok(())
    }

    fn after_write(&self) -> io::Result<()> {
        if self.is_off() { Err(io::Error::other("no power")) } else { Ok(()) }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].content.len() as u64).sum()
    }
}

impl Directory for SimulatedDisk {
    fn list(&mut self) -> io::Result<Vec<Entry>> {
        let len = |inode: &usize| self.inodes[*inode].content.len() as u64;
        let entry =
            |(name, inode): (&String, &usize)| Entry { name: name.clone(), len: len(inode) };
        Ok(self.names.iter().map(entry).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.write()?;
        self.states.push(self.names.clone());
        self.names.insert(name.to_owned(), self.inodes.len());
        self.inodes.push(Inode::default());
        self.after_write()
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write()?;
        let inode = self.inode(name)?;
        self.written_bytes += bytes.len() as u64;
        let offset = offset as usize;
        let grown = (offset + bytes.len()).saturating_sub(self.inodes[inode].content.len()) as u64;
        if self.used() + grown > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut self.inodes[inode];
        put(&mut inode.content, offset, bytes);
        inode.unsynced.push(Write { offset, bytes: bytes.to_vec(), doomed: false });
        self.after_write()
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.write()?;
        self.after_write()?;
        self.syncs += 1;
        let fails = self.failing_syncs > 0 && self.random.u64(..self.failing_syncs) == 0;
        let inode = self.inode(name)?;
        let inode = &mut self.inodes[inode];
        for write in std::mem::take(&mut inode.unsynced) {
            if fails || write.doomed {
                inode.unsynced.push(Write { doomed: true, ..write });
            } else {
                put(&mut inode.durable, write.offset, &write.bytes);
            }
        }
        if fails { Err(io::Error::other("sync failed")) } else { Ok(()) }
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.write()?;
        self.after_write()?;
        self.syncs += 1;
        self.durable_names = self.names.clone();
        self.states.clear();
        Ok(())
    }

    fn read_at(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let content = &self.inodes[self.inode(name)?].content;
        let from = content.len().min(offset as usize);
        Ok(content[from..content.len().min(from + len)].to_vec())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.write()?;
        self.inode(name)?;
        self.states.push(self.names.clone());
        self.names.remove(name);
        self.after_write()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.write()?;
        let inode = self.inode(from)?;
        self.states.push(self.names.clone());
        self.names.remove(from);
        self.names.insert(to.to_owned(), inode);
        self.after_write()
    }

    fn space(&mut self) -> io::Result<Space> {
        let total = self.capacity;
        Ok(Space { free: total.saturating_sub(self.used()), total })
    }

    fn overwrites_in_place(&self) -> bool {
        self.in_place
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    content.resize(content.len().max(offset + bytes.len()), 0);
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}
