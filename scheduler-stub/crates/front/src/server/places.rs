//! Places of the requests of one thread, and the bytes that they hold.
//!
//! Invariants: no more requests than there may be; bodies beyond their small parts share a budget, and find no room when it is
//! used up; answers are held in any case, for what was done is told, and while they are beyond the budget no request gets a place.
//! Whatever is held is given back when its place is dropped. Nothing here fails.

use std::cell::Cell;
use std::rc::Rc;

use crate::limits::Limits;

/// See the module.
pub(super) struct Places {
    requests: Cell<usize>,
    bytes: Cell<usize>,
    requests_max: usize,
    bytes_max: usize,
    small: usize,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: Cell::new(0),
            bytes: Cell::new(0),
            requests_max: limits.requests,
            bytes_max: limits.budget_bytes,
            small: limits.small_body_bytes,
        }
    }

    /// A place, if there is one.
    pub(super) fn take(self: &Rc<Self>) -> Option<Place> {
        if self.requests.get() >= self.requests_max || self.bytes.get() > self.bytes_max {
            return None;
        }
        self.requests.set(self.requests.get() + 1);
        Some(Place { places: Rc::clone(self), held: 0 })
    }
}

/// A request's place: until its answer is written, or its connection is gone.
pub(super) struct Place {
    places: Rc<Places>,
    held: usize,
}

impl Place {
    /// Holds a body of so many bytes, if they are to be had.
    pub(super) fn grow(&mut self, length: usize) -> bool {
        let more = length.saturating_sub(self.places.small).saturating_sub(self.held);
        let used = self.places.bytes.get() + more;
        if more > 0 && used > self.places.bytes_max {
            return false;
        }
        self.places.bytes.set(used);
        self.held += more;
        true
    }

    /// Holds so many bytes in any case, in place of what it held.
    pub(super) fn hold(&mut self, length: usize) {
        let held = length.saturating_sub(self.places.small);
        self.places.bytes.set(self.places.bytes.get() - self.held + held);
        self.held = held;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.requests.set(self.places.requests.get() - 1);
        self.places.bytes.set(self.places.bytes.get() - self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_beyond_the_budget_are_held_and_leave_no_place_until_they_are_written() {
        let limits = Limits { small_body_bytes: 10, budget_bytes: 100, ..Limits::default() };
        let places = Rc::new(Places::new(&limits));
        let (mut one, mut other) = (places.take().expect("a place"), places.take().expect("a place"));
        assert!(one.grow(60) && one.grow(110) && !other.grow(11) && other.grow(10));
        one.hold(10);
        assert!(other.grow(110), "what the body held is there again");
        one.hold(11);
        assert!(places.take().is_none());
        drop(one);
        assert!(places.take().is_some());
    }
}
