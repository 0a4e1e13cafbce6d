//! One thread of the door: a listener, a runtime, and its connections.
//!
//! Invariants: nothing of it is shared with other threads; as many connections as there may be, and no more requests and bytes
//! of bodies than there may be, whatever their peers do. What may fail: making the runtime, which is told to who started it;
//! accepting, which is tried again.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use slab::Slab;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::Door;
use super::activity::{Activity, Order};
use super::connection;
use super::places::Places;
use super::request_id::RequestIds;
use crate::admission::Admission;
use crate::call::Gate;
use crate::limits::Limits;
use crate::tell::Connection;

/// How long to wait after the kernel refused a connection (too many open files, most likely).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Connections that are looked at to find the one that makes room.
const LOOKED_AT: usize = 64;
/// Bytes of an answer that an HTTP/2 stream buffers before its peer has room for them.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes that an HTTP/2 stream may send before they are read, and all streams of a connection together.
const WINDOW_BYTES: u32 = 256 << 10;
/// Streams that a peer opened and gave up before they were looked at; more end the connection.
const RESETS_MAX: usize = 32;
/// What a connection hears that finds no room.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 68\r\n\r\nall connections are busy: try again, with fewer connections at once\n";

/// See the module.
pub(super) struct Lane<G, A> {
    pub(super) number: usize,
    pub(super) door: Arc<Door<G, A>>,
    pub(super) http: auto::Builder<Here>,
    pub(super) ids: RequestIds,
    pub(super) places: Rc<Places>,
    connections: RefCell<Slab<Rc<Activity>>>,
    /// Where the look for one that makes room goes on.
    hand: Cell<usize>,
    /// Told when the last connection has gone.
    gone: Notify,
}

/// Spawns on the thread's own runtime, so that nothing has to be `Send`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// The whole life of the thread.
pub(super) fn run<G: Gate, A: Admission>(
    number: usize,
    door: Arc<Door<G, A>>,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
    ready: SyncSender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever starts the door waits for this.
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        if let Some(identity) = door.tls.clone().filter(|_| number == 0) {
            tokio::task::spawn_local(identity.keep_fresh());
        }
        let _ = ready.send(Ok(()));
        Rc::new(Lane::new(number, door)).serve(listener, stopped).await;
    });
}

fn http(limits: &Limits) -> auto::Builder<Here> {
    let mut http = auto::Builder::new(Here);
    http.http1()
        .timer(TokioTimer::new())
        // `Activity` does this, and tells an idle connection from one whose headers drip.
        .header_read_timeout(None)
        // A head that fits in no buffer; one that fits by chance is measured when it is read.
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES);
    http
}

impl<G: Gate, A: Admission> Lane<G, A> {
    fn new(number: usize, door: Arc<Door<G, A>>) -> Self {
        Self {
            number,
            http: http(&door.limits),
            ids: RequestIds::new(),
            places: Rc::new(Places::new(&door.limits)),
            connections: RefCell::default(),
            hand: Cell::new(0),
            gone: Notify::new(),
            door,
        }
    }

    async fn serve(self: Rc<Self>, listener: tokio::net::TcpListener, mut stopped: watch::Receiver<bool>) {
        {
            // An error says that nobody holds the door any more.
            let stop = async { _ = stopped.wait_for(|stopped| *stopped).await };
            let mut stop = std::pin::pin!(stop);
            loop {
                tokio::select! {
                    stream = self.next(&listener) => self.welcome(stream),
                    () = &mut stop => break,
                }
            }
        }
        drop(listener);
        for (_, connection) in &*self.connections.borrow() {
            connection.order(Order::Drain);
        }
        let gone = async {
            while !self.connections.borrow().is_empty() {
                self.gone.notified().await;
            }
        };
        if tokio::time::timeout(self.door.limits.drain_within, gone).await.is_err() {
            let left = self.connections.borrow().len();
            tracing::warn!(left, "the front door is shut over connections with calls under way");
        }
    }

    /// The next connection, once those have gone that were told to make room.
    async fn next(&self, listener: &tokio::net::TcpListener) -> TcpStream {
        while self.connections.borrow().len() > self.door.limits.connections {
            tokio::task::yield_now().await;
        }
        accept(listener).await
    }

    fn welcome(self: &Rc<Self>, stream: TcpStream) {
        if self.connections.borrow().len() >= self.door.limits.connections && !self.make_room() {
            self.door.tell.connection(self.number, Connection::Refused);
            // As far as it is heard: it is not waited for.
            let _ = stream.try_write(if self.door.tls.is_none() { BUSY } else { &[] });
            return;
        }
        let me = Rc::new(Activity::new(self.door.tls.is_some()));
        let place = Place::new(self, &me);
        tokio::task::spawn_local(async move {
            let lane = &place.lane;
            if let Some(what) = connection::serve(lane, stream, &me).await {
                lane.door.tell.connection(lane.number, what);
            }
        });
    }

    /// Tells a connection to end on which nothing is under way; `false` when all are busy.
    fn make_room(&self) -> bool {
        let connections = self.connections.borrow();
        let all = connections.capacity();
        let mut found: Option<((bool, tokio::time::Instant), &Rc<Activity>)> = None;
        let (mut looked, mut at) = (0, self.hand.get());
        for _ in 0..all {
            at = (at + 1) % all;
            let Some(connection) = connections.get(at) else { continue };
            // The busy ones are passed by: there may be thousands of them.
            let Some(readiness) = connection.readiness() else { continue };
            if found.is_none_or(|(best, _)| readiness < best) {
                found = Some((readiness, connection));
            }
            looked += 1;
            if looked == LOOKED_AT {
                break;
            }
        }
        self.hand.set(at);
        if let Some((_, connection)) = found {
            connection.order(Order::End);
        }
        found.is_some()
    }
}

/// The next connection.
async fn accept(listener: &tokio::net::TcpListener) -> TcpStream {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Said once for as long as it lasts: it is tried again many times a second.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted: those that stand go on, others wait");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A connection's place among those of its thread; it is free when this is dropped.
struct Place<G: Gate, A: Admission> {
    lane: Rc<Lane<G, A>>,
    key: usize,
}

impl<G: Gate, A: Admission> Place<G, A> {
    fn new(lane: &Rc<Lane<G, A>>, connection: &Rc<Activity>) -> Self {
        lane.door.tell.connection(lane.number, Connection::Opened);
        let key = lane.connections.borrow_mut().insert(Rc::clone(connection));
        Self { lane: Rc::clone(lane), key }
    }
}

impl<G: Gate, A: Admission> Drop for Place<G, A> {
    fn drop(&mut self) {
        let Self { lane, key } = self;
        lane.door.tell.connection(lane.number, Connection::Closed);
        let mut connections = lane.connections.borrow_mut();
        connections.remove(*key);
        if connections.is_empty() {
            lane.gone.notify_one();
        }
    }
}
