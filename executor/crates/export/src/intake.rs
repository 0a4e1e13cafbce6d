//! From a shard to the exporter's thread: a bounded ring for each shard.
//!
//! Why a ring that is looked at some ten times a second, and no channel: a channel wakes its receiver, which is a call of
//! the kernel on the shard's thread. Invariants: offering never waits, takes no lock and wakes nobody; what does not fit, by
//! number or by bytes, is dropped and counted; order is kept. A quarter of the room is kept for what is urgent, and what is told
//! once more leaves half of it to what is new. What may fail: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;
use telemetry::IntakeMetrics;

use crate::Weigh;

/// Shares of the room: for what is urgent, for what is not, for what is told again.
const WHOLE: (usize, usize) = (1, 1);
const USUAL: (usize, usize) = (3, 4);
const AGAIN: (usize, usize) = (1, 2);

/// What an intake holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeBounds {
    /// Room for so many is made at once.
    pub items: usize,
    /// By [`Weigh::bytes`].
    pub bytes: usize,
}

impl Default for IntakeBounds {
    /// Enough for 240,000 a second out of nothing, and four times as many where there is much: it is emptied every 100 or 25 ms.
    /// Room for the items is some 4 MiB.
    fn default() -> Self {
        Self { items: 32_768, bytes: 16 << 20 }
    }
}

#[derive(Debug)]
struct Ring<T> {
    items: ArrayQueue<(T, usize)>,
    bytes: AtomicUsize,
    bytes_max: usize,
    metrics: Arc<IntakeMetrics>,
}

/// The shard's end: one for each shard. Clones share the ring and stay on the shard's thread, for its counters have one
/// writer.
#[derive(Debug)]
pub struct Intake<T>(Arc<Ring<T>>);

/// The exporter's end.
#[derive(Debug)]
pub struct Outlet<T>(Arc<Ring<T>>);

/// A ring and its two ends. The cells are the shard's own: [`telemetry::ExportMetrics::share_intake`] tells exporters of them.
#[must_use]
pub fn intake<T: Weigh>(bounds: IntakeBounds, metrics: Arc<IntakeMetrics>) -> (Intake<T>, Outlet<T>) {
    let ring = Arc::new(Ring {
        items: ArrayQueue::new(bounds.items.max(1)),
        bytes: AtomicUsize::new(0),
        bytes_max: bounds.bytes,
        metrics,
    });
    (Intake(Arc::clone(&ring)), Outlet(ring))
}

impl<T> Clone for Intake<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Ring<T> {
    /// What is free of this share of the whole room; nothing where so many items wait already.
    fn room(&self, (share, of): (usize, usize)) -> usize {
        if self.items.len() >= (self.items.capacity() * share).div_ceil(of) {
            return 0;
        }
        // Only the shard's end adds: what is read here can have become less, never more.
        (self.bytes_max / of * share).saturating_sub(self.bytes.load(Ordering::Relaxed))
    }
}

impl<T: Weigh> Intake<T> {
    /// Takes what of it has room, and drops and counts the rest. Says whether all of it was taken, for those who want to know.
    pub fn offer(&self, item: T) -> bool {
        let bytes = item.bytes();
        self.offer_weighed(item, bytes)
    }

    /// The same for whoever has weighed it already.
    pub fn offer_weighed(&self, item: T, bytes: usize) -> bool {
        let mut room = self.0.room(USUAL);
        if bytes > room && item.is_urgent() {
            room = self.0.room(WHOLE);
        }
        self.add(item, bytes, room)
    }

    /// The same for what was told before: there may be very much of it at once.
    pub fn offer_again(&self, item: T) -> bool {
        let bytes = item.bytes();
        self.add(item, bytes, self.0.room(AGAIN))
    }

    fn add(&self, item: T, bytes: usize, room: usize) -> bool {
        if bytes <= room {
            return self.push(item, bytes);
        }
        let (first, rest) = item.split(room);
        if let Some(first) = first {
            let bytes = first.bytes();
            self.push(first, bytes);
        }
        rest.iter().for_each(|rest| self.lose(rest));
        false
    }

    fn push(&self, item: T, bytes: usize) -> bool {
        let ring = &*self.0;
        // Before the push: the other end never takes away what was not added.
        ring.bytes.fetch_add(bytes, Ordering::Relaxed);
        match ring.items.push((item, bytes)) {
            Ok(()) => ring.metrics.offered.add(1),
            Err((item, bytes)) => {
                ring.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.lose(&item);
                return false;
            }
        }
        true
    }

    fn lose(&self, item: &T) {
        let metrics = &self.0.metrics;
        metrics.offered.add(1);
        metrics.dropped.add(1);
        metrics.dropped_records.add(item.records());
    }

    /// Counts what found no room on its way here, where it waited for the store.
    pub fn refuse(&self, item: &T) {
        self.refuse_records(item.records());
    }

    /// Counts so many records that found no room before they were an item.
    pub fn refuse_records(&self, records: u64) {
        let metrics = &self.0.metrics;
        metrics.offered.add(1);
        metrics.unconfirmed.add(1);
        metrics.unconfirmed_records.add(records);
    }
}

impl<T> Outlet<T> {
    /// The oldest that waits.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        let (item, bytes) = self.0.items.pop()?;
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(item)
    }

    /// Whether more than an eighth of the room is taken, by number or by bytes.
    #[must_use]
    pub(crate) fn fills(&self) -> bool {
        let (items, bytes) = (self.0.items.len(), self.0.bytes.load(Ordering::Relaxed));
        items > self.0.items.capacity() / 8 || bytes > self.0.bytes_max / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Page;
    use crate::page::tests::{page_of, page_of_failure};

    /// Weighs as much as it says, and is urgent.
    #[derive(Debug, PartialEq)]
    struct Heavy(usize);

    impl Weigh for Heavy {
        fn bytes(&self) -> usize {
            self.0
        }

        fn is_urgent(&self) -> bool {
            true
        }
    }

    fn ring(items: usize, bytes: usize) -> (Intake<Heavy>, Outlet<Heavy>) {
        intake(IntakeBounds { items, bytes }, Arc::default())
    }

    fn counted<T>(outlet: &Outlet<T>) -> (u64, u64) {
        let metrics = &outlet.0.metrics;
        assert_eq!(metrics.dropped.get(), metrics.dropped_records.get());
        (metrics.offered.get(), metrics.dropped.get())
    }

    #[test]
    fn what_does_not_fit_by_number_is_dropped_and_counted() {
        let (shard, exporter) = ring(2, 100);
        assert_eq!([1, 2, 3].map(|weight| shard.offer(Heavy(weight))), [true, true, false]);
        assert_eq!(counted(&exporter), (3, 1));
        assert_eq!((exporter.take(), shard.offer(Heavy(4))), (Some(Heavy(1)), true));
        assert_eq!(
            [exporter.take(), exporter.take(), exporter.take()],
            [Some(Heavy(2)), Some(Heavy(4)), None]
        );
    }

    #[test]
    fn what_does_not_fit_by_bytes_is_dropped_and_room_comes_back_when_it_is_taken() {
        let (shard, exporter) = ring(8, 100);
        assert_eq!([60, 41, 40, 1].map(|weight| shard.offer(Heavy(weight))), [true, false, true, false]);
        assert_eq!(exporter.take(), Some(Heavy(60)));
        assert!(!shard.offer(Heavy(101)), "it never fits");
        assert!(shard.offer(Heavy(60)));
        assert_eq!(counted(&exporter), (6, 3));
    }

    #[test]
    fn what_is_told_again_leaves_half_of_the_room_and_what_is_not_urgent_a_quarter() {
        let usual = page_of("e", 1);
        let urgent = page_of_failure("e");
        let each = usual.bytes().max(urgent.bytes());
        // By number, and by bytes.
        for bounds in
            [IntakeBounds { items: 8, bytes: 1 << 20 }, IntakeBounds { items: 100, bytes: 8 * each }]
        {
            let (shard, exporter) = intake(bounds, Arc::default());
            let offered = |page: &Page, again| {
                let offer =
                    |_: &i32| if again { shard.offer_again(page.clone()) } else { shard.offer(page.clone()) };
                (0..20).take_while(offer).count()
            };
            assert_eq!((offered(&urgent, true), offered(&usual, false), offered(&urgent, false)), (4, 2, 2));
            assert_eq!(std::iter::from_fn(|| exporter.take()).count(), 8);
        }
    }

    #[test]
    fn a_ring_fills_by_number_or_by_bytes() {
        for (weight, items) in [(1, 16), (100, 1_000)] {
            let (shard, exporter) = ring(items, 1_600);
            assert!(shard.offer(Heavy(weight)) && shard.offer(Heavy(weight)) && !exporter.fills());
            assert!(shard.offer(Heavy(weight)) && exporter.fills(), "{weight}");
            assert!(exporter.take().is_some() && !exporter.fills());
        }
    }

    #[test]
    fn of_a_page_that_is_too_large_what_fits_is_taken() {
        let page = page_of("e", 8);
        let (shard, exporter) = intake(IntakeBounds { items: 8, bytes: page.bytes() }, Arc::default());
        assert!(!shard.offer(page), "a quarter is kept");
        let metrics = &exporter.0.metrics;
        assert_eq!((metrics.offered.get(), metrics.dropped.get()), (2, 1));
        let taken = exporter.take().expect("a part");
        assert_eq!(taken.records() + metrics.dropped_records.get(), 8);
        assert_eq!(
            (
                taken.events.iter().next().map_or(0, |(event, _)| event.id),
                exporter.0.bytes.load(Ordering::Relaxed)
            ),
            (1, 0)
        );
    }

    #[test]
    fn between_two_threads_nothing_is_lost_or_turned_around_and_no_byte_is_held_at_the_end() {
        let (shard, exporter) = ring(16, 4_000);
        let taken = std::thread::scope(|scope| {
            let offering =
                scope.spawn(move || (0..20_000_usize).filter(|n| shard.offer(Heavy(*n % 500))).count());
            let mut taken = 0;
            while !offering.is_finished() {
                taken += std::iter::from_fn(|| exporter.take()).count();
            }
            taken += std::iter::from_fn(|| exporter.take()).count();
            assert_eq!(offering.join().expect("no panic"), taken);
            taken
        });
        assert_eq!(counted(&exporter), (20_000, 20_000 - taken as u64));
        assert_eq!(exporter.0.bytes.load(Ordering::Relaxed), 0);
    }
}
