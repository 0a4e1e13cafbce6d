//! Closed executions beyond the log: in a folder, or in a bucket of an S3-compatible store.
//!
//! Purpose: what the log is trimmed of stays to be looked up. An archive is a set of immutable *segments*: blocks of whole
//! executions (start, journal, end), and an index of them. [`View`] reads it through the store contract, so that whatever
//! looks up and lists in a log does so here by the same code. Invariants: a segment is there as a whole or not at all; its
//! name says which partition and which blocks of the log it stands for, so that whoever writes it again, an owner that was
//! replaced included, writes the same; nothing is ever changed, and what is deleted is past the time that its name says.
//! What may fail: the object store, with [`ArchiveError`]; segments that somebody else has damaged.
//!
//! All work (waiting, compressing, reading of indexes) happens on a thread of the archive's own.

mod builder;
mod cache;
mod index;
mod name;
mod objects;
mod view;

pub use builder::{Segment, SegmentBuilder};
pub use name::SegmentName;
pub use objects::{Archive, ArchiveOptions};
pub use view::View;

/// Why the archive did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A setting that cannot work.
    #[error("{setting}: {message}")]
    Setting {
        /// As a flag.
        setting: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// The directory cannot be made or read.
    #[error("--archive: {path} cannot be used: {message}")]
    Directory {
        /// Which.
        path: String,
        /// What the operating system said.
        message: String,
    },
    /// The folder or bucket does not answer, or refuses.
    #[error("the archive cannot be {done}: {source}")]
    Objects {
        /// `read`, `written`, `listed`, `cleared`.
        done: &'static str,
        /// What it said.
        source: object_store::Error,
    },
    /// An object that is no segment, or is not what its name says.
    #[error("the archive holds something else than was written: {0}")]
    Corrupt(String),
    /// The archive's thread cannot be made, or has ended.
    #[error("the archive's thread: {0}")]
    Thread(String),
}

impl From<ArchiveError> for journal::StoreError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Corrupt(what) => Self::Corrupt(what),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
