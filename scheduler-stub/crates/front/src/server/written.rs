//! The body of an answer while it is written.
//!
//! Invariants: what its request holds (a place, bytes, its being under way) is held until the last byte was given to the
//! connection's stream or the connection is gone; each byte that goes counts as progress. Nothing here fails.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use super::activity::Answering;
use super::places::Place;

/// See the module.
pub(super) struct Written(Option<Piece>);

/// All of its bytes. The HTTP library keeps it until they are written.
pub(super) struct Piece {
    bytes: Bytes,
    answering: Answering,
    _place: Option<Place>,
}

impl Written {
    /// The place is that of the request; one that was turned away has none.
    pub(super) fn new(bytes: Bytes, answering: Answering, mut place: Option<Place>) -> Self {
        if let Some(place) = &mut place {
            place.hold(bytes.len());
        }
        Self(Some(Piece { bytes, answering, _place: place }))
    }
}

impl Body for Written {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        Poll::Ready(self.0.take().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.0.as_ref().map_or(0, |piece| piece.bytes.len());
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.answering.goes_on();
    }
}
