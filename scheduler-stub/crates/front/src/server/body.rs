//! Bodies of requests, received within bounds of bytes and time.
//!
//! Invariants: what is kept counts against the thread's budget, beyond the small part that every request may have; of a body
//! that is refused a little is read on in the time that its request has left, but not kept, so that its sender hears why. What
//! may fail: a body that is too long, too slow, broken, or finds no room.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::places::Place;
use crate::fault::{Fault, Kind};
use crate::limits::Limits;

/// Bytes of a body that is not wanted, that are read so that its sender is not cut off before it hears why.
const DISCARDED_MAX: usize = 256 << 10;

/// A body that is not taken.
pub(super) struct NotTaken {
    /// Why.
    pub(super) fault: Fault,
    /// Whether it was not read to its end, so that its connection cannot be used any more.
    pub(super) unread: bool,
}

/// Receives a body until an instant. Whoever asks first (`Expect`) is told to send it by its being read.
///
/// # Errors
/// See the module; how many bytes came is in `received` in any case.
pub(super) async fn receive(
    mut body: Incoming,
    place: &mut Place,
    until: Instant,
    limits: &Limits,
    received: &mut usize,
) -> Result<Bytes, NotTaken> {
    match tokio::time::timeout_at(until, collect(&mut body, place, limits, received)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(fault)) => {
            place.hold(0);
            Err(NotTaken { fault, unread: !discard(body, until).await })
        }
        Err(_) => {
            let within = limits.body_within;
            let why = format!("the body has not come whole within {within:?}");
            Err(NotTaken { fault: Fault::new(Kind::RequestTimeout, why), unread: true })
        }
    }
}

/// Whether a body says that it is longer than it may be.
pub(super) fn check_length(body: &Incoming, limits: &Limits) -> Result<(), Fault> {
    let most = u64::try_from(limits.body_bytes).unwrap_or(u64::MAX);
    if body.size_hint().lower() > most { Err(too_large(limits)) } else { Ok(()) }
}

async fn collect(
    body: &mut Incoming,
    place: &mut Place,
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
        if !place.grow(*received) {
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

/// Reads a body that is not wanted, until an instant and not far. Returns whether it was read to its end.
pub(super) async fn discard(mut body: Incoming, until: Instant) -> bool {
    let read = async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARDED_MAX {
                return false;
            }
        }
        true
    };
    tokio::time::timeout_at(until, read).await.unwrap_or(false)
}

fn too_large(limits: &Limits) -> Fault {
    let most = limits.body_bytes;
    Fault::new(
        Kind::RequestTooLarge,
        format!("the body has more than {most} bytes, which is the most that is taken"),
    )
}
