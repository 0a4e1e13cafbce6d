//! Every limit of the node, with its unit, its source, and what happens beyond.
//!
//! Limits of the language itself (expression depth, history events inside an execution) stand in `asl`; here stands what
//! the node enforces at its edges.

use std::time::Duration;

/// Input of an ASL execution, in bytes of UTF-8 (Step Functions). Beyond: refused as `InvalidExecutionInput`.
pub const INPUT_BYTES_MAX: usize = 262_144;

/// Input of a TCSL execution, in characters (ASW). Beyond: refused as `InvalidExecutionInput`.
pub const TCSL_INPUT_CHARS_MAX: usize = 524_288;

/// A task's output before the language looks at it, in bytes; the language fails the state beyond 262,144. Beyond this:
/// the task fails as if its output were no JSON.
pub const TASK_OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Error names and causes of workers and of StopExecution, in bytes (Step Functions: 256 and 32,768 characters).
/// Beyond: cut at a character.
pub const ERROR_BYTES_MAX: usize = 256;
/// See [`ERROR_BYTES_MAX`].
pub const CAUSE_BYTES_MAX: usize = 32_768;

/// A task's token as text, in bytes (Step Functions: 1 to 2,048 characters). Beyond: refused as `InvalidToken`.
pub const TASK_TOKEN_BYTES_MAX: usize = 2_048;

/// The output of a callback, in bytes of UTF-8 (Step Functions). Beyond: refused as `InvalidOutput`.
pub const CALLBACK_OUTPUT_BYTES_MAX: usize = 262_144;

/// Error name and cause of a callback, in characters (Step Functions). Beyond: refused as `InvalidRequest`.
pub const CALLBACK_ERROR_CHARS_MAX: usize = 256;
/// See [`CALLBACK_ERROR_CHARS_MAX`].
pub const CALLBACK_CAUSE_CHARS_MAX: usize = 32_768;

/// A definition, in bytes (Step Functions). Beyond: refused as `InvalidDefinition`.
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// Executions of one batch.
pub const BATCH_EXECUTIONS_MAX: usize = ids::BATCH_EXECUTIONS_MAX;

/// Input of one batch, in bytes; a batch of one may be larger, up to the input's own limit.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Distinct machines of one batch.
pub const BATCH_MACHINES_MAX: usize = 256;

/// An execution's name, in characters (Step Functions). Beyond: refused as `InvalidName`.
pub const NAME_CHARS_MAX: usize = 80;

/// An ARN or QRN, in bytes (Step Functions). Beyond: refused as `InvalidArn`.
pub const ARN_BYTES_MAX: usize = 256;

/// What executions were started by: a version's number and an alias of at most 80 characters. Beyond: refused as `InvalidBatch`.
pub const ORIGIN_BYTES_MAX: usize = 96;

/// The longest a STANDARD execution may run, in seconds: one year (Step Functions).
pub const STANDARD_SECONDS_MAX: u64 = 31_536_000;

/// The longest an EXPRESS execution may run, in seconds: five minutes (Step Functions).
pub const EXPRESS_SECONDS_MAX: u64 = 300;

/// History events of a STANDARD execution (Step Functions). Beyond: the execution fails.
pub const STANDARD_HISTORY_EVENTS_MAX: u64 = 25_000;

/// How long after its end an execution can be redriven (Step Functions: 14 days). Beyond: refused as
/// `ExecutionNotRedrivable`. One whose retention has passed before is not found.
pub const REDRIVE_WINDOW: Duration = Duration::from_secs(14 * 86_400);

/// How often an execution can be redriven (Step Functions says it of a Map Run). Beyond: refused as above.
pub const REDRIVES_MAX: u32 = 1_000;

/// Bytes of the token that names a redrive (Step Functions' `clientToken`: 64 characters). Beyond: INVALID_ARGUMENT.
pub const CLIENT_TOKEN_BYTES_MAX: usize = 64;

/// Bytes of the journal of an execution that is redriven: it is read into memory and written again, in one block. Beyond: refused as above.
pub const REDRIVE_JOURNAL_BYTES_MAX: usize = 20 << 20;

/// Deaths of nodes that were stepping an execution at which it is not begun again: it is closed as FAILED.
pub const NODE_DEATHS_MAX: u32 = 3;

/// History events of an EXPRESS execution. Step Functions has no such limit; ours keeps an endless loop from holding a
/// shard's only thread. Beyond: the execution fails.
pub const EXPRESS_HISTORY_EVENTS_MAX: u64 = 1_000_000;

/// Programs that a node keeps compiled. Beyond: one that no shard uses is forgotten, and read again when asked for.
pub const PROGRAMS_MAX: usize = 10_000;

/// Machines that a shard remembers. Beyond: those without an open execution are forgotten.
pub const SHARD_MACHINES_MAX: usize = 10_000;

/// How long a shard gives turns to executions that work much before it is there for others again.
pub const TURNS_SLICE: Duration = Duration::from_millis(5);

/// Units of work (about 100 ns each) of one round after which executions that start wait for a turn.
pub const ROUND_UNITS: u64 = 1 << 20;

/// Commands that a shard handles before other tasks of its thread run.
pub const COMMANDS_PER_WAKE: usize = 8;

/// Bytes after which a flush closes its block, before compression: of what was journalled in it with inputs, names and traces
/// of what is opened, and of records that are in it already. Of ends it takes no more than this beside them. A redrive may
/// bring more at once ([`REDRIVE_JOURNAL_BYTES_MAX`]), and has a block of its own then; all together stay below what a store
/// takes.
pub const FLUSH_BYTES_MAX: usize = 2 << 20;

/// About how many bytes of histories and spans wait on the node for the store to confirm what has caused them; each shard has
/// an equal part. What is told beyond is dropped.
pub const TOLD_BYTES_MAX: usize = 64 << 20;

/// But a shard has no less than this, however many there are.
pub const TOLD_BYTES_MIN: usize = 4 << 20;

/// About how many bytes of one execution's history leave together; more of several events leaves in parts.
pub const TOLD_PAGE_BYTES_MAX: usize = 256 << 10;

/// Records that make a flush start without waiting for [`FLUSH_PACE`].
pub const FLUSH_RECORDS_MIN: usize = 256;

/// Where a shard writes much, small flushes of a log begin at most once in each tick of this length. Ticks are those of Unix
/// time, so that the logs of a node reach the store together and share its fsync.
pub const FLUSH_PACE: Duration = Duration::from_micros(2_500);

/// What a node writes in one tick of [`FLUSH_PACE`] as little: below, small flushes begin at once. In records, that is 51,200 a
/// second, where a flush counts as [`FLUSH_LOAD_MIN`] of them at least. Each shard has an equal part, whatever the others do ...
pub const FLUSH_CALM_LOAD: usize = 128;

/// ... but no less than this, which nodes of more than eight shards have.
pub const FLUSH_CALM_LOAD_MIN: usize = 16;

/// As how many records a flush counts at least, since each costs the store an fsync: 12,800 flushes of single records a second
/// are no longer little.
pub const FLUSH_LOAD_MIN: usize = 4;

/// Blocks of one log that may wait for the store before starts and redrives are refused, and before no more tasks of it are
/// handed out and no more objects read, whose outcomes would have to be written.
pub const FLUSHES_WAITING_MAX: usize = 8;

/// Bytes of confirmed blocks that one log holds, to write them again when a replica was promoted that did not have them: far
/// more than a replica that keeps up is behind. Beyond: the oldest is dropped, and counted if the store loses it.
pub const HELD_BYTES_PER_LOG_MAX: usize = 4 << 20;

/// The same for all logs of one shard together; each has an equal part.
pub const HELD_BYTES_MAX: usize = 32 << 20;

/// How long a confirmed block is held: longer than a Redis Cluster takes to notice a dead master and to promote a replica
/// with its default timeouts. Beyond: dropped when the next block is confirmed.
pub const HELD_TIME: Duration = Duration::from_secs(10);

/// Batches whose block one log remembers, so that it can tell which ones a store has lost: some 250 KB.
pub const HELD_BATCHES_MAX: usize = 8_192;

/// How long batch ids are remembered. An older resend is refused as EXPIRED.
pub const BATCH_HORIZON: Duration = Duration::from_secs(120);

/// Batch ids that a shard remembers at most. Beyond: the oldest is forgotten, and the horizon moves up to it.
pub const BATCHES_REMEMBERED_MAX: usize = 524_288;

/// How far a dispatcher's clock may be ahead of the node's.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);

/// How long a block is kept at least, however short the retention is: a log that has let go of a block takes what began in
/// it for new, and that must not be while a dispatcher may send it again. Once for a dispatcher whose clock is ahead of
/// the node's that wrote the block, and once for a node that reads the log with a clock behind that of the one that let
/// go.
pub const BLOCK_KEPT_MIN: Duration =
    Duration::from_secs(BATCH_HORIZON.as_secs() + 2 * CLOCK_AHEAD_MAX.as_secs());

/// Streams that may wait for the acknowledgement of one batch.
pub const BATCH_WAITERS_MAX: usize = 4;

/// Events that an execution's mailbox holds before it is run at once.
pub const MAILBOX_EVENTS_MAX: u16 = 1_024;

/// Calls of one shard over HTTP that are under way at once, to all targets together: sockets. Of its own places a target gets
/// as large a part as others leave free of these. Beyond: they wait for their target, and hold nothing.
pub const CALLS_MAX: usize = 16_384;

/// Calls of one shard to one target (scheme, host and port, and behind that a function or service) at once. Beyond: they wait for it.
pub const TARGET_CALLS_MAX: usize = 256;

/// Calls of one shard that wait for one target. Beyond: they fail.
pub const TARGET_CALLS_WAITING_MAX: usize = 4_096;

/// Worker streams of one shard.
pub const WORKERS_MAX: usize = 4_096;

/// Calls of one node that wait for tasks of activities. Beyond: refused with a delay.
pub const POLLS_MAX: u64 = 4_096;

/// How long such a call waits (Step Functions).
pub const POLL_WAIT: Duration = Duration::from_secs(60);

/// Characters of what an activity's worker calls itself (Step Functions).
pub const WORKER_NAME_CHARS_MAX: usize = 80;

/// Watchers of completions of one shard.
pub const WATCHERS_MAX: usize = 64;

/// Tasks of one message to a worker.
pub const TASK_BATCH_MAX: usize = 256;

/// Bytes of task input of one message to a worker; one task may be larger.
pub const TASK_BATCH_BYTES_MAX: usize = 1 << 20;

/// Credit that one worker may gather.
pub const WORKER_CREDIT_MAX: u32 = 65_536;

/// Batches that may wait for definitions, names or the blocks they began in from the store on one shard.
pub const LOADING_BATCHES_MAX: usize = 64;

/// Blocks of a journal that are read at once, for a history or a redrive: as few round trips, and about 32 MiB at most in hand.
pub const JOURNAL_BLOCKS_AT_ONCE: usize = 16;

/// Child executions that one replay collects for the pages that follow, beside those under way.
pub const CHILDREN_AHEAD: usize = 10_000;

/// Bytes of one listing of child executions, or of Map Runs, that is kept for the pages that follow: some ten thousand rows.
/// Of longer ones the newest rows are kept.
pub const KEPT_REPLAY_BYTES_MAX: usize = 4 << 20;

/// Listings that are kept so on one shard.
pub const KEPT_REPLAYS_MAX: usize = 64;

/// Bytes of all that is kept so on one shard.
pub const KEPT_REPLAYS_BYTES_MAX: usize = 16 << 20;

/// How long pages after the first are told as it all stood when the first was.
pub const KEPT_REPLAY_MAX: Duration = Duration::from_secs(60);

/// Look-ups, histories and listings under way on one shard. Beyond: refused with a delay.
pub const QUESTIONS_MAX: usize = 1_024;

/// Index entries lost in a crash that are written again beside one block.
pub const LOST_ENTRIES_PER_BLOCK: usize = 256;

/// Blocks at the end of a recovered log whose index entries may have been lost.
pub const LOST_BLOCKS_MAX: u64 = journal::store::DERIVED_BEHIND_MAX;

/// Blocks read at once during recovery.
pub const RECOVERY_PAGE: usize = 16;

/// How long an owner takes it that a partition is its own after the store has confirmed it. Beyond: it asks before it
/// answers from memory or hands out a task. A partition that was lost is not taken back sooner.
pub const LEASE: Duration = Duration::from_secs(3);

/// How long a shard may answer nothing before its node says that it does not serve and has the shard's partitions given to
/// others, as if it were cut off from its store: far longer than any round of a shard that works. That the others may have
/// them is for the store's fence to say.
pub const SHARD_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Ranges of blocks that a recovery reads at once.
pub const RECOVERY_READS_AT_ONCE: usize = 4;

/// Blocks of a log after which a checkpoint is taken, unless the last one was longer than a quarter of them.
pub const CHECKPOINT_BLOCKS: usize = 4_096;

/// Bytes of a log after which a checkpoint is taken, or four times the length of the last one if that is more.
pub const CHECKPOINT_BYTES: usize = 4 << 20;

/// How long something is open at least before it is carried into later blocks; where that is for its age alone, the
/// retention, if that is longer. Batches that are carried are no longer remembered.
pub const CARRY_AGE_MIN: Duration = BATCH_HORIZON;

/// Executions of one log that are found to be carried at once; the others are found when these are done.
pub const CARRIED_MAX: usize = 65_536;

/// Executions of one log that are read at once to be carried.
pub const CARRIED_AT_ONCE: usize = 64;

/// Blocks of them after which no more are added; a single execution may have more.
pub const CARRIED_BLOCKS_AT_ONCE: usize = 1_024;

/// Records that are carried beside those of one block.
pub const CARRIED_RECORDS_PER_BLOCK: usize = 256;

/// Bytes of payloads after which no more are carried beside one block.
pub const CARRIED_BYTES_PER_BLOCK: usize = 256 << 10;

/// How long synchronous executions may take to end after their partition is to be given back, or their node to drain; few
/// wait longer for an answer, and the partition takes no starts meanwhile. Beyond: they end as FAILED.
pub const SYNC_GRACE: Duration = Duration::from_secs(5);

/// The time between two ranges of one log that are archived is a quarter of the retention, but at least this ...
pub const ARCHIVE_PERIOD_MIN: Duration = Duration::from_millis(100);

/// ... and at most this.
pub const ARCHIVE_PERIOD_MAX: Duration = Duration::from_mins(15);

/// The pause after something could not be archived, or a period if that is shorter.
pub const ARCHIVE_RETRY: Duration = Duration::from_secs(10);

/// How long a log that nobody owns remembers how far it is archived. Beyond: what is left of it is archived again.
pub const ARCHIVE_MARK_TTL: Duration = Duration::from_hours(366 * 24);

/// Bytes after which a range is archived as far as it was read.
pub const ARCHIVE_SEGMENT_BYTES: usize = 32 << 20;

/// Ranges that a node archives at once. Each is in memory once as it was read and once as it is written.
pub const ARCHIVES_AT_ONCE: usize = 2;

/// Executions whose starts and journals are read at once to be archived.
pub const ARCHIVED_AT_ONCE: usize = 256;

/// Segments whose time has passed that are deleted at once from one partition. Beyond: the next time.
pub const ARCHIVE_DELETES_AT_ONCE: usize = 1_000;

/// Logs that a shard recovers at once.
pub const RECOVERIES_AT_ONCE: usize = 4;

/// Reads and writes of objects under way on one shard. Beyond: they wait for their turn. Each has an object in memory.
pub const TRANSFERS_MAX: usize = 4;

/// An object or page of a listing that the journal of a STANDARD execution keeps whole, in bytes. Beyond: its length and
/// SHA-256 are kept, and it is read again for a replay.
pub const READ_KEPT_BYTES_MAX: usize = 1 << 20;

/// What the journal of one STANDARD execution keeps of all that it has read, in bytes. Beyond: as for
/// [`READ_KEPT_BYTES_MAX`].
pub const READS_KEPT_BYTES_MAX: usize = 16 << 20;

/// Blocks with records of one STANDARD execution: a closed record names them all. An execution that is told something in
/// every tick reaches this after eleven minutes, which only a distributed Map does: what children are told stands in the
/// journal and not in the history. Beyond: the execution fails.
pub const EXECUTION_BLOCKS_MAX: usize = 262_128;

/// [`EXECUTION_BLOCKS_MAX`], which unit tests reach sooner.
pub const EXECUTION_BLOCKS: usize = if cfg!(test) { 64 } else { EXECUTION_BLOCKS_MAX };

/// An execution whose journal comes to be in so many blocks, or twice or three times as many, is carried into fewer.
pub const CARRY_BLOCKS: usize = EXECUTION_BLOCKS / 4;

/// An execution whose journal is in so many blocks is written on ticks of [`FLUSH_PACE`] alone, however little is written: so it
/// is old enough to be carried when it first has [`CARRY_BLOCKS`].
pub const PACED_BLOCKS: usize = CARRY_BLOCKS / 8;

/// Histories that wait for the exporter's thread, on the whole node, in bytes as they are weighed. The thread looks every
/// 100 ms, or 25 where there is much; beyond: pages are dropped and counted.
pub const HISTORY_INTAKE_BYTES: usize = 64 << 20;

/// No shard's share of it is smaller: it holds some events with the largest payloads.
pub const HISTORY_INTAKE_BYTES_MIN: usize = 4 << 20;

/// The same of spans.
pub const TRACES_INTAKE_BYTES: usize = 16 << 20;

/// Executions of a shard whose spans wait: few are sampled, so that there is room for few.
pub const TRACES_INTAKE_ITEMS: usize = 8_192;

/// The same of a shard's share of spans.
pub const TRACES_INTAKE_BYTES_MIN: usize = 1 << 20;

const _: () = assert!(READ_KEPT_BYTES_MAX <= FLUSH_BYTES_MAX, "a read that is kept must fit in a block");
const _: () =
    assert!(EXECUTION_BLOCKS_MAX < journal::block::CLOSED_BLOCKS_MAX, "the closed record names them all");
const _: () = assert!(INPUT_BYTES_MAX <= BATCH_BYTES_MAX, "one input must fit in a batch");
const _: () = assert!(BATCH_BYTES_MAX <= FLUSH_BYTES_MAX, "one batch must fit in a block");
