//! Files, and stdin as one of them.
//!
//! Invariant: more than [`FILE_BYTES_MAX`] is never read. What may fail: the reading, and what is too long.

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use tonic::Status;

/// Bytes that are read of a file or of stdin; the scheduler's own limits are below.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads a file or stdin, whole. The process does nothing else meanwhile, so blocking is no harm.
pub(super) fn read(path: &Path) -> Result<Bytes, Status> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
    };
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            Err(Status::invalid_argument(format!("{}: more than {FILE_BYTES_MAX} bytes", path.display())))
        }
        Ok(_) => Ok(text.into()),
        Err(error) => Err(Status::invalid_argument(format!("{} cannot be read: {error}", path.display()))),
    }
}
