//! Listings: the keys of a bucket in S3's order, a page at a time.
//!
//! Invariants: keys come in the order of their bytes, for a folder is sorted as its name with a `/`; a page names at most
//! [`PAGE_KEYS_MAX`] keys and takes about [`PAGE_BYTES_MAX`] bytes at most, so that the journal keeps it whole; of a
//! folder, however large, only as many names as a page has are in memory at once. Links, sockets and files that are being
//! written are no objects. What may fail: names that cannot be keys, for what is left out would be missing silently.

use std::collections::BinaryHeap;

use asl::Value;
use asl::value::Map;
use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use super::folder::{Folder, KEY_BYTES_MAX, UNFINISHED, wrong};
use super::{ObjectError, only, text};
use crate::limits;

/// Keys of a page (S3).
const PAGE_KEYS_MAX: usize = 1_000;
/// Bytes of a page's entries, but for one that alone has more.
const PAGE_BYTES_MAX: usize = limits::READ_KEPT_BYTES_MAX / 2;
/// Files and folders that are looked at for one page.
const LOOKED_AT_MAX: usize = 10_000_000;
/// Parameters that are understood, or make no difference here.
const PARAMETERS: [&str; 8] = [
    "Bucket",
    "Prefix",
    "ContinuationToken",
    "StartAfter",
    "MaxKeys",
    "ExpectedBucketOwner",
    "FetchOwner",
    "RequestPayer",
];

/// One page of a listing, as S3 answers.
pub(super) fn list(root: &Folder, parameters: &Value) -> Result<Bytes, ObjectError> {
    only(parameters, "listObjectsV2", &PARAMETERS)?;
    let optional = |name| match parameters.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(_) => text(parameters, name),
    };
    let (bucket, prefix) = (text(parameters, "Bucket")?, optional("Prefix")?);
    // A token is the last key before its page.
    let after = optional("ContinuationToken")?.max(optional("StartAfter")?);
    let most = match parameters.get("MaxKeys") {
        None | Some(Value::Null) => PAGE_KEYS_MAX,
        Some(given) => {
            let given = given.as_u64().and_then(|most| usize::try_from(most).ok());
            let wrong = || ObjectError::Call("The parameter MaxKeys must be a number from 0.".to_owned());
            given.ok_or_else(wrong)?.min(PAGE_KEYS_MAX)
        }
    };
    let folder = root.bucket(bucket)?;
    let mut page = Page {
        prefix,
        after,
        most,
        entries: Vec::new(),
        last: String::new(),
        bytes: 0,
        more: false,
        looked_at: 0,
    };
    if most > 0 {
        page.take(&folder, "")?;
    }
    let count = Value::from(page.entries.len() as u64);
    let mut told = Map::with_capacity(7);
    told.insert("Contents", Value::from(page.entries));
    told.insert("IsTruncated", Value::from(page.more));
    told.insert("KeyCount", count);
    told.insert("MaxKeys", Value::from(most as u64));
    told.insert("Name", Value::from(bucket));
    told.insert("Prefix", Value::from(prefix));
    if page.more {
        told.insert("NextContinuationToken", Value::from(page.last));
    }
    Ok(Bytes::from(Value::from(told).to_json()))
}

struct Page<'a> {
    prefix: &'a str,
    /// Keys up to this one were on earlier pages.
    after: &'a str,
    most: usize,
    entries: Vec<Value>,
    /// The last key.
    last: String,
    bytes: usize,
    /// Whether there is a key that has no place any more.
    more: bool,
    looked_at: usize,
}

impl Page<'_> {
    /// Takes the keys of a folder, whose own are `path`.
    fn take(&mut self, folder: &Folder, path: &str) -> Result<(), ObjectError> {
        let mut done = String::new();
        loop {
            let names = self.first_names(folder, path, &done)?;
            for name in &names {
                let key = format!("{path}{name}");
                match name.strip_suffix('/') {
                    // What was a folder and is none any more has no keys.
                    Some(name) => match folder.below(name) {
                        Ok(Some(folder)) => self.take(&folder, &key)?,
                        Ok(None) | Err(ObjectError::Link(_)) => {}
                        Err(error) => return Err(error),
                    },
                    None => self.object(folder, name, key)?,
                }
                if self.more {
                    return Ok(());
                }
            }
            match names.into_iter().next_back() {
                Some(last) => done = last,
                None => return Ok(()),
            }
        }
    }

    /// The first names after `done` that keys of this page may have, in order; those of folders end with `/`.
    fn first_names(&mut self, folder: &Folder, path: &str, done: &str) -> Result<Vec<String>, ObjectError> {
        let failed = |error: Errno| folder.failed("", "listed", error.into());
        let mut first = BinaryHeap::new();
        for entry in Dir::read_from(folder.descriptor()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.looked_at += 1;
            if self.looked_at > LOOKED_AT_MAX {
                return Err(ObjectError::Listing(LOOKED_AT_MAX));
            }
            let raw = entry.file_name().to_bytes();
            if matches!(raw, b"." | b"..") || raw.starts_with(UNFINISHED.as_bytes()) {
                continue;
            }
            let shown = || format!("{path}{}", String::from_utf8_lossy(raw));
            let Ok(name) = std::str::from_utf8(raw) else {
                return Err(wrong("key", &shown(), "it is not valid UTF-8"));
            };
            let name = match kind(folder, name, entry.file_type()) {
                FileType::Directory => format!("{name}/"),
                FileType::RegularFile => name.to_owned(),
                _ => continue,
            };
            if name.as_str() > done && self.may_have(&format!("{path}{name}")) {
                if path.len() + name.len() > KEY_BYTES_MAX {
                    return Err(wrong("key", &shown(), "it is longer than 1,024 bytes"));
                }
                first.push(name);
                if first.len() > PAGE_KEYS_MAX {
                    first.pop();
                }
            }
        }
        Ok(first.into_sorted_vec())
    }

    /// Whether this is a key of the page, or a folder that may have some.
    fn may_have(&self, key: &str) -> bool {
        let folder = key.ends_with('/');
        let wanted = key.starts_with(self.prefix) || (folder && self.prefix.starts_with(key));
        wanted && (key > self.after || (folder && self.after.starts_with(key)))
    }

    fn object(&mut self, folder: &Folder, name: &str, key: String) -> Result<(), ObjectError> {
        let stat = match rustix::fs::statat(folder.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(folder.failed(name, "read", error.into())),
        };
        let entry = entry(&key, &stat);
        let bytes = self.bytes + entry.to_json().len() + 1;
        let full = self.entries.len() >= self.most || bytes > PAGE_BYTES_MAX;
        if full && !self.entries.is_empty() {
            self.more = true;
            return Ok(());
        }
        self.bytes = bytes;
        self.entries.push(entry);
        self.last = key;
        Ok(())
    }
}

/// What a name in a folder is; not every file system tells it beside the name.
fn kind(folder: &Folder, name: &str, told: FileType) -> FileType {
    if told != FileType::Unknown {
        return told;
    }
    let stat = rustix::fs::statat(folder.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW);
    stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// An entry as S3 tells it. The tag changes with the file's size and time; it is no hash of its bytes, which are not read.
fn entry(key: &str, stat: &Stat) -> Value {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    let tag = format!("\"{:016x}{size:016x}\"", nanos.cast_unsigned() & u128::from(u64::MAX));
    Value::object([
        ("ETag", Value::from(tag)),
        ("Key", Value::from(key)),
        ("LastModified", Value::from(stat.st_mtime)),
        ("Size", Value::from(size)),
        ("StorageClass", Value::from("STANDARD")),
    ])
}
