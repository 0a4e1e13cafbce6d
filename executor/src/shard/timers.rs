//! A hierarchical timing wheel: ticks of one millisecond, arming and cancelling in constant time.
//!
//! Eight levels of 64 slots reach the year 10889; what lies beyond fires then. A timer's level is that of the highest bit
//! in which its instant differs from now, so that a slot never holds two turns of its level. A slot is a doubly linked
//! list through one slab, so that a sleeping timer costs one entry (48 bytes) and no allocation of its own. Invariants: a
//! timer fires once, never before its instant, in the order of the instants; a [`TimerKey`] whose timer has fired or was
//! cancelled names nothing, even when its entry is used again. Nothing fails.

use super::slab::Address;

const LEVELS: usize = 8;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
const NONE: u32 = u32::MAX;
const INSTANT_MAX_MS: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;

/// Names an armed timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

/// Whom a timer wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wakeup {
    /// The execution.
    pub address: Address,
    /// Which of its effects.
    pub effect: u64,
}

#[derive(Debug)]
struct Entry {
    at_ms: u64,
    wakeup: Wakeup,
    previous: u32,
    next: u32,
    generation: u32,
    /// `level * SLOTS + slot`, or [`FREE`].
    home: u16,
}

const FREE: u16 = u16::MAX;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    now_ms: u64,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    entries: Vec<Entry>,
    free: u32,
    armed: usize,
}

impl Wheel {
    /// An empty wheel that stands at this Unix time.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let heads = [[NONE; SLOTS]; LEVELS];
        Self { now_ms, heads, occupied: [0; LEVELS], entries: Vec::new(), free: NONE, armed: 0 }
    }

    /// Timers armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Arms a timer; an instant that has passed fires at the next [`Wheel::advance`].
    pub fn arm(&mut self, at_ms: u64, wakeup: Wakeup) -> TimerKey {
        let index = self.take_entry(at_ms.max(self.now_ms), wakeup);
        self.link(index);
        self.armed += 1;
        TimerKey { index, generation: self.entries[index as usize].generation }
    }

    /// Disarms a timer; `false` when it has fired or was disarmed already.
    pub fn cancel(&mut self, key: TimerKey) -> bool {
        match self.entries.get(key.index as usize) {
            Some(entry) if entry.generation == key.generation && entry.home != FREE => {
                self.unlink(key.index);
                self.release(key.index);
                true
            }
            _ => false,
        }
    }

    /// A lower bound of the next instant at which something fires; exact within the next 64 ms.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        (0..LEVELS).filter(|level| self.occupied[*level] != 0).map(|level| self.level_due(level)).min()
    }

    /// When the earliest occupied slot of a level begins.
    fn level_due(&self, level: usize) -> u64 {
        let shift = SLOT_BITS * level as u32;
        let here = self.now_ms >> shift;
        let ahead = self.occupied[level].rotate_right((here % SLOTS as u64) as u32).trailing_zeros();
        (here + u64::from(ahead)) << shift
    }

    /// Moves on to this instant and tells, in order, who is woken, and for when that was set: not before it was set.
    pub fn advance(&mut self, now_ms: u64, mut fire: impl FnMut(Wakeup, u64)) {
        while let Some(due_ms) = self.next_ms().filter(|due| *due <= now_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            for level in (1..LEVELS).rev() {
                self.cascade(level);
            }
            self.fire_slot(&mut fire);
        }
        self.now_ms = self.now_ms.max(now_ms.min(INSTANT_MAX_MS));
    }

    fn fire_slot(&mut self, fire: &mut impl FnMut(Wakeup, u64)) {
        let slot = (self.now_ms % SLOTS as u64) as usize;
        while self.heads[0][slot] != NONE {
            let index = self.heads[0][slot];
            self.unlink(index);
            let Entry { wakeup, at_ms, .. } = self.entries[index as usize];
            self.release(index);
            fire(wakeup, at_ms);
        }
    }

    /// Puts what the current slot of an upper level holds into the levels below.
    fn cascade(&mut self, level: usize) {
        let shift = SLOT_BITS * level as u32;
        if self.now_ms & ((1 << shift) - 1) != 0 {
            return;
        }
        let slot = ((self.now_ms >> shift) % SLOTS as u64) as usize;
        let mut index = std::mem::replace(&mut self.heads[level][slot], NONE);
        self.occupied[level] &= !(1 << slot);
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// Puts an entry at the end of the list of its slot.
    fn link(&mut self, index: u32) {
        let at_ms = self.entries[index as usize].at_ms.clamp(self.now_ms, INSTANT_MAX_MS);
        let (level, slot) = self.place(at_ms);
        let head = self.heads[level][slot];
        // The head's `previous` is the tail, so that both ends are at hand.
        let tail = if head == NONE { index } else { self.entries[head as usize].previous };
        let entry = &mut self.entries[index as usize];
        entry.home = (level * SLOTS + slot) as u16;
        entry.next = NONE;
        entry.previous = tail;
        if head == NONE {
            self.heads[level][slot] = index;
            self.occupied[level] |= 1 << slot;
        } else {
            self.entries[tail as usize].next = index;
            self.entries[head as usize].previous = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Entry { home, previous, next, .. } = self.entries[index as usize];
        let (level, slot) = (usize::from(home) / SLOTS, usize::from(home) % SLOTS);
        let head = self.heads[level][slot];
        if head == index {
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            } else {
                self.entries[next as usize].previous = previous;
            }
        } else {
            self.entries[previous as usize].next = next;
            let successor = if next == NONE { head } else { next };
            self.entries[successor as usize].previous = previous;
        }
    }

    /// The level is that of the highest bit in which the instant differs from now.
    fn place(&self, at_ms: u64) -> (usize, usize) {
        let differing = (at_ms ^ self.now_ms) | 1;
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS) as usize;
        (level, ((at_ms >> (SLOT_BITS * level as u32)) % SLOTS as u64) as usize)
    }

    fn take_entry(&mut self, at_ms: u64, wakeup: Wakeup) -> u32 {
        if self.free == NONE {
            let entry = Entry { at_ms, wakeup, previous: NONE, next: NONE, generation: 0, home: FREE };
            self.entries.push(entry);
            return (self.entries.len() - 1) as u32;
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.at_ms = at_ms;
        entry.wakeup = wakeup;
        index
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.home = FREE;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.armed -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wakeup(effect: u64) -> Wakeup {
        Wakeup { address: Address::default(), effect }
    }

    fn fired(wheel: &mut Wheel, now_ms: u64) -> Vec<u64> {
        let mut effects = Vec::new();
        wheel.advance(now_ms, |wakeup, _| effects.push(wakeup.effect));
        effects
    }

    #[test]
    fn a_timer_a_year_away_fires_at_its_instant_and_not_before() {
        let start = 1_700_000_000_123;
        let mut wheel = Wheel::new(start);
        let year = 365 * 86_400_000;
        wheel.arm(start + year, wakeup(1));
        assert_eq!(fired(&mut wheel, start + year - 1), Vec::<u64>::new());
        assert_eq!(fired(&mut wheel, start + year), [1]);
        assert_eq!((wheel.len(), wheel.next_ms()), (0, None));
    }

    #[test]
    fn a_timer_just_beyond_a_turn_of_a_level_is_not_late() {
        let boundary = 27u64 << 36;
        let mut wheel = Wheel::new(boundary - 1);
        wheel.arm(boundary, wakeup(1));
        assert_eq!(fired(&mut wheel, boundary), [1]);
    }

    #[test]
    fn the_key_of_a_fired_timer_does_not_cancel_the_next_user_of_its_entry() {
        let mut wheel = Wheel::new(0);
        let first = wheel.arm(1, wakeup(1));
        assert_eq!(fired(&mut wheel, 1), [1]);
        wheel.arm(2, wakeup(2));
        assert!(!wheel.cancel(first));
        assert_eq!(fired(&mut wheel, 2), [2]);
    }

    proptest! {
        #[test]
        fn the_wheel_fires_what_a_sorted_list_would_fire(
            start in 0u64..1 << 41,
            steps in prop::collection::vec((0u8..3, 0u32..40, any::<u64>()), 1..120),
        ) {
            let mut wheel = Wheel::new(start);
            let mut now = start;
            let mut model: Vec<(u64, u64, TimerKey)> = Vec::new();
            for (number, (kind, magnitude, draw)) in steps.into_iter().enumerate() {
                let span = draw % (1 << magnitude);
                match kind {
                    0 => {
                        let key = wheel.arm(now + span, wakeup(number as u64));
                        model.push((now + span, number as u64, key));
                    }
                    1 if !model.is_empty() => {
                        let (_, _, key) = model.swap_remove((draw % model.len() as u64) as usize);
                        prop_assert!(wheel.cancel(key));
                        prop_assert!(!wheel.cancel(key));
                    }
                    _ => {
                        now += span;
                        let mut due: Vec<_> = model.extract_if(.., |entry| entry.0 <= now).collect();
                        due.sort_by_key(|entry| entry.0);
                        let mut instants = Vec::new();
                        wheel.advance(now, |fired, _| {
                            let at = due.iter().find(|entry| entry.1 == fired.effect).map(|entry| entry.0);
                            instants.push(at);
                        });
                        let expected: Vec<_> = due.iter().map(|entry| Some(entry.0)).collect();
                        prop_assert_eq!(instants, expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let earliest = model.iter().map(|entry| entry.0).min();
                prop_assert!(wheel.next_ms().is_none_or(|due| Some(due.max(now)) <= earliest.map(|at| at.max(now))));
                prop_assert_eq!(wheel.next_ms().is_none(), earliest.is_none());
            }
        }
    }
}
