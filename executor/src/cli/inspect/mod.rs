//! `executor inspect`: what a store holds, for the engineer on call. It reads a live store and changes nothing.
//!
//! Invariants: nothing is written, no partition is taken, so a running cluster is not disturbed; payloads are shown only
//! where they are asked for, since they may be secret. What may fail: the store; a block that cannot be read is an error
//! that names it.

mod find;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use ids::{ExecutionName, PartitionId};
use journal::store::BlockRange;
use journal::{Block, BlockId, Store, StoreError};

use super::{Exit, Refusal, show};
use crate::config::{Options, RedisFlags};
use crate::store;

const MANUAL: &str = "\
WHAT IS READ
  The store itself, beside the nodes: nothing is written, and no node is asked or disturbed. A file
  store belongs to its node while that runs: stop the node, or ask it (scheduler-stub history). Its
  keys are copied to the temporary directory (TMPDIR) and read there, and no node can start in it
  meanwhile. An archive is not read: scheduler-stub describe and list ask it.
  An execution that is open, or that ended a moment ago, has no pointer yet: its partition's log is
  then read from the newest block back, which may take a while; progress goes to standard error.

PAYLOADS
  Inputs, outputs and outcomes may hold secrets and personal data: only their lengths are shown,
  unless --payloads is said.

EXIT CODES
  0  shown    1  not there    2  the command line is wrong    3  the store failed

EXAMPLES
  executor inspect partitions --redis-url redis://127.0.0.1:6379
  executor inspect blocks 7 --limit 20 --redis-url rediss://user@redis:6379 --redis-ca ca.pem \\
      --redis-password-file /run/secrets/redis
  executor inspect block 7 3-1042 --store-dir /var/lib/myriad
  executor inspect execution arn:aws:states:us-east-1:000000000000:execution:orders:monday
  executor inspect execution ID --payloads --format json | jq .journal";

/// The options of `executor inspect`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct InspectOptions {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Place,
    /// Show it as text or as JSON, one object a line
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Each partition: its owner's generation, the end of its log, when its oldest and newest blocks were written
    Partitions,
    /// The newest blocks of a partition: what each opened, journalled and closed
    Blocks {
        /// Partition number
        partition: u16,
        /// Not above this block, GENERATION-SEQUENCE [default: the newest]
        #[arg(long, value_name = "BLOCK", value_parser = block_id)]
        until: Option<BlockId>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Every record of one block
    Block {
        /// Partition number
        partition: u16,
        /// GENERATION-SEQUENCE
        #[arg(value_parser = block_id)]
        block: BlockId,
        /// Also show inputs, outputs and outcomes
        #[arg(long)]
        payloads: bool,
    },
    /// One execution: its start, its journal, its end, and the blocks that hold them
    Execution {
        /// Id, ARN or QRN
        execution: String,
        /// Also show inputs, outputs and outcomes
        #[arg(long)]
        payloads: bool,
    },
}

/// Which store.
#[derive(Debug, Args)]
struct Place {
    /// TOML file with the settings of a node; its store is read
    #[arg(long, value_name = "FILE", env = "MYRIAD_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Directory of a file store whose node is stopped
    #[arg(long, value_name = "DIR", env = "MYRIAD_STORE_DIR", global = true)]
    store_dir: Option<PathBuf>,
    #[command(flatten)]
    redis: RedisFlags,
    /// Partitions of the cluster [default: as its record in the store says]
    #[arg(long, value_name = "N", env = "MYRIAD_PARTITIONS", global = true)]
    partitions: Option<u16>,
}

/// `GENERATION-SEQUENCE`.
fn block_id(text: &str) -> Result<BlockId, String> {
    let parts = text.split_once('-').and_then(|(generation, sequence)| {
        Some(BlockId { generation: generation.parse().ok()?, sequence: sequence.parse().ok()? })
    });
    parts.ok_or_else(|| format!("{text:?} is no block: write GENERATION-SEQUENCE, for example 3-1042"))
}

/// Shows what was asked for.
pub(super) fn run(options: &InspectOptions) -> Exit {
    show(inspect(options))
}

fn inspect(options: &InspectOptions) -> Result<(String, Exit), Refusal> {
    let wrong = |message: String| (Exit::Usage, format!("error: {message}"));
    let place = &options.place;
    let settings = Options {
        store_dir: place.store_dir.clone(),
        redis: place.redis.clone(),
        partitions: place.partitions,
        ..Options::default()
    };
    let (config, _) = settings.resolve(place.config.as_deref()).map_err(|error| wrong(error.to_string()))?;
    if config.store == crate::config::StoreConfig::Memory {
        return Err(wrong("which store? say --redis-url URL, --store-dir DIR, or --config FILE".to_owned()));
    }
    if let What::Execution { execution, .. } = &options.what {
        ExecutionName::parse(execution).map_err(|error| wrong(error.to_string()))?;
    }
    let failed = |message: String| (Exit::Internal, format!("error: {}: {message}", config.store.describe()));
    let unread = |error: StoreError| failed(words(error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let connect = store::open_to_read(&config.store).map_err(unread)?;
    runtime.block_on(async {
        let store = connect.connect().await.map_err(unread)?;
        let record = journal::cluster::read(&*store).await.map_err(unread)?;
        let partitions = place.partitions.or(record.map(|record| record.partitions));
        let partitions = partitions.unwrap_or(config.partitions);
        if let What::Blocks { partition, .. } | What::Block { partition, .. } = &options.what
            && *partition >= partitions
        {
            let last = partitions.saturating_sub(1);
            return Err(wrong(format!("partition {partition} is not one of this cluster's, 0 to {last}")));
        }
        let shown = answer(options, store, partitions).await;
        match shown.map_err(unread)? {
            Some(shown) => Ok((shown, Exit::Ok)),
            None => Err((Exit::Finding, not_there(&options.what))),
        }
    })
}

/// A store's words, of somebody who only reads.
fn words(error: StoreError) -> String {
    match error {
        StoreError::Unavailable(why) => format!("the store cannot be read now: {why}"),
        other => other.to_string(),
    }
}

fn not_there(what: &What) -> String {
    match what {
        What::Partitions => {
            "no partition has ever had an owner: the store is empty, or has another prefix".to_owned()
        }
        What::Blocks { partition, .. } => format!("partition {partition} has no such blocks"),
        What::Block { partition, block, .. } => {
            format!("partition {partition} does not hold block {block}: it was trimmed, or never written")
        }
        What::Execution { execution, .. } => format!(
            "{execution} is not in the store: it ended longer ago than the retention (where the nodes have an --archive, \
             `scheduler-stub describe` finds it there), never was, or is of a cluster with another number of partitions \
             (--partitions)"
        ),
    }
}

/// The answer as text or JSON; nothing where there is nothing.
async fn answer(
    options: &InspectOptions,
    store: Arc<dyn Store>,
    partitions: u16,
) -> Result<Option<String>, StoreError> {
    let json = matches!(options.format, Format::Json);
    match &options.what {
        What::Partitions => {
            let found = find::partitions(&*store, partitions).await?;
            Ok((!found.is_empty()).then(|| report::partitions(&found, json)))
        }
        What::Blocks { partition, until, limit } => {
            let end = BlockId { generation: u64::MAX, sequence: u64::MAX };
            let range = BlockRange {
                from: BlockId::default(),
                to: until.unwrap_or(end),
                reverse: true,
                limit: (*limit).clamp(1, 10_000),
            };
            let blocks = store.read(partition_id(*partition)?, range).await?;
            let blocks: Vec<Block> =
                blocks.iter().map(|(_, bytes)| Block::parse(bytes)).collect::<Result<_, _>>()?;
            Ok((!blocks.is_empty()).then(|| report::blocks(&blocks, json)))
        }
        What::Block { partition, block, payloads } => {
            let range = BlockRange { from: *block, to: *block, reverse: false, limit: 1 };
            let found = store.read(partition_id(*partition)?, range).await?;
            let Some((_, bytes)) = found.first() else { return Ok(None) };
            report::block(&Block::parse(bytes)?, *payloads, json).map(Some)
        }
        What::Execution { execution, payloads } => {
            let name =
                ExecutionName::parse(execution).map_err(|error| StoreError::Refused(error.to_string()))?;
            let Some(found) = find::execution(&*store, &name, partitions).await? else { return Ok(None) };
            Ok(Some(report::execution(&found, *payloads, json)))
        }
    }
}

fn partition_id(number: u16) -> Result<PartitionId, StoreError> {
    PartitionId::new(u32::from(number)).map_err(|error| StoreError::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_as_generation_and_sequence() {
        assert_eq!(block_id("3-1042"), Ok(BlockId { generation: 3, sequence: 1042 }));
        for wrong in ["", "3", "3-", "-1", "a-b", "3-1-2"] {
            assert!(block_id(wrong).expect_err("no block").contains("GENERATION-SEQUENCE"), "{wrong}");
        }
    }
}
