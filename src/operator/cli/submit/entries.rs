//! What is remembered of the requests, in a temporary file that is read as often as needed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use uuid::Uuid;

/// So many keys are held in memory at once; for more, the file is read several times.
pub(super) const AT_ONCE: u64 = 100_000;

/// Name space of the digests, which leave the process nowhere.
const DIGESTS: Uuid = Uuid::from_u128(0x2f0c_4a5e_7d11_4a37_8c6b_9e2d_5d7f_1a90);

/// Stands for a text of any length. Digests are spread evenly, so shares of them are alike.
pub(super) fn digest(text: &[u8]) -> u128 {
    Uuid::new_v5(&DIGESTS, text).as_u128()
}

/// Entries of one length, in the order in which they were added.
pub(super) struct Entries<const LENGTH: usize> {
    file: BufWriter<File>,
    count: u64,
}

impl<const LENGTH: usize> Entries<LENGTH> {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(64 * 1024, tempfile::tempfile()?), count: 0 })
    }

    pub(super) fn add(&mut self, entry: &[u8; LENGTH]) -> io::Result<()> {
        self.count += 1;
        self.file.write_all(entry)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Gives every entry to `take`.
    pub(super) fn each(&mut self, mut take: impl FnMut(&[u8; LENGTH])) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_mut();
        file.rewind()?;
        let mut from = BufReader::with_capacity(64 * 1024, file);
        for _ in 0..self.count {
            let mut entry = [0; LENGTH];
            from.read_exact(&mut entry)?;
            take(&entry);
        }
        Ok(())
    }
}
