//! How much memory and disk the processes of a run take: looked at once a second.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// What is taken now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Resident bytes of the largest node.
    pub node_bytes: u64,
    /// Resident bytes of the scheduler.
    pub scheduler_bytes: u64,
    /// Resident bytes of all Redis servers.
    pub redis_bytes: u64,
    /// Bytes of the store on the disk.
    pub store_bytes: u64,
}

impl Taken {
    fn max(self, other: Self) -> Self {
        Self {
            node_bytes: self.node_bytes.max(other.node_bytes),
            scheduler_bytes: self.scheduler_bytes.max(other.scheduler_bytes),
            redis_bytes: self.redis_bytes.max(other.redis_bytes),
            store_bytes: self.store_bytes.max(other.store_bytes),
        }
    }
}

/// The most that was taken, of the whole run and of each quarter.
#[derive(Debug)]
pub struct Peaks {
    looked: Option<Instant>,
    seen: Vec<Taken>,
}

impl Peaks {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self { looked: None, seen: Vec::new() }
    }

    /// Looks, if the last look is long enough ago. One entry a second is kept.
    pub fn look(&mut self, taken: impl FnOnce() -> Taken) {
        if self.looked.is_none_or(|last| last.elapsed() >= EVERY) {
            self.looked = Some(Instant::now());
            self.seen.push(taken());
        }
    }

    /// The most of the whole run.
    #[must_use]
    pub fn most(&self) -> Taken {
        most(&self.seen)
    }

    /// The most of each quarter of the run: what grows without a bound shows here.
    #[must_use]
    pub fn quarters(&self) -> Vec<Taken> {
        let length = self.seen.len().div_ceil(4).max(1);
        self.seen.chunks(length).map(most).collect()
    }
}

impl Default for Peaks {
    fn default() -> Self {
        Self::new()
    }
}

fn most(seen: &[Taken]) -> Taken {
    seen.iter().copied().fold(Taken::default(), Taken::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_each_quarter_is_told_and_that_of_the_whole() {
        let taken = |bytes| Taken { node_bytes: bytes, store_bytes: 10 - bytes, ..Taken::default() };
        let peaks = Peaks { looked: None, seen: (1..=8).map(taken).collect() };
        let nodes: Vec<u64> = peaks.quarters().iter().map(|quarter| quarter.node_bytes).collect();
        assert_eq!(nodes, [2, 4, 6, 8]);
        assert_eq!((peaks.most().node_bytes, peaks.most().store_bytes), (8, 9));
        assert_eq!(Peaks::new().most(), Taken::default());
    }

    #[test]
    fn it_is_looked_once_a_second_at_most() {
        let mut peaks = Peaks::new();
        peaks.look(Taken::default);
        peaks.look(|| unreachable!("a second has not passed"));
        assert_eq!(peaks.seen.len(), 1);
    }
}
