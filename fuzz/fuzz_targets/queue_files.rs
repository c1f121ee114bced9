//! Opens and reads a queue of which any bytes are a segment: no panic, bounded memory, ascending numbers.
#![no_main]

use std::io;

use fedecks_device_queue::{Directory, Entry, Limits, Queue, Space};
use fedecks_fuzz::{Counting, within};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NAME: &str = "0000000000000000.segment";

struct OneFile<'a>(&'a [u8]);

fuzz_target!(|bytes: &[u8]| {
    within(8 * bytes.len() + 64 * 1024, || {
        let mut opened = Queue::open(OneFile(bytes), Limits::default());
        for found in opened.found {
            let mut after = 0;
            loop {
                let window = opened.queue.read(found.stream, after, 64, 4096).expect("it reads");
                let Some(last) = window.last() else { break };
                let mut previous = after;
                for record in &window {
                    assert!(record.sequence > previous, "numbers ascend");
                    previous = record.last();
                }
                after = last.last();
            }
        }
    });
});

impl Directory for OneFile<'_> {
    fn list(&mut self) -> io::Result<Vec<Entry>> {
        Ok(vec![Entry { name: NAME.to_owned(), len: self.0.len() as u64 }])
    }

    fn create(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write_at(&mut self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&mut self, _: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let from = self.0.len().min(offset as usize);
        Ok(self.0[from..self.0.len().min(from.saturating_add(len))].to_vec())
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&mut self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn space(&mut self) -> io::Result<Space> {
        Ok(Space { free: 0, total: 0 })
    }

    fn overwrites_in_place(&self) -> bool {
        false
    }
}
