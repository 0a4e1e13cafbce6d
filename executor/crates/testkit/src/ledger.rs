//! The ack ledger: what a client was told, on a file of its own.
//!
//! Invariant: a line is on the disk (fdatasync) before [`AckLedger::record`] returns, and it is written only
//! after the acknowledgement came; so every line is something that the system has promised.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::TestkitError;

/// An append-only file of acknowledgements.
#[derive(Debug)]
pub struct AckLedger {
    path: PathBuf,
    file: File,
}

impl AckLedger {
    /// Opens the ledger, with what it holds already.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TestkitError> {
        let path = path.into();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| TestkitError::io(format!("ledger {}", path.display()), error))?;
        Ok(Self { path, file })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes acknowledgements down, one a line, and returns when they are on the disk.
    ///
    /// # Errors
    /// When the disk says no.
    ///
    /// # Panics
    /// When an entry has a line break: it would be read back as two.
    pub fn record<S: AsRef<str>>(&mut self, acks: impl IntoIterator<Item = S>) -> Result<(), TestkitError> {
        let mut text = String::new();
        for ack in acks {
            assert!(!ack.as_ref().contains('\n'), "an entry of the ledger is one line");
            text.push_str(ack.as_ref());
            text.push('\n');
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| TestkitError::io(format!("ledger {}", self.path.display()), error))
    }

    /// Everything that was written down, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Vec<String>, TestkitError> {
        self.lines()?.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// The same, line by line: a long run writes more than one wants in memory.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn lines(&self) -> Result<impl Iterator<Item = std::io::Result<String>>, TestkitError> {
        let file = File::open(&self.path).map_err(|error| self.failed(error))?;
        Ok(BufReader::new(file).lines())
    }

    fn failed(&self, error: std::io::Error) -> TestkitError {
        TestkitError::io(format!("ledger {}", self.path.display()), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read_back_in_order_also_after_opening_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("acks");
        AckLedger::open(&path).and_then(|mut ledger| ledger.record(["a", "b"])).expect("recorded");
        let mut ledger = AckLedger::open(&path).expect("opened again");
        ledger.record(["c"]).expect("recorded");
        assert_eq!(ledger.read().expect("read"), ["a", "b", "c"]);
    }
}
