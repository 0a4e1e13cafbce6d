//! What a seed chooses before its run begins: a swarm of worlds, most of which lack most troubles.
//!
//! Purpose: a fault that always happens hides what happens without it, so each run has its own mix. Nothing here fails.

use executor::shard::Pace;

use crate::rng::Rng;

/// The choices of one run. Chances are in thousandths, times in microseconds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Groups of partitions, each owned by one process at a time.
    pub groups: u32,
    /// Partitions of each group.
    pub partitions_per_group: u32,
    /// Nodes that a scheduler tells which partitions they shall have; 0: each group has processes of its own.
    pub nodes: u32,
    /// Dispatchers.
    pub dispatchers: u32,
    /// Batches of each dispatcher.
    pub batches: u64,
    /// Executions of a batch, at most.
    pub batch_max: u64,
    /// Pause between two batches of a dispatcher, at most.
    pub batch_pause_us: u64,
    /// How long a message takes, at most.
    pub network_us: u64,
    /// Messages that are lost.
    pub drop: u64,
    /// Messages that come twice.
    pub duplicate: u64,
    /// How long a call of the store takes, at most, in each direction.
    pub store_us: u64,
    /// Calls that are refused.
    pub refuse: u64,
    /// Calls that take effect and whose answer is lost.
    pub lose_reply: u64,
    /// Calls that are given up by their caller and take effect long after.
    pub late_effect: u64,
    /// Outages of the store.
    pub outages: u64,
    /// Replicas that take over without the last blocks of a log.
    pub failovers: u64,
    /// Blocks that such a replica lacks, at most.
    pub replica_lacks: u64,
    /// Crashes at any time.
    pub crashes: u64,
    /// Crashes at chosen points.
    pub crashes_at_points: u64,
    /// Processes that stand still for a while, and go on when another has followed.
    pub pauses: u64,
    /// Groups that are given to others, nodes that are drained or join, though all is well.
    pub replaced: u64,
    /// Schedulers that die, stand still, or are followed by others.
    pub scheduler_failures: u64,
    /// How long nobody hears of a process before another follows it.
    pub suspicion_us: u64,
    /// How far a clock may be off.
    pub skew_us: u64,
    /// How long a dispatcher waits before it sends a batch again.
    pub resend_us: u64,
    /// How long a dispatcher is cut off from all processes, once, if at all.
    pub cut_off_us: u64,
    /// Tasks that are done late, twice, or never, and such that fail.
    pub worker: WorkerOptions,
    /// Executions that somebody stops.
    pub stop: u64,
    /// Executions that somebody asks for.
    pub ask: u64,
    /// Executions without success that somebody redrives.
    pub redrive: u64,
    /// STANDARD executions among all.
    pub standard: u64,
    /// Synchronous ones among the EXPRESS executions.
    pub sync: u64,
    /// Executions with a name among the STANDARD ones.
    pub named: u64,
    /// Inputs that are no JSON.
    pub invalid: u64,
    /// Batches whose id is used for other content afterwards.
    pub forged: u64,
    /// Batches that were answered in full and are sent again, until they are forgotten.
    pub again: u64,
    /// How long closed executions are kept, in seconds.
    pub retention_s: u64,
    /// Clocks that jump, or stand still until they are behind as far as they may be.
    pub clock_jumps: u64,
    /// Processes that die while they step something.
    pub dies_stepping: u64,
    /// Stores that go back when something is carried into a later block.
    pub back_on_carry: u64,
    /// How much logs gather.
    pub pace: Pace,
}

/// How workers behave.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// How long a task takes, at most.
    pub task_us: u64,
    /// Tasks that take far longer.
    pub late: u64,
    /// Tasks whose outcome comes twice.
    pub twice: u64,
    /// Tasks that are never done.
    pub never: u64,
    /// Tasks that fail and may be tried again.
    pub flaky: u64,
    /// Messages after which the worker goes away.
    pub leave: u64,
}

impl Options {
    /// The choices of a seed.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let mut of = |choices: &[u64]| *rng.pick(choices);
        let named = of(&[0, 0, 300]);
        let cut_off_us = of(&[0, 0, 70_000_000, 110_000_000]);
        // Names are free again when their retention is over: the audit wants them to stay.
        let long = named > 0;
        let checkpoint_blocks = of(&[8, 8, 24, 4_096]);
        let pace = Pace {
            checkpoint_blocks: checkpoint_blocks as usize,
            lost_blocks: checkpoint_blocks.min(executor::limits::LOST_BLOCKS_MAX),
            carried_records: of(&[1, 2, 256]) as usize,
        };
        Self {
            groups: of(&[1, 1, 2, 3]) as u32,
            partitions_per_group: of(&[1, 1, 2]) as u32,
            nodes: of(&[0, 1, 2, 3]) as u32,
            dispatchers: of(&[1, 1, 2]) as u32,
            batches: of(&[2, 4, 6, 10]),
            batch_max: of(&[1, 2, 5]),
            batch_pause_us: of(&[1_000, 100_000, 3_000_000, 20_000_000]),
            network_us: of(&[500, 5_000, 200_000]),
            drop: of(&[0, 0, 30, 150]),
            duplicate: of(&[0, 0, 30, 150]),
            store_us: of(&[200, 2_000, 50_000]),
            refuse: of(&[0, 0, 20, 100]),
            lose_reply: of(&[0, 0, 20, 100]),
            late_effect: of(&[0, 0, 0, 20]),
            outages: of(&[0, 0, 1, 2]),
            failovers: of(&[0, 0, 0, 1, 3]),
            // What travelled beside these is written again by the owner, or by the next one, who looks through `lost_blocks`.
            replica_lacks: of(&[2, 5, 40]).min(pace.lost_blocks / 2),
            crashes: of(&[0, 1, 2, 4]),
            crashes_at_points: of(&[0, 2, 4]),
            pauses: of(&[0, 0, 1, 2]),
            replaced: of(&[0, 0, 1, 3]),
            scheduler_failures: of(&[0, 0, 1, 3]),
            suspicion_us: of(&[1_000_000, 5_000_000, 10_000_000]),
            skew_us: of(&[0, 0, 1_000_000, 29_000_000]),
            resend_us: of(&[500_000, 2_000_000, 10_000_000]),
            cut_off_us,
            worker: WorkerOptions {
                task_us: of(&[1_000, 300_000, 5_000_000]),
                late: of(&[0, 0, 100]),
                twice: of(&[0, 0, 100]),
                never: of(&[0, 0, 50]),
                flaky: of(&[0, 0, 200]),
                leave: of(&[0, 0, 50]),
            },
            stop: of(&[0, 0, 100]),
            ask: of(&[0, 200]),
            redrive: of(&[0, 0, 700]),
            standard: of(&[0, 500, 500, 1_000]),
            sync: of(&[0, 0, 300]),
            named,
            invalid: of(&[0, 0, 50]),
            forged: of(&[0, 0, 100]),
            again: of(&[0, 300, 1_000]),
            retention_s: if long { 3_600 } else { of(&[20, 60, 60, 3_600]) },
            clock_jumps: of(&[0, 0, 1, 4]),
            dies_stepping: of(&[0, 0, 300]),
            back_on_carry: of(&[0, 300]),
            pace,
        }
    }
}
