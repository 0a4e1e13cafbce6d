//! Loopback ports that nobody else takes.
//!
//! Invariant: a port is handed out once among all test processes of this machine, by a file lock that lives
//! as long as the process. Ports lie below the range from which the system numbers outgoing connections, so
//! that a server which was killed finds its port free again.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// Locks that are held until the process ends; bounded by the number of ports.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A free port of the loopback address.
///
/// # Panics
/// When all ports of the range are taken.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` free ports that follow each other.
///
/// # Panics
/// When there are no such ports, or `count` is 0.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    assert!(count > 0, "a request for no port at all");
    let span = u32::from(LAST - FIRST - count);
    // Processes begin at different places, so that they seldom meet.
    let offset = std::process::id().wrapping_mul(97) % span;
    for step in 0..span {
        let place = (offset + step) % span;
        let Ok(place) = u16::try_from(place) else { continue };
        let base = FIRST + place;
        let taken: Option<Vec<File>> = (base..base + count).map(claim).collect();
        if let Some(locks) = taken {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).extend(locks);
            return base;
        }
    }
    panic!("no {count} free ports in a row between {FIRST} and {LAST}")
}

/// The lock of a port that is free, or nothing.
fn claim(port: u16) -> Option<File> {
    let directory = lock_directory();
    std::fs::create_dir_all(&directory).ok()?;
    let path = directory.join(port.to_string());
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
    lock.try_lock().ok()?;
    // A look by connecting, not by binding: a process that another thread is just starting would hold the
    // bound port for a moment.
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, LOOK_WITHIN).is_err().then_some(lock)
}

fn lock_directory() -> PathBuf {
    std::env::temp_dir().join("testkit-ports")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        assert_ne!(free_port(), free_port());
    }

    #[test]
    fn ports_in_a_row_can_all_be_listened_on() {
        let base = free_ports(4);
        let listen = |port| TcpListener::bind(("127.0.0.1", port));
        let listeners: Vec<_> = (base..base + 4).map(listen).collect();
        assert!(listeners.iter().all(Result::is_ok), "{listeners:?}");
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(claim(port).is_none(), "{port}");
    }
}
