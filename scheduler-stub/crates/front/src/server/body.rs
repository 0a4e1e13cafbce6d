//! Bodies of requests, received within bounds of bytes and time.
//!
//! Invariants: what is kept counts against the thread's budget, beyond the small part that every request may have; a body that
//! is refused is read on for as long and as far as one that is taken, but not kept, so that its sender hears why. What may
//! fail: a body that is too long, too slow, broken, or finds no room.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::fault::{Fault, Kind};
use crate::limits::Limits;

/// Bytes that bodies of one thread may have beyond their small parts.
pub(super) struct Budget {
    left: Cell<usize>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: Cell::new(bytes) }
    }
}

/// What one body holds of the budget.
struct Room {
    budget: Rc<Budget>,
    held: usize,
}

impl Room {
    /// Makes it so many bytes, if they are to be had.
    fn grow(&mut self, to: usize) -> bool {
        let more = to.saturating_sub(self.held);
        let Some(left) = self.budget.left.get().checked_sub(more) else { return false };
        self.budget.left.set(left);
        self.held += more;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.held);
    }
}

/// A body that is there.
pub(super) struct Received {
    /// The bytes.
    pub(super) bytes: Bytes,
    _room: Room,
}

/// A body that is not taken.
pub(super) struct NotTaken {
    /// Why.
    pub(super) fault: Fault,
    /// Whether it was not read to its end, so that its connection cannot be used any more.
    pub(super) unread: bool,
}

/// Receives a body. Whoever asks first (`Expect`) is told to send it by its being read.
///
/// # Errors
/// See the module; how many bytes came is in `received` in any case.
pub(super) async fn receive(
    mut body: Incoming,
    asks_first: bool,
    budget: &Rc<Budget>,
    limits: &Limits,
    received: &mut usize,
) -> Result<Received, NotTaken> {
    if body.size_hint().lower() > u64::try_from(limits.body_bytes).unwrap_or(u64::MAX) {
        let read = !asks_first && discard(body, limits).await;
        return Err(NotTaken { fault: too_large(limits), unread: !read });
    }
    let mut room = Room { budget: Rc::clone(budget), held: 0 };
    let kept =
        tokio::time::timeout(limits.body_within, collect(&mut body, &mut room, limits, received)).await;
    match kept {
        Ok(Ok(bytes)) => Ok(Received { bytes, _room: room }),
        Ok(Err(fault)) => {
            drop(room);
            Err(NotTaken { fault, unread: !discard(body, limits).await })
        }
        Err(_) => {
            let within = limits.body_within;
            let why = format!("the body has not come whole within {within:?}");
            Err(NotTaken { fault: Fault::new(Kind::RequestTimeout, why), unread: true })
        }
    }
}

async fn collect(
    body: &mut Incoming,
    room: &mut Room,
    limits: &Limits,
    received: &mut usize,
) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Fault::new(Kind::MalformedRequest, "the body broke off, or is malformed"))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        *received += data.len();
        if *received > limits.body_bytes {
            return Err(too_large(limits));
        }
        if !room.grow(received.saturating_sub(limits.small_body_bytes)) {
            return Err(Fault::new(
                Kind::Throttling,
                "too many big requests are under way: try again, with fewer of them at once",
            ));
        }
        // Most bodies come in one piece, and are not copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Reads a body that is not wanted, within the bounds of one that is, so that its sender is not cut off before it hears why.
/// Returns whether it was read to its end.
pub(super) async fn discard(mut body: Incoming, limits: &Limits) -> bool {
    let read = async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > limits.body_bytes {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(limits.body_within, read).await.unwrap_or(false)
}

fn too_large(limits: &Limits) -> Fault {
    let most = limits.body_bytes;
    Fault::new(
        Kind::RequestTooLarge,
        format!("the body has more than {most} bytes, which is the most that is taken"),
    )
}
