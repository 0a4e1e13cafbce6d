//! The server: threads that share nothing, each with a listener, a runtime and connections of its own.
//!
//! Invariants: the kernel spreads connections over the threads (`SO_REUSEPORT`); off loopback nothing is served without TLS and
//! without signatures. What may fail: opening it, with [`Error`]; afterwards connections fail, each for itself.

mod activity;
mod body;
mod connection;
mod head;
mod lane;
mod listener;
mod places;
mod request;
mod request_id;
mod response;
mod written;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{oneshot, watch};
use trust::PublicIdentity;

use crate::Error;
use crate::admission::Admission;
use crate::call::Gate;
use crate::limits::Limits;
use crate::tell::Tell;

/// What time it is, for signatures.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What a door is made of.
pub struct FrontConfig<G, A> {
    /// Where it listens; port 0 takes any free port. Off loopback it needs `tls`.
    pub listen: SocketAddr,
    /// Threads that serve; one at least.
    pub threads: usize,
    /// The bounds of each thread.
    pub limits: Limits,
    /// The certificate that it shows, which is read again when it changes; `None`: plain HTTP.
    pub tls: Option<PublicIdentity>,
    /// Answers calls.
    pub gate: Arc<G>,
    /// Lets callers in.
    pub admission: Arc<A>,
    /// Counts.
    pub tell: Arc<dyn Tell>,
    /// What time it is, for signatures.
    pub now: Clock,
}

/// What all threads of a door know.
struct Door<G, A> {
    limits: Limits,
    tls: Option<PublicIdentity>,
    gate: Arc<G>,
    admission: Arc<A>,
    tell: Arc<dyn Tell>,
    now: Clock,
}

/// An open door. Dropped, it is shut without waiting for what is under way.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// One for each thread; ends with it.
    threads: Vec<oneshot::Receiver<()>>,
}

impl Front {
    /// Opens a door; it answers when this returns.
    ///
    /// # Errors
    /// [`Error`]: the address is taken, or off loopback without TLS or signatures; a limit that cannot work; no thread.
    pub fn start<G: Gate, A: Admission>(config: FrontConfig<G, A>) -> Result<Self, Error> {
        let FrontConfig { listen, threads, limits, tls, gate, admission, tell, now } = config;
        limits.check()?;
        if !listen.ip().is_loopback() && tls.is_none() {
            return Err(Error::NoTls(listen));
        }
        if !listen.ip().is_loopback() && admission.is_open() {
            return Err(Error::NoAuth(listen));
        }
        let taken = |source| Error::Listen { address: listen, source };
        let listeners = listener::bind(listen, threads.max(1)).map_err(taken)?;
        let address = listeners[0].local_addr().map_err(taken)?;
        let door = Arc::new(Door { limits, tls, gate, admission, tell, now });
        let (stop, stopped) = watch::channel(false);
        let mut begun = Vec::with_capacity(listeners.len());
        let mut ends = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
            let (ended, end) = oneshot::channel();
            let (door, stopped) = (Arc::clone(&door), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("front-{number}"));
            let thread = thread.spawn(move || {
                lane::run(number, door, listener, stopped, ready);
                // Whoever waits may have given up.
                let _ = ended.send(());
            });
            thread.map_err(Error::Thread)?;
            begun.push(is_ready);
            ends.push(end);
        }
        for is_ready in begun {
            let ready = is_ready.recv().unwrap_or_else(|_| Err(std::io::Error::other("it ended at once")));
            ready.map_err(Error::Thread)?;
        }
        Ok(Self { address, stop, threads: ends })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shuts the door: nobody is let in any more, calls under way are answered, for [`Limits::drain_within`] at most.
    pub async fn shut_down(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            // A panic of the thread has been told by its hook.
            let _ = thread.await;
        }
    }
}
