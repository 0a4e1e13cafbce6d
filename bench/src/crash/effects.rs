//! Whether a strike had its effect: one that hits nothing shows nothing.
//!
//! What cannot miss (signals, cuts) is not looked at.

use std::time::{Duration, Instant};

use super::blows::rest;
use super::cluster::Cluster;
use super::plan::{Blow, Strike, Target};
use super::shared::Shared;

/// How much longer than planned a strike lasts until its effect shows.
const SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Cluster {
    /// What a strike's effect is counted by, before it.
    pub(super) fn counted(&mut self, strike: &Strike) -> u64 {
        match (strike.blow, strike.targets.first()) {
            (Blow::LostReplies, _) => self.lost_replies(),
            (Blow::Oom, Some(Target::Redis(number))) => self.refused_for_memory(*number),
            _ => 0,
        }
    }

    /// Whether it had its effect; waits for it, longer than the strike had to last. Nothing of strikes that cannot miss.
    pub(super) fn has_struck(&mut self, strike: &Strike, before: u64, shared: &Shared) -> Option<bool> {
        match (strike.blow, *strike.targets.first()?) {
            (Blow::LostReplies, _) => Some(shows(|| self.lost_replies() > before)),
            (Blow::Oom, Target::Redis(number)) => Some(shows(|| self.refused_for_memory(number) > before)),
            (Blow::DiskFull, Target::Redis(number)) => {
                Some(shows(|| self.redis(number).and_then(testkit::Redis::try_exit).is_some()))
            }
            // A node whose files cannot grow acknowledges nothing.
            (Blow::DiskFull, _) => Some(shared.longest_gap() * 2 > strike.down),
            _ => None,
        }
    }

    /// Commands that a Redis has refused because its memory was full.
    fn refused_for_memory(&mut self, number: u16) -> u64 {
        let info = self.redis(number).and_then(|redis| redis.command(&["INFO", "errorstats"]).ok());
        info.as_deref().map_or(0, oom_errors)
    }
}

fn shows(mut look: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + SHOWS_WITHIN;
    loop {
        if look() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        rest(LOOK_EVERY);
    }
}

fn oom_errors(info: &str) -> u64 {
    let count = |line: &str| line.trim().strip_prefix("errorstat_OOM:count=")?.parse().ok();
    info.lines().find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_for_want_of_memory_are_counted_apart() {
        let info = "# Errorstats\r\nerrorstat_ERR:count=3\r\nerrorstat_OOM:count=41\r\n";
        assert_eq!((oom_errors(info), oom_errors("# Errorstats\r\n")), (41, 0));
    }
}
