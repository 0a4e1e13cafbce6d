//! What all targets of a client share: so many calls at once, so many bytes of answers.
//!
//! Invariants: of the most that a target may have it gets as large a part as others leave free of all (a dynamic threshold),
//! but one thing at least while there is any, so that targets that give nothing back leave less and less to those after them,
//! and something nearly always; whoever waits holds nothing; of a target one waits at the front, the others in line behind it,
//! and what becomes free goes to the target that has least, first come first served. Nothing can fail here: who waits too long
//! leaves.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use tokio::sync::{Notify, Semaphore};

/// What there is.
pub(super) struct Share {
    all: usize,
    free: Cell<usize>,
    /// Those at the front of their lines, longest wait first: one for a target at most.
    fronts: RefCell<Vec<Rc<Front>>>,
}

/// What one target has of it.
#[derive(Debug)]
pub(super) struct Holder {
    share: Rc<Share>,
    /// The most that it may have.
    most: usize,
    held: Cell<usize>,
    /// One place: the front of the line.
    line: Semaphore,
}

/// A part that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    holder: Rc<Holder>,
    amount: usize,
}

/// Who waits at the front of a line.
struct Front {
    holder: Rc<Holder>,
    amount: usize,
    given: Cell<bool>,
    told: Notify,
}

impl Share {
    pub fn new(all: usize) -> Rc<Self> {
        Rc::new(Self { all, free: Cell::new(all), fronts: RefCell::default() })
    }

    /// Gives what is free to those who may have it.
    fn hand_on(&self) {
        let mut fronts = self.fronts.borrow_mut();
        let least = |fronts: &[Rc<Front>]| {
            let ready = fronts.iter().enumerate().filter(|(_, front)| front.holder.may_take(front.amount));
            ready.min_by_key(|(_, front)| front.holder.held.get()).map(|(at, _)| at)
        };
        while let Some(at) = least(&fronts) {
            let front = fronts.remove(at);
            front.holder.took(front.amount);
            front.given.set(true);
            front.told.notify_one();
        }
    }
}

impl Holder {
    pub fn new(share: &Rc<Share>, most: usize) -> Rc<Self> {
        Rc::new(Self { share: Rc::clone(share), most, held: Cell::new(0), line: Semaphore::new(1) })
    }

    /// So much at once, or nothing.
    pub fn try_take(self: &Rc<Self>, amount: usize) -> Option<Part> {
        let _front = self.line.try_acquire().ok()?;
        self.may_take(amount).then(|| self.part(amount))
    }

    /// So much, when its turn comes. Dropped, it waits no more.
    pub async fn take(self: &Rc<Self>, amount: usize) -> Part {
        // The line is never closed.
        let _front = self.line.acquire().await;
        if self.may_take(amount) {
            return self.part(amount);
        }
        let (holder, given, told) = (Rc::clone(self), Cell::new(false), Notify::new());
        let front = Leaving(Rc::new(Front { holder, amount, given, told }));
        self.share.fronts.borrow_mut().push(Rc::clone(&front.0));
        front.0.told.notified().await;
        front.0.given.set(false);
        Part { holder: Rc::clone(self), amount }
    }

    fn may_take(&self, amount: usize) -> bool {
        let (held, free, all) = (self.held.get(), self.share.free.get(), self.share.all);
        amount <= free && (held == 0 || (held + amount) * all <= self.most * (free + held))
    }

    fn took(&self, amount: usize) {
        self.held.set(self.held.get() + amount);
        self.share.free.set(self.share.free.get() - amount);
    }

    fn gave_back(&self, amount: usize) {
        self.held.set(self.held.get() - amount);
        self.share.free.set(self.share.free.get() + amount);
        self.share.hand_on();
    }

    fn part(self: &Rc<Self>, amount: usize) -> Part {
        self.took(amount);
        Part { holder: Rc::clone(self), amount }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.holder.gave_back(self.amount);
    }
}

/// Leaves the front of a line, and gives back what came too late.
struct Leaving(Rc<Front>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let Front { holder, amount, given, .. } = &*self.0;
        holder.share.fronts.borrow_mut().retain(|front| !Rc::ptr_eq(front, &self.0));
        if given.get() {
            holder.gave_back(*amount);
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Those who wait point back here.
        f.debug_struct("Share").field("free", &self.free).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// As much as this one gets, one by one.
    fn all(holder: &Rc<Holder>) -> Vec<Part> {
        std::iter::from_fn(|| holder.try_take(1)).collect()
    }

    #[test]
    fn however_many_take_what_they_get_something_is_left_for_another() {
        let share = Share::new(16_384);
        let parts: Vec<_> = (0..200).map(|_| all(&Holder::new(&share, 256))).collect();
        assert_eq!(parts[0].len(), 256, "the most that one may have");
        assert!(parts.is_sorted_by(|one, next| one.len() >= next.len()));
        // The numbers of docs/tasks.md.
        assert_eq!((parts[64].len(), parts[199].len()), (93, 11));
        assert_eq!(all(&Holder::new(&share, 256)).len(), 11);
    }

    #[test]
    fn long_answers_of_67_targets_may_leave_nothing() {
        // The numbers of docs/tasks.md, in MiB.
        let share = Share::new(256);
        let parts =
            std::iter::repeat_with(|| all(&Holder::new(&share, 16))).take_while(|parts| !parts.is_empty());
        assert_eq!(parts.collect::<Vec<_>>().len(), 67);
    }

    #[tokio::test]
    async fn what_becomes_free_goes_to_who_has_least() {
        let share = Share::new(4);
        let [much, little, none] = [4; 3].map(|most| Holder::new(&share, most));
        let mut parts = vec![much.try_take(1), much.try_take(1)];
        let others = (little.try_take(1).expect("one"), little.try_take(1).expect("the last"));
        let mut more = Box::pin(much.take(1));
        assert!((&mut more).now_or_never().is_none());
        let mut first = Box::pin(none.take(1));
        assert!((&mut first).now_or_never().is_none());
        parts.pop();
        assert!((&mut more).now_or_never().is_none(), "it has one, and the other none");
        let first = first.now_or_never().expect("its turn");
        drop((first, others));
        more.now_or_never().expect("enough is free");
    }

    #[tokio::test]
    async fn who_leaves_keeps_nothing_and_holds_nobody_up() {
        let share = Share::new(1);
        let holder = Holder::new(&share, 1);
        let held = holder.try_take(1).expect("one");
        let mut first = Box::pin(holder.take(1));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(holder.take(1));
        assert!((&mut second).now_or_never().is_none(), "it stands in line");
        drop(held);
        assert_eq!(share.free.get(), 0, "it is given to the first in line");
        drop(first);
        drop(second.now_or_never().expect("the first one gave it back"));
        assert_eq!((share.free.get(), share.fronts.borrow().len()), (1, 0));
    }

    #[tokio::test]
    async fn little_does_not_wait_for_much() {
        let share = Share::new(10);
        let (large, small) = (Holder::new(&share, 10), Holder::new(&share, 10));
        let held = large.try_take(8).expect("it is alone");
        let mut waiting = Box::pin(large.take(4));
        assert!((&mut waiting).now_or_never().is_none());
        drop(small.try_take(2).expect("at once"));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        waiting.now_or_never().expect("its turn");
    }
}
