//! Pages of histories: while an execution is run again, only the events of the page that is asked for are written out.
//!
//! Invariants: events are numbered from 1 without a gap and stay what they are (but that ASW's form says in an exit event what came
//! next, once it has come), so that the number of the next event is all that a place
//! has to say, and later pages agree with earlier ones while the execution goes on; a page ends where its bytes do, and has one
//! event at least. What may fail: a place behind the history.

use std::collections::VecDeque;

use asl::history::{HistoryEvent, Observer, Record};
use proto::executor::v1;

use super::history::Watch;

/// Bytes of details in one page at most, unless its first event alone has more: a page is one message.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Which page of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCut {
    /// The newest event first.
    pub reverse: bool,
    /// Events at most.
    pub size: usize,
    /// The number of events before the page, or in reverse up to its first; `None`: the first page.
    pub place: Option<usize>,
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// In the order that was asked for.
    pub events: Vec<v1::HistoryEvent>,
    /// The place of the next page, if there is one.
    pub next: Option<usize>,
}

impl HistoryCut {
    /// The events that the page may have, of so many: after how many, up to which. `None`: the place is behind all of them.
    fn range(self, all: usize) -> Option<(usize, usize)> {
        let place = self.place.unwrap_or(if self.reverse { all } else { 0 });
        let range = match self.reverse {
            true => (place.saturating_sub(self.size), place),
            false => (place, place.saturating_add(self.size).min(all)),
        };
        (place <= all).then_some(range)
    }

    /// The page of a history of so many events; `events` are those of the page's range, the oldest first.
    pub(super) fn page<E>(
        self,
        all: usize,
        events: impl DoubleEndedIterator<Item = E>,
        write: impl FnMut(E) -> v1::HistoryEvent,
    ) -> Option<HistoryPage> {
        let (from, to) = self.range(all)?;
        Some(if self.reverse {
            let events = that_fit(events.rev().map(write));
            let left = to - events.len();
            HistoryPage { events, next: (left > 0).then_some(left) }
        } else {
            let events = that_fit(events.map(write));
            let told = from + events.len();
            HistoryPage { events, next: (told < all).then_some(told) }
        })
    }

    /// The events of the page's range, of all of them.
    pub(super) fn of<E>(self, events: &[E]) -> impl DoubleEndedIterator<Item = &E> {
        let (from, to) = self.range(events.len()).unwrap_or_default();
        events.get(from..to).unwrap_or_default().iter()
    }
}

/// As many as a message has room for; what is behind is not written.
fn that_fit(events: impl Iterator<Item = v1::HistoryEvent>) -> Vec<v1::HistoryEvent> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for event in events {
        bytes += event.details.len();
        if bytes > PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(event);
    }
    page
}

/// Collects the events that a page may have, and counts all.
#[derive(Debug)]
pub(super) struct Paged {
    cut: HistoryCut,
    events_max: usize,
    events: VecDeque<HistoryEvent>,
    all: usize,
}

impl Paged {
    /// Of a history of which so many events are told.
    pub fn new(cut: HistoryCut, events_max: usize) -> Self {
        Self { cut, events_max, events: VecDeque::new(), all: 0 }
    }

    /// The page; `None`: there is none at that place.
    pub fn page(self, write: impl FnMut(HistoryEvent) -> v1::HistoryEvent) -> Option<HistoryPage> {
        self.cut.page(self.all, self.events.into_iter(), write)
    }
}

impl Watch for Paged {
    /// Of a first page in reverse the end is not known before the end.
    fn has_all(&self) -> bool {
        let HistoryCut { reverse, size, place } = self.cut;
        match (reverse, place) {
            (true, None) => false,
            (true, Some(place)) => self.all >= place,
            (false, place) => self.all > place.unwrap_or(0).saturating_add(size),
        }
    }
}

impl Observer for Paged {
    fn event(&mut self, record: &Record<'_>) {
        let HistoryCut { reverse, size, place } = self.cut;
        if self.all >= self.events_max {
            return;
        }
        self.all += 1;
        let number = self.all;
        let (from, to) = match (reverse, place) {
            // Where it ends is known when it ends.
            (true, None) => (0, usize::MAX),
            (true, Some(place)) => (place.saturating_sub(size), place),
            (false, place) => (place.unwrap_or(0), place.unwrap_or(0).saturating_add(size)),
        };
        if number > from && number <= to {
            self.events.push_back(HistoryEvent::from(record));
        }
        if self.events.len() > size {
            self.events.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use asl::history::EventKind;
    use asl::{Payload, Timestamp};

    use super::*;

    fn write(event: HistoryEvent) -> v1::HistoryEvent {
        v1::HistoryEvent { id: event.id, ..Default::default() }
    }

    /// A page of a history of so many events, and how many of them were described.
    fn paged(all: u64, cut: HistoryCut) -> (Option<HistoryPage>, usize) {
        let (input, role) = (Payload::empty_object(), "r".into());
        let mut paged = Paged::new(cut, 100);
        for id in 1..=all {
            let kind = EventKind::ExecutionStarted { input: &input, role_arn: &role };
            paged.event(&Record { id, previous: 0, at: Timestamp(0), kind });
        }
        let described = paged.events.len();
        (paged.page(write), described)
    }

    #[test]
    fn pages_of_a_history_give_every_event_once_in_either_order_and_describe_no_other() {
        for reverse in [false, true] {
            let (mut seen, mut place) = (Vec::new(), None);
            loop {
                let (page, described) = paged(7, HistoryCut { reverse, size: 3, place });
                let page = page.expect("a good place");
                assert_eq!(described, page.events.len());
                seen.extend(page.events.iter().map(|event| event.id));
                match page.next {
                    Some(next) => place = Some(next),
                    None => break,
                }
            }
            let mut expected: Vec<u64> = (1..=7).collect();
            if reverse {
                expected.reverse();
            }
            assert_eq!(seen, expected);
            assert_eq!(paged(2, HistoryCut { reverse, size: 3, place: Some(3) }).0, None);
        }
    }

    #[test]
    fn later_pages_agree_with_earlier_ones_while_the_execution_goes_on() {
        let first = paged(7, HistoryCut { reverse: true, size: 3, place: None }).0.expect("a page");
        let second = paged(9, HistoryCut { reverse: true, size: 3, place: first.next }).0.expect("a page");
        assert_eq!(second.events.iter().map(|event| event.id).collect::<Vec<_>>(), [4, 3, 2]);
    }

    #[test]
    fn a_replay_ends_where_the_page_and_the_one_event_behind_it_are_known() {
        let (input, role) = (Payload::empty_object(), "r".into());
        for (reverse, place, expected) in
            [(false, None, Some(4)), (false, Some(4), Some(8)), (true, Some(5), Some(5)), (true, None, None)]
        {
            let mut paged = Paged::new(HistoryCut { reverse, size: 3, place }, 100);
            let ended = (1..=20).find(|id| {
                let kind = EventKind::ExecutionStarted { input: &input, role_arn: &role };
                paged.event(&Record { id: *id, previous: 0, at: Timestamp(0), kind });
                paged.has_all()
            });
            assert_eq!(ended, expected, "{reverse} {place:?}");
        }
    }

    #[test]
    fn a_page_ends_where_its_bytes_do_has_one_event_at_least_and_writes_little_more() {
        let sizes = [10, PAGE_BYTES_MAX - 10, 1, PAGE_BYTES_MAX + 1, 3];
        for (reverse, expected) in [(false, [2, 1, 1, 1]), (true, [1, 1, 2, 1])] {
            let (mut counts, mut seen, mut place) = (Vec::new(), Vec::new(), None);
            loop {
                let cut = HistoryCut { reverse, size: 1_000, place };
                let mut written = 0;
                let write = |size: &usize| {
                    written += 1;
                    v1::HistoryEvent { details: vec![b' '; *size].into(), ..Default::default() }
                };
                let page = cut.page(sizes.len(), cut.of(&sizes), write).expect("a good place");
                assert!(written <= page.events.len() + 1);
                counts.push(page.events.len());
                seen.extend(page.events.iter().map(|event| event.details.len()));
                match page.next {
                    Some(next) => place = Some(next),
                    None => break,
                }
            }
            if reverse {
                seen.reverse();
            }
            assert_eq!((&counts[..], &seen[..]), (&expected[..], &sizes[..]), "{reverse}");
        }
    }
}
