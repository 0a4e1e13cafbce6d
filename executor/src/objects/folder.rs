//! A folder below the objects folder, and what is safe to do in it.
//!
//! Invariants: a [`Folder`] is a descriptor, reached from the root by opening one name after the other with `O_NOFOLLOW`, so
//! that no name, link or renaming in between leads outside; a file is written under a name of the node's own, made durable
//! and then renamed. What may fail: [`ObjectError`].

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::ObjectError;

/// The longest key, in bytes (S3).
pub(super) const KEY_BYTES_MAX: usize = 1_024;
/// Characters of a wrong name that are shown.
pub(super) const SHOWN_CHARS_MAX: usize = 200;
/// Begins the names of files that are being written: they are no objects.
pub(super) const UNFINISHED: &str = ".myriad-";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    descriptor: Arc<OwnedFd>,
    /// From the root, for messages; ends with `/`, except for the root's.
    path: String,
}

/// What may stand as one name of a path, and why not.
fn checked<'n>(what: &'static str, whole: &str, name: &'n str) -> Result<&'n str, ObjectError> {
    let problem = match name {
        "" => "a part of it is empty",
        "." | ".." => "'.' and '..' lead elsewhere",
        _ if name.contains('\0') => "it has a NUL",
        _ if name.contains('/') => "it has a '/'",
        _ if name.starts_with(UNFINISHED) => "names that begin with '.myriad-' are the node's own",
        _ => return Ok(name),
    };
    Err(wrong(what, whole, problem))
}

pub(super) fn wrong(what: &'static str, name: &str, problem: &'static str) -> ObjectError {
    ObjectError::Name { what, name: name.chars().take(SHOWN_CHARS_MAX).collect(), problem }
}

/// The folders and the name of a key's file.
pub(super) fn components(key: &str) -> Result<(Vec<&str>, &str), ObjectError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(wrong("key", key, "it is longer than 1,024 bytes"));
    }
    if key.starts_with('/') {
        return Err(wrong("key", key, "it begins with '/'"));
    }
    let mut parts = key.split('/').map(|part| checked("key", key, part)).collect::<Result<Vec<_>, _>>()?;
    let name = parts.pop().unwrap_or_default();
    Ok((parts, name))
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// The root: here, and only here, links are followed.
    pub fn open(root: &Path) -> io::Result<Self> {
        let descriptor = rustix::fs::open(root, FOLDER, Mode::empty())?;
        Ok(Self { descriptor: Arc::new(descriptor), path: String::new() })
    }

    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// How messages name a file or folder in this one.
    pub fn path_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// The folder of a bucket.
    pub fn bucket(&self, name: &str) -> Result<Self, ObjectError> {
        let shown = || name.chars().take(SHOWN_CHARS_MAX).collect();
        self.below(checked("bucket", name, name)?)?.ok_or_else(|| ObjectError::NoBucket(shown()))
    }

    /// The folder of this name, if there is one.
    pub fn below(&self, name: &str) -> Result<Option<Self>, ObjectError> {
        match rustix::fs::openat(&*self.descriptor, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(descriptor) => {
                let path = format!("{}{name}/", self.path);
                Ok(Some(Self { descriptor: Arc::new(descriptor), path }))
            }
            // A file in the place of a folder: no key leads through it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.no_link(name).map(|()| None),
            Err(error) => Err(self.failed(name, "read", error.into())),
        }
    }

    /// The folder of this name; made if it is missing.
    pub fn made(&self, name: &str) -> Result<Self, ObjectError> {
        match rustix::fs::mkdirat(&*self.descriptor, name, Mode::from(0o777)) {
            // Its name is as durable as what is written into it.
            Ok(()) => self.sync(name)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed(name, "made", error.into())),
        }
        let not_a_folder = || self.failed(name, "made", Errno::NOTDIR.into());
        self.below(name)?.ok_or_else(not_a_folder)
    }

    /// The regular file of this name, if there is one. Opening never waits, as a named pipe would have it.
    pub fn file(&self, name: &str) -> Result<Option<File>, ObjectError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&*self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return self.no_link(name).map(|()| None),
            Err(Errno::NXIO) => return Err(ObjectError::NotAFile(self.path_of(name))),
            Err(error) => return Err(self.failed(name, "read", error.into())),
        };
        let metadata = file.metadata().map_err(|error| self.failed(name, "read", error))?;
        if metadata.is_file() { Ok(Some(file)) } else { Err(ObjectError::NotAFile(self.path_of(name))) }
    }

    /// Puts a file in the place of whatever file has this name.
    pub fn replace(&self, name: &str, body: &[u8]) -> Result<(), ObjectError> {
        // Two nodes that share the folder must not write the same file.
        let unfinished = format!("{UNFINISHED}{:016x}", RandomState::new().hash_one(name));
        let written = self.write_as(&unfinished, body).and_then(|()| {
            Ok(rustix::fs::renameat(&*self.descriptor, &*unfinished, &*self.descriptor, name)?)
        });
        if let Err(error) = written {
            // It may never have been made; nothing more can be done about one that stays.
            let _ = rustix::fs::unlinkat(&*self.descriptor, &*unfinished, AtFlags::empty());
            return Err(self.failed(name, "written", error));
        }
        self.sync(name)
    }

    fn write_as(&self, name: &str, body: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(&*self.descriptor, name, flags, Mode::from(0o666))?;
        let mut file = File::from(descriptor);
        file.write_all(body)?;
        file.sync_data()
    }

    /// Makes the names in this folder durable.
    fn sync(&self, name: &str) -> Result<(), ObjectError> {
        rustix::fs::fsync(&*self.descriptor).map_err(|error| self.failed(name, "written", error.into()))
    }

    fn no_link(&self, name: &str) -> Result<(), ObjectError> {
        match rustix::fs::statat(&*self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Err(ObjectError::Link(self.path_of(name)))
            }
            _ => Ok(()),
        }
    }

    pub fn failed(&self, name: &str, done: &'static str, source: io::Error) -> ObjectError {
        ObjectError::Io { what: self.path_of(name), done, source }
    }
}
