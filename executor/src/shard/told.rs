//! What executions have told and the store has not confirmed: pages on their way to the exporters.
//!
//! Invariants: what waits on a shard, beside all blocks of all its partitions, is counted together and bounded, so that a store
//! that stalls costs no more memory; what goes with a block that is given up makes room again. What may fail: nothing; what
//! finds no room is for the caller to count.

use std::cell::Cell;
use std::rc::Rc;

use export::{Intake, Page, SpanPage, Weigh};

/// Room for what waits, which all blocks of a shard share.
#[derive(Debug)]
pub(super) struct Room {
    bytes_max: usize,
    taken: Cell<usize>,
}

impl Room {
    /// For so many bytes.
    pub fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new(Self { bytes_max, taken: Cell::new(0) })
    }

    /// What is free of it.
    pub fn left(&self) -> usize {
        self.bytes_max.saturating_sub(self.taken.get())
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.taken.get() + bytes;
        let fits = taken <= self.bytes_max;
        if fits {
            self.taken.set(taken);
        }
        fits
    }
}

/// What is told when a block is confirmed.
#[derive(Debug, Default)]
pub struct Told {
    /// With what each weighs: it is weighed once on its way.
    pages: Vec<(Page, usize)>,
    spans: Vec<(SpanPage, usize)>,
    bytes: usize,
    /// Where these bytes are taken from; none as long as there are none.
    room: Option<Rc<Room>>,
}

impl Told {
    /// Takes events, of this weight, that still have room; else gives them back.
    pub(super) fn page(&mut self, page: Page, bytes: usize, room: &Rc<Room>) -> Result<(), Page> {
        if !self.reserve(bytes, room) {
            return Err(page);
        }
        self.pages.push((page, bytes));
        Ok(())
    }

    /// Takes spans that still have room; else gives them back.
    pub(super) fn spans(&mut self, page: SpanPage, room: &Rc<Room>) -> Result<(), SpanPage> {
        let bytes = page.bytes();
        if !self.reserve(bytes, room) {
            return Err(page);
        }
        self.spans.push((page, bytes));
        Ok(())
    }

    fn reserve(&mut self, bytes: usize, room: &Rc<Room>) -> bool {
        let fits = room.take(bytes);
        if fits {
            self.bytes += bytes;
            self.room.get_or_insert_with(|| Rc::clone(room));
        }
        fits
    }

    /// Takes what waits for a later block.
    pub fn absorb(&mut self, mut later: Self) {
        self.pages.append(&mut later.pages);
        self.spans.append(&mut later.spans);
        self.bytes += std::mem::take(&mut later.bytes);
        self.room = self.room.take().or(later.room.take());
    }

    /// What is told of these executions, taken out of the rest.
    pub(super) fn of(&mut self, these: impl Fn(&str) -> bool) -> Self {
        let pages: Vec<_> = self.pages.extract_if(.., |(page, _)| these(&page.execution)).collect();
        let spans: Vec<_> = self.spans.extract_if(.., |(page, _)| these(&page.execution)).collect();
        let weights = pages.iter().map(|(_, bytes)| bytes).chain(spans.iter().map(|(_, bytes)| bytes));
        let bytes: usize = weights.sum();
        self.bytes -= bytes;
        Self { pages, spans, bytes, room: self.room.clone() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.spans.is_empty()
    }

    /// Hands it over: what the exporters' intakes do not take, they count.
    pub(super) fn leave(&mut self, histories: Option<&Intake<Page>>, traces: Option<&Intake<SpanPage>>) {
        let mut told = std::mem::take(self);
        hand_over(&mut told.pages, histories);
        hand_over(&mut told.spans, traces);
    }
}

fn hand_over<T: Weigh>(told: &mut Vec<(T, usize)>, intake: Option<&Intake<T>>) {
    let Some(intake) = intake else { return };
    for (page, bytes) in told.drain(..) {
        intake.offer_weighed(page, bytes);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            room.taken.set(room.taken.get() - self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use asl::Timestamp;

    use super::*;

    fn page(execution: &str) -> SpanPage {
        SpanPage {
            trace_id: [1; 16],
            trace_state: "".into(),
            execution: execution.into(),
            machine: "m".into(),
            spans: vec![export::Span {
                id: [1; 8],
                parent: None,
                link: None,
                name: "a".into(),
                of: export::SpanKind::Run { redrives: 0 },
                since: Timestamp(0),
                until: Timestamp(0),
                status: "SUCCEEDED",
                error: None,
                cause: None,
            }],
        }
    }

    #[test]
    fn blocks_share_one_room_and_give_it_back_when_they_leave_or_are_given_up() {
        let bytes = page("a").bytes();
        let room = Room::new(3 * bytes);
        let (mut one, mut two) = (Told::default(), Told::default());
        assert!(one.spans(page("a"), &room).is_ok() && two.spans(page("b"), &room).is_ok());
        assert!(two.spans(page("a"), &room).is_ok());
        assert!(one.spans(page("c"), &room).is_err() && two.spans(page("c"), &room).is_err());
        one.absorb(two);
        let moved = one.of(|execution| execution == "a");
        assert_eq!((one.spans.len(), moved.spans.len(), room.taken.get()), (1, 2, 3 * bytes));
        drop(moved);
        assert!(one.spans(page("c"), &room).is_ok());
        one.leave(None, None);
        assert_eq!((one.spans.len(), room.taken.get()), (0, 0));
    }
}
