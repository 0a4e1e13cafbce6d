//! How each strike is made, and how what it hit runs again.
//!
//! Invariants: when [`Cluster::heal`] returns, every process runs, no limit is left, and every way is open; what a node that
//! was hit can have sent before is excused, nothing else. What may fail: a process that cannot be signalled, for it has ended by
//! itself, and one that does not start again; a drain that does not end with 0 is a fault.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, process};
use super::plan::{Blow, Dice, Strike, Target};
use super::shared::Shared;
use crate::error::Error;

/// How long a node or scheduler may take to end after SIGTERM: more than a drain's deadline.
const END_WITHIN: Duration = Duration::from_secs(80);
/// How long a process may take until it takes calls again.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What a node that stood still had handed out before has come by then.
const EXCUSE_MS: u64 = 1_000;

/// Lets so much time go by.
pub(super) fn rest(span: Duration) {
    let until = Instant::now() + span;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

impl Cluster {
    /// Hits the targets. Strikes that are a sequence by themselves (restarts, a slow store) are over when this returns.
    ///
    /// # Errors
    /// A process that cannot be signalled, or does not start again.
    pub fn strike(&mut self, strike: &Strike, shared: &Shared) -> Result<(), Error> {
        self.links().strike(strike);
        for target in &strike.targets {
            match strike.blow {
                Blow::Kill => self.kill(*target, strike, shared),
                Blow::Stop => self.stand_still(*target, shared)?,
                Blow::Restart => self.restart(*target, strike, shared)?,
                Blow::SlowStore => self.slow_down(*target, strike)?,
                Blow::Oom => self.limit_memory(*target, "1mb")?,
                Blow::DiskFull => self.fill_disk(*target, strike)?,
                Blow::LostReplies | Blow::Cut | Blow::Partition | Blow::Delay => {}
            }
        }
        Ok(())
    }

    /// Lets the targets run again.
    ///
    /// # Errors
    /// A process that does not start.
    pub fn heal(&mut self, strike: &Strike, shared: &Shared) -> Result<(), Error> {
        self.links().heal(strike);
        for target in &strike.targets {
            match strike.blow {
                Blow::Kill => self.launch(*target)?,
                Blow::SlowStore if strike.ends_in_kill => self.launch(*target)?,
                Blow::Stop => self.go_on(*target, shared)?,
                Blow::Oom => self.limit_memory(*target, "0")?,
                Blow::DiskFull => self.free_disk(*target)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Kills everything at once and starts it anew: what is read afterwards comes from the disk.
    ///
    /// # Errors
    /// A process that does not start, or does not serve again.
    pub fn start_anew(&mut self, shared: &Shared) -> Result<(), Error> {
        for target in self.targets() {
            self.save_log(target, "SIGKILL of everything at the end");
            match target {
                Target::Redis(number) => self.redis(number).into_iter().for_each(testkit::Redis::kill9),
                target => self.process_mut(target).into_iter().for_each(testkit::Process::kill9),
            }
            if let Target::Node(node) = target {
                shared.node_killed(node);
            }
        }
        let targets = self.targets();
        let (stores, others): (Vec<Target>, Vec<Target>) =
            targets.into_iter().partition(|target| matches!(target, Target::Redis(_)));
        stores.iter().chain(&others).try_for_each(|target| self.launch(*target))?;
        others.iter().try_for_each(|target| self.wait_until_ready(*target))
    }

    fn kill(&mut self, target: Target, strike: &Strike, shared: &Shared) {
        self.save_log(target, &format!("SIGKILL, strike {}", strike.number));
        match target {
            Target::Redis(number) => self.redis(number).into_iter().for_each(testkit::Redis::kill9),
            target => self.process_mut(target).into_iter().for_each(testkit::Process::kill9),
        }
        if let Target::Node(node) = target {
            shared.node_killed(node);
        }
    }

    fn stand_still(&mut self, target: Target, shared: &Shared) -> Result<(), Error> {
        match target {
            Target::Redis(number) => self.redis(number).map_or(Ok(()), |redis| redis.freeze()),
            target => self.process_mut(target).map_or(Ok(()), |process| process.freeze()),
        }
        .map_err(process)?;
        if let Target::Node(node) = target {
            shared.node_stopped(node);
        }
        Ok(())
    }

    fn go_on(&mut self, target: Target, shared: &Shared) -> Result<(), Error> {
        if let Target::Node(node) = target {
            shared.node_goes_on(node, shared.now_ms() + EXCUSE_MS);
        }
        match target {
            Target::Redis(number) => self.redis(number).map_or(Ok(()), |redis| redis.thaw()),
            target => self.process_mut(target).map_or(Ok(()), |process| process.thaw()),
        }
        .map_err(process)
    }

    /// SIGTERM, the end, and a new start; returns when the new process takes calls.
    fn restart(&mut self, target: Target, strike: &Strike, shared: &Shared) -> Result<(), Error> {
        let Some(one) = self.process_mut(target) else { return Ok(()) };
        one.terminate().map_err(process)?;
        match one.wait_exit(END_WITHIN) {
            Ok(exit) if exit.code == Some(0) => {}
            Ok(exit) => shared.fault(&format!("{target} drained after SIGTERM and ended with {exit}, not 0")),
            Err(error) => {
                shared.fault(&format!("SIGTERM: {error}"));
                one.kill9();
            }
        }
        self.save_log(target, &format!("SIGTERM, strike {}", strike.number));
        if let Target::Node(node) = target {
            // What lies in streams that it has closed was sent before.
            shared.node_left(node);
        }
        self.launch(target)?;
        self.wait_until_ready(target)
    }

    fn wait_until_ready(&mut self, target: Target) -> Result<(), Error> {
        let look = self.readiness(target);
        let Some(one) = self.process_mut(target) else { return Ok(()) };
        one.wait_until("readiness", READY_WITHIN, || look().then_some(())).map_err(process)
    }

    /// It stands still for a moment again and again, as a server does that waits for its disk.
    fn slow_down(&mut self, target: Target, strike: &Strike) -> Result<(), Error> {
        let Target::Redis(number) = target else { return Ok(()) };
        let Some(redis) = self.redis(number) else { return Ok(()) };
        let mut dice = Dice::new(strike.seed);
        let until = Instant::now() + strike.down;
        while Instant::now() < until {
            redis.freeze().map_err(process)?;
            rest(Duration::from_millis(100 + dice.below(801)));
            redis.thaw().map_err(process)?;
            rest(Duration::from_millis(20 + dice.below(200)));
        }
        if strike.ends_in_kill {
            redis.freeze().map_err(process)?;
            rest(Duration::from_millis(100 + dice.below(801)));
            self.save_log(target, &format!("SIGKILL, strike {}", strike.number));
            self.redis(number).into_iter().for_each(testkit::Redis::kill9);
        }
        Ok(())
    }

    fn limit_memory(&mut self, target: Target, bytes: &str) -> Result<(), Error> {
        let Target::Redis(number) = target else { return Ok(()) };
        let set = |redis: &mut testkit::Redis| redis.command(&["CONFIG", "SET", "maxmemory", bytes]);
        self.redis(number).map_or(Ok(()), |redis| set(redis).map(drop)).map_err(process)
    }

    /// Of Redis, a command that is on its way to the log does not fit any more: it ends by itself, as it does on a full disk.
    /// It writes at the end of the last file of its log, however long others are.
    fn fill_disk(&mut self, target: Target, strike: &Strike) -> Result<(), Error> {
        match target {
            Target::Redis(number) => {
                let Some(redis) = self.redis(number) else { return Ok(()) };
                let left = Dice::new(strike.seed).below(4_096);
                let limit = last_of_log(&redis.dir().join("appendonlydir")) + left;
                redis.limit_files(Some(limit)).map_err(process)
            }
            target => {
                self.process_mut(target).map_or(Ok(()), |one| one.limit_files(Some(1))).map_err(process)
            }
        }
    }

    fn free_disk(&mut self, target: Target) -> Result<(), Error> {
        match target {
            Target::Redis(_) => {
                self.save_log(target, "the disk has space again");
                self.launch(target)
            }
            target => self.process_mut(target).map_or(Ok(()), |one| one.limit_files(None)).map_err(process),
        }
    }
}

/// The length of the file that Redis appends to: `NAME.NUMBER.incr.aof` with the highest number.
fn last_of_log(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let incremental = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let number: u64 = name.strip_suffix(".incr.aof")?.rsplit('.').next()?.parse().ok()?;
        Some((number, entry.metadata().ok()?.len()))
    };
    entries.filter_map(incremental).max().map_or(0, |(_, length)| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_full_where_redis_appends_and_not_at_a_longer_file_that_it_only_keeps() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = [("9.base.rdb", 900), ("9.incr.aof", 70), ("10.incr.aof", 30), ("manifest", 5)];
        for (name, length) in files {
            let path = directory.path().join(format!("appendonly.aof.{name}"));
            std::fs::write(path, vec![0; length]).expect("written");
        }
        assert_eq!(last_of_log(directory.path()), 30);
    }
}
