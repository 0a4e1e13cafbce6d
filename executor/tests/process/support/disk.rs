//! A disk that is really full, and has space again.
//!
//! Where this process may mount, the disk is a tmpfs of its own, filled by a file of ballast: writing gives ENOSPC. Where
//! it may not, the node is run under a limit of its files' size (`prlimit`), lowered and raised again while it runs:
//! writing gives EFBIG. Which of the two it was is said on standard error, and nothing passes without one of them.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::store::StoreUnderTest;

/// Bytes of the mounted disk.
const SIZE: &str = "24m";

/// See the module.
pub enum SmallDisk {
    Mounted(Mount),
    /// Files may grow no further.
    Limited,
}

/// A mounted tmpfs, unmounted in the end.
pub struct Mount(TempDir);

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

fn mount() -> Result<Mount, String> {
    let dir = tempfile::Builder::new().prefix("disk-").tempdir().expect("a directory");
    let options = format!("size={SIZE},mode=0700");
    let mounting =
        Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
    let output = mounting.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(Mount(dir))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

impl SmallDisk {
    /// The disk, and a file store on it.
    pub fn new() -> (Self, StoreUnderTest) {
        match mount() {
            Ok(mount) => {
                eprintln!("the disk is a tmpfs of {SIZE} at {}", mount.0.path().display());
                let store = TempDir::new_in(&mount.0).expect("a directory on the disk");
                (Self::Mounted(mount), StoreUnderTest::File(store))
            }
            Err(why) => {
                eprintln!(
                    "NO DISK COULD BE MOUNTED ({why}): a limit of the files' size stands in for it, with EFBIG in \
                     place of ENOSPC; run this test as root where mounting is allowed"
                );
                (Self::Limited, StoreUnderTest::file())
            }
        }
    }

    fn ballast(mount: &Mount) -> std::path::PathBuf {
        mount.0.path().join("ballast")
    }

    /// Leaves no space.
    pub fn fill(&self, node: u32) {
        match self {
            Self::Mounted(mount) => fill_up(&Self::ballast(mount)),
            Self::Limited => limit_files(node, "1"),
        }
    }

    /// Gives the space back.
    pub fn free(&self, node: u32) {
        match self {
            Self::Mounted(mount) => std::fs::remove_file(Self::ballast(mount)).expect("the ballast goes"),
            Self::Limited => limit_files(node, "unlimited"),
        }
    }
}

/// Writes until the disk is full.
fn fill_up(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file on the disk");
    for bytes in [64 * 1024, 4 * 1024, 1] {
        let piece = vec![1; bytes];
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{} cannot be filled: {error}", path.display()),
            }
        }
    }
}

/// Only the soft limit: the hard one could not be raised again without privileges.
fn limit_files(process: u32, bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "prlimit (of util-linux) cannot limit files to {bytes}"
    );
}
