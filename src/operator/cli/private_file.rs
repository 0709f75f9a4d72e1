//! Files for the person who asked for them: what they hold names people.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Read and written by their owner alone.
const OWN: u32 = 0o600;

/// A file that was not there before.
pub(super) fn new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(OWN).open(path)
}

/// A file for new content. One that is there already keeps its permissions.
pub(super) fn written(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(OWN).open(path)
}
