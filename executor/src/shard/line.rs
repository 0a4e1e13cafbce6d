//! Tenants of a slab in a row: who came first, comes first.
//!
//! One that leaves the slab leaves its address behind in its line. Invariants: at most half of a line, and one, are such
//! addresses, so that a line that nobody takes from is bounded by those who stand in it; each tenant stands in one line at
//! most, which is told when it leaves. To leave costs a constant on average. Nothing here fails.

use std::collections::VecDeque;

use super::slab::{Address, Slab};

/// See the module.
#[derive(Debug, Default)]
pub struct Line {
    addresses: VecDeque<Address>,
    /// Addresses whose tenants have left.
    gone: usize,
}

impl Line {
    /// Behind all others.
    pub fn push_back(&mut self, address: Address) {
        self.addresses.push_back(address);
    }

    /// Before all others.
    pub fn push_front(&mut self, address: Address) {
        self.addresses.push_front(address);
    }

    /// Takes the first one out.
    pub fn pop_front<T>(&mut self, slab: &Slab<T>) -> Option<Address> {
        while let Some(address) = self.addresses.pop_front() {
            if slab.get(address).is_some() {
                return Some(address);
            }
            self.gone -= 1;
        }
        None
    }

    /// Takes the last one out.
    pub fn pop_back<T>(&mut self, slab: &Slab<T>) -> Option<Address> {
        while let Some(address) = self.addresses.pop_back() {
            if slab.get(address).is_some() {
                return Some(address);
            }
            self.gone -= 1;
        }
        None
    }

    /// Somebody in it has left the slab.
    pub fn left<T>(&mut self, slab: &Slab<T>) {
        self.gone += 1;
        if self.gone > self.addresses.len() / 2 {
            self.addresses.retain(|address| slab.get(*address).is_some());
            self.gone = 0;
        }
    }

    /// Whether nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.addresses.len() == self.gone
    }

    /// Addresses in it.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_stay_keep_their_order_and_those_that_leave_take_no_room() {
        let (mut slab, mut line) = (Slab::default(), Line::default());
        let all: Vec<Address> = (0..1_000).map(|number| slab.insert(number)).collect();
        all.iter().for_each(|address| line.push_back(*address));
        for (number, address) in all.iter().enumerate().filter(|(number, _)| number % 10 != 3) {
            slab.remove(*address);
            line.left(&slab);
            assert!(line.len() <= 2 * slab.len() + 1, "{number}");
        }
        line.push_front(slab.insert(7));
        let first = line.pop_front(&slab).and_then(|address| slab.remove(address));
        let last = line.pop_back(&slab).and_then(|address| slab.remove(address));
        assert_eq!((first, last), (Some(7), Some(993)));
        let others: Vec<i32> =
            std::iter::from_fn(|| line.pop_front(&slab).and_then(|address| slab.remove(address))).collect();
        assert_eq!(others, (0..99).map(|number| number * 10 + 3).collect::<Vec<_>>());
        assert!(line.is_empty());
        assert_eq!(line.len(), 0, "no address stays behind");
    }

    #[test]
    fn a_line_that_everybody_has_left_is_empty() {
        let (mut slab, mut line) = (Slab::default(), Line::default());
        for number in 0..100 {
            let address = slab.insert(number);
            line.push_back(address);
            slab.remove(address);
            line.left(&slab);
            assert!(line.is_empty() && line.pop_front(&slab).is_none());
        }
    }
}
