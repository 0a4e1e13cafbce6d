//! Objects in files: what stands below a folder as `BUCKET/KEY` serves distributed Maps in the place of S3.
//!
//! Purpose: the calls `s3:getObject` and `s3:listObjectsV2` of item readers and `s3:putObject` of result writers. They wait
//! for the disk, so that a shard makes them on other threads. Invariants: nothing outside of the folder is ever opened, for
//! names are walked one by one and no symbolic link below the folder is followed (`folder`); an object is there as a whole
//! or not at all, also after a crash; what is read and listed is bounded before it is read. What may fail: everything, with
//! an [`ObjectError`] whose text is the cause that the execution is given.

mod folder;
mod listing;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use asl::map::{OBJECT_BYTES_MAX, ResultObject};
use asl::value::JsonLimits;
use asl::{Str, Value};
use bytes::Bytes;

use folder::{Folder, components};

/// Parameters of `s3:getObject` that are understood, or make no difference here.
const GET_PARAMETERS: [&str; 4] = ["Bucket", "Key", "ExpectedBucketOwner", "RequestPayer"];

/// Why an object cannot be read, listed or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No folder of this name.
    #[error("The specified bucket does not exist: the objects folder has no folder '{0}'.")]
    NoBucket(String),
    /// No file of this name.
    #[error(
        "The specified key does not exist: there is no file for s3://{bucket}/{key} in the objects folder."
    )]
    NoObject {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
    },
    /// A name that is no place below the folder.
    #[error("The {what} '{name}' cannot be the name of a file below the objects folder: {problem}.")]
    Name {
        /// `bucket` or `key`.
        what: &'static str,
        /// As it was given, cut.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A symbolic link on the way.
    #[error("'{0}' is a symbolic link: below the objects folder none is followed.")]
    Link(String),
    /// A folder, a socket or the like.
    #[error("'{0}' is no regular file, so it is no object.")]
    NotAFile(String),
    /// More than is read.
    #[error("The object s3://{bucket}/{key} has {bytes} bytes; at most {OBJECT_BYTES_MAX} are read.")]
    TooLong {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// A call or a parameter that is not served.
    #[error("{0}")]
    Call(String),
    /// A listing that would take too long.
    #[error("A listing looks at {0} files at most for one page: narrow it with a Prefix that ends in '/'.")]
    Listing(usize),
    /// The file system.
    #[error("'{what}' cannot be {done}: {source}.")]
    Io {
        /// Which file or folder.
        what: String,
        /// What was tried: `read`, `written`.
        done: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ObjectError {
    /// Whether the object is not there, or is not what it was: trying again changes nothing. A missing bucket does not
    /// count, for a file system that is not mounted looks the same.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NoObject { .. } | Self::TooLong { .. } | Self::NotAFile(_) | Self::Link(_))
    }
}

/// The folder itself cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--objects-dir: {dir} cannot be read as a folder ({source}): make it, or correct the setting")]
pub struct FolderError {
    dir: String,
    source: io::Error,
}

/// The objects below a folder.
#[derive(Debug)]
pub struct Objects {
    root: Folder,
}

impl Objects {
    /// The objects below this folder.
    ///
    /// # Errors
    /// When it is no folder that can be read.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError { dir: root.display().to_string(), source };
        Folder::open(root).map(|root| Self { root }).map_err(failed)
    }

    /// Answers a reader's call: an object's bytes, or a page of a listing as JSON.
    ///
    /// # Errors
    /// [`ObjectError`]
    pub fn read(&self, resource: &str, parameters: &[u8]) -> Result<Bytes, ObjectError> {
        let parameters = Value::parse(parameters, JsonLimits::default())
            .map_err(|error| ObjectError::Call(format!("The reader's parameters are no JSON: {error}.")))?;
        match resource.rsplit(':').next() {
            Some("getObject") => self.get(&parameters),
            Some("listObjectsV2") => listing::list(&self.root, &parameters),
            _ => Err(ObjectError::Call(format!("The objects folder does not serve {resource}."))),
        }
    }

    fn get(&self, parameters: &Value) -> Result<Bytes, ObjectError> {
        only(parameters, "getObject", &GET_PARAMETERS)?;
        let (bucket, key) = (text(parameters, "Bucket")?, text(parameters, "Key")?);
        let (folders, name) = components(key)?;
        let mut folder = self.root.bucket(bucket)?;
        let absent = || ObjectError::NoObject { bucket: bucket.to_owned(), key: key.to_owned() };
        for part in folders {
            folder = folder.below(part)?.ok_or_else(absent)?;
        }
        let file = folder.file(name)?.ok_or_else(absent)?;
        let failed = |source| ObjectError::Io { what: folder.path_of(name), done: "read", source };
        let long = |bytes| ObjectError::TooLong { bucket: bucket.to_owned(), key: key.to_owned(), bytes };
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > OBJECT_BYTES_MAX as u64 {
            return Err(long(bytes));
        }
        let body = body(file, bytes).map_err(failed)?;
        if body.len() > OBJECT_BYTES_MAX { Err(long(body.len() as u64)) } else { Ok(body) }
    }

    /// Writes objects, one after the other; the bucket must be there, other folders are made.
    ///
    /// # Errors
    /// [`ObjectError`]; then those before the one at fault are written.
    pub fn write(&self, bucket: &str, objects: &[ResultObject]) -> Result<(), ObjectError> {
        let bucket = self.root.bucket(bucket)?;
        for ResultObject { key, body } in objects {
            let (folders, name) = components(key)?;
            let mut folder = bucket.clone();
            for part in folders {
                folder = folder.made(part)?;
            }
            folder.replace(name, body)?;
        }
        Ok(())
    }
}

/// One byte more than an object may have is enough to know that it has grown beyond.
fn body(file: File, expected: u64) -> io::Result<Bytes> {
    let mut body = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(OBJECT_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
    Ok(Bytes::from(body))
}

/// A parameter that must be a text.
fn text<'v>(parameters: &'v Value, name: &str) -> Result<&'v str, ObjectError> {
    let given = parameters.get(name).and_then(Value::as_str);
    given.ok_or_else(|| ObjectError::Call(format!("The parameter {name} must be a text.")))
}

/// Refuses what would make a difference and is not understood: a wrong answer is worse than none.
fn only(parameters: &Value, call: &str, known: &[&str]) -> Result<(), ObjectError> {
    let names = parameters.as_object().into_iter().flat_map(|parameters| parameters.keys());
    match names.map(Str::as_str).find(|name| !known.contains(name)) {
        Some(unknown) => {
            let cut: String = unknown.chars().take(folder::SHOWN_CHARS_MAX).collect();
            Err(ObjectError::Call(format!(
                "The objects folder does not serve the parameter {cut} of {call}."
            )))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
