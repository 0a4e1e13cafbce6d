//! A TCP proxy that loses replies, breaks them off, delays, resets and stands still on demand.
//!
//! Invariants: bytes are passed on unchanged and in order until a fault is asked for; a lost reply is lost
//! *after* the server has answered, so the request was carried out for certain. One pair of threads per
//! connection, at most [`CONNECTIONS_MAX`] of them at a time; what comes beyond that is reset.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::wait::LOOK_EVERY;
use crate::{TestkitError, free_port};

/// Connections that one proxy has at a time.
pub const CONNECTIONS_MAX: usize = 4_096;
const CHUNK: usize = 64 * 1024;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    lose_replies: AtomicUsize,
    lost_replies: AtomicUsize,
    break_replies: AtomicUsize,
    delay_ms: AtomicU64,
    frozen: AtomicBool,
    refusing: AtomicBool,
    closed: AtomicBool,
    /// Both ends of each connection by its number, for resets.
    open: Mutex<HashMap<u64, (TcpStream, TcpStream)>>,
}

impl Faults {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, (TcpStream, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Listens on a free loopback port and passes everything on to `upstream`.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub fn start(upstream: SocketAddr) -> Result<Self, TestkitError> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], free_port())), upstream)
    }

    /// As [`Proxy::start`], on an address of the caller's: any of 127.0.0.0/8 is loopback, so a proxy can have the port of
    /// what it stands before.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen(address: SocketAddr, upstream: SocketAddr) -> Result<Self, TestkitError> {
        let listener = TcpListener::bind(address)
            .map_err(|error| TestkitError::io(format!("proxy on {address}"), error))?;
        let faults = Arc::new(Faults::default());
        let shared = Arc::clone(&faults);
        std::thread::spawn(move || accept(&listener, upstream, &shared));
        Ok(Self { address, faults })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of the next `count` replies none arrives: the connection is reset when the server has answered.
    pub fn lose_replies(&self, count: usize) {
        self.faults.lose_replies.store(count, Ordering::SeqCst);
    }

    /// How many replies were lost so far.
    #[must_use]
    pub fn lost_replies(&self) -> usize {
        self.faults.lost_replies.load(Ordering::SeqCst)
    }

    /// Of the next `count` replies half arrives, and then the connection ends.
    pub fn break_replies(&self, count: usize) {
        self.faults.break_replies.store(count, Ordering::SeqCst);
    }

    /// How many replies are still to be broken off.
    #[must_use]
    pub fn replies_to_break(&self) -> usize {
        self.faults.break_replies.load(Ordering::SeqCst)
    }

    /// Every chunk waits this long, in both directions.
    pub fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.faults.delay_ms.store(millis, Ordering::SeqCst);
    }

    /// While frozen, connections stay open and nothing passes.
    pub fn freeze(&self, frozen: bool) {
        self.faults.frozen.store(frozen, Ordering::SeqCst);
    }

    /// While refusing, new connections are reset at once.
    pub fn refuse(&self, refusing: bool) {
        self.faults.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Resets every open connection, in both directions.
    pub fn reset(&self) {
        for (_, (client, server)) in self.faults.open().drain() {
            cut(&client, &server);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.closed.store(true, Ordering::SeqCst);
        self.reset();
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address()));
    }
}

fn accept(listener: &TcpListener, upstream: SocketAddr, faults: &Arc<Faults>) {
    for (number, client) in (0..).zip(listener.incoming()) {
        if faults.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if faults.refusing.load(Ordering::SeqCst) || faults.open().len() >= CONNECTIONS_MAX {
            drop(SockRef::from(&client).set_linger(Some(Duration::ZERO)));
            continue;
        }
        let Ok(server) = TcpStream::connect(upstream) else { continue };
        drop(client.set_nodelay(true).and_then(|()| server.set_nodelay(true)));
        let copies = (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
        let (Ok(client2), Ok(server2), Ok(client3), Ok(server3)) = copies else { continue };
        faults.open().insert(number, (client3, server3));
        let (up, down) = (Arc::clone(faults), Arc::clone(faults));
        std::thread::spawn(move || pass(client, server, &up, false));
        std::thread::spawn(move || {
            pass(server2, client2, &down, true);
            // What the server says no more ends the connection; it is kept no longer.
            down.open().remove(&number);
        });
    }
}

/// Copies one direction to its end.
fn pass(mut from: TcpStream, mut to: TcpStream, faults: &Faults, replies: bool) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read) = from.read(&mut chunk) {
        if read == 0 {
            break;
        }
        let delay = Duration::from_millis(faults.delay_ms.load(Ordering::SeqCst));
        let until = Instant::now() + delay;
        while Instant::now() < until || faults.frozen.load(Ordering::SeqCst) {
            if faults.closed.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        if replies && take_one(&faults.lose_replies) {
            // Counted before the cut: who has noticed the loss finds it counted.
            faults.lost_replies.fetch_add(1, Ordering::SeqCst);
            cut(&to, &from);
            return;
        }
        if replies && take_one(&faults.break_replies) {
            drop(to.write_all(chunk.get(..read / 2).unwrap_or_default()));
            drop((to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both)));
            return;
        }
        if to.write_all(chunk.get(..read).unwrap_or_default()).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Ends both sides; the client sees a reset rather than an orderly end.
fn cut(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
        drop(stream.shutdown(Shutdown::Both));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each byte with the number of bytes that it has seen over all connections.
    fn counter() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut seen = 0_u8;
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    seen += 1;
                    if stream.write_all(&[seen]).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        let mut byte = [0];
        stream.write_all(&[0])?;
        stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    #[test]
    fn a_lost_reply_was_carried_out_by_the_server() {
        let proxy = Proxy::start(counter()).expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).expect("connected");
        assert_eq!(ask(&mut stream).expect("passes"), 1);
        proxy.lose_replies(1);
        ask(&mut stream).expect_err("the reply is lost");
        assert_eq!(proxy.lost_replies(), 1);
        let mut stream = TcpStream::connect(proxy.address()).expect("connected again");
        assert_eq!(ask(&mut stream).expect("passes"), 3, "the request before was carried out");
    }

    #[test]
    fn of_a_reply_that_breaks_off_half_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Proxy::start(listener.local_addr().expect("an address")).expect("a proxy");
        proxy.break_replies(1);
        let mut client = TcpStream::connect(proxy.address()).expect("connected");
        let (mut server, _) = listener.accept().expect("passed on");
        server.write_all(b"12345678").expect("written");
        let mut arrived = Vec::new();
        client.read_to_end(&mut arrived).expect("an orderly end");
        assert_eq!((arrived.as_slice(), proxy.replies_to_break()), (b"1234".as_slice(), 0));
    }

    #[test]
    fn a_proxy_can_have_the_port_of_what_it_stands_before_and_forgets_connections_that_ended() {
        let upstream = counter();
        let address = SocketAddr::from(([127, 0, 0, 2], upstream.port()));
        let proxy = Proxy::listen(address, upstream).expect("a proxy");
        let mut stream = TcpStream::connect(address).expect("connected");
        assert_eq!(ask(&mut stream).expect("passes"), 1);
        assert_eq!(proxy.faults.open().len(), 1);
        proxy.lose_replies(1);
        ask(&mut stream).expect_err("the reply is lost");
        crate::eventually("the connection is forgotten", Duration::from_secs(10), || {
            if proxy.faults.open().is_empty() { Ok(()) } else { Err("it is kept") }
        });
    }

    #[test]
    fn a_reset_and_a_refusal_end_connections() {
        let proxy = Proxy::start(counter()).expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).expect("connected");
        ask(&mut stream).expect("passes");
        proxy.refuse(true);
        proxy.reset();
        ask(&mut stream).expect_err("reset");
        let refused = TcpStream::connect(proxy.address()).and_then(|mut stream| ask(&mut stream));
        refused.expect_err("refused");
        proxy.refuse(false);
        let mut stream = TcpStream::connect(proxy.address()).expect("connected");
        ask(&mut stream).expect("passes again");
    }
}
