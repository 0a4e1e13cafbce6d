//! What a flush costs Redis: `cargo run --release -p journal-redis --example flushes [flushes] [pace in µs]
//! [always|everysec|no]`.
//!
//! Starts a Redis of its own (`appendfsync always` unless told otherwise, a real disk), writes blocks of 256 executions
//! that end at once, one after the other with a pace, and prints the time to the acknowledgement and the processor time
//! of Redis for each flush and each execution.

use std::time::{Duration, Instant};

use ids::{BatchId, Mode, PartitionId, Status};
use journal::block::{MachineRef, OpenedView};
use journal::{Append, BlockBuilder, BlockId, Derived, Store};
use journal_redis::{RedisConnect, RedisOptions};
use testkit::{AppendFsync, Redis};

const RECORDS: usize = 256;
const START_MS: u64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let flushes: u64 = arguments.next().map_or(Ok(5_000), |text| text.parse())?;
    let pace = Duration::from_micros(arguments.next().map_or(Ok(1_000), |text| text.parse())?);
    let appendfsync = match arguments.next().as_deref() {
        None | Some("always") => AppendFsync::Always,
        Some("everysec") => AppendFsync::Everysec,
        Some("no") => AppendFsync::No,
        Some(other) => return Err(format!("{other} is not one of always, everysec, no").into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(flushes, pace, appendfsync))
}

async fn run(flushes: u64, pace: Duration, appendfsync: AppendFsync) -> Result<(), AnyError> {
    let redis = Redis::start(testkit::RedisOptions { appendfsync, ..Default::default() })?;
    let pid = redis.pid().ok_or("Redis has no process id")?;
    let store = RedisConnect::new(RedisOptions::new(redis.url()))?.open().await?;
    let partition = PartitionId::new(0)?;
    let generation = store.acquire(partition).await?.generation;
    let mut builder = BlockBuilder::new(partition);
    let mut random = 1_u64;
    let (mut times, mut bytes) = (Vec::new(), 0);
    let (cpu_before, begun) = (processor_ticks(pid)?, Instant::now());
    let mut next = tokio::time::interval(pace.max(Duration::from_micros(1)));
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for sequence in 1..=flushes {
        fill(&mut builder, partition, sequence, &mut random)?;
        let id = BlockId { generation, sequence };
        let block = builder.finish(id, START_MS + sequence);
        bytes += block.len();
        let key = sequence.to_be_bytes().to_vec().into();
        let derived = vec![Derived::Put { key, value: id.to_string().into(), ttl: HOUR }];
        if !pace.is_zero() {
            next.tick().await;
        }
        let sent = Instant::now();
        store.append(Append { partition, id, block, derived, trim_below: None }).await?;
        times.push(sent.elapsed());
    }
    let (cpu, wall) = (processor_ticks(pid)?, begun.elapsed());
    report(flushes, bytes, [cpu[0] - cpu_before[0], cpu[1] - cpu_before[1]], wall, &mut times);
    Ok(())
}

/// 256 executions of about 200 bytes of input with numbers of their own.
fn fill(
    builder: &mut BlockBuilder,
    partition: PartitionId,
    sequence: u64,
    random: &mut u64,
) -> Result<(), AnyError> {
    let machine = builder.machine(&MachineRef {
        arn: "arn:aws:states:local:000000000000:stateMachine:flushes".to_owned(),
        definition: [7; 32],
        mode: Mode::Standard,
        dialect: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    });
    let batch = BatchId::new(partition, 1, sequence)?;
    for index in 0..=u8::MAX {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let input = format!(
            r#"{{"order":"{:016x}","customer":{},"items":[{{"sku":"A-{:05}","quantity":{}}}],"currency":"EUR","channel":"web","note":"please leave the parcel with the neighbour"}}"#,
            random,
            *random >> 44,
            (*random >> 20) % 100_000,
            (*random >> 40) % 9 + 1
        );
        let opened = OpenedView {
            id: batch.execution(index),
            machine,
            start_time_ms: START_MS + sequence,
            seed: *random,
            name: None,
            trace: None,
            input: input.as_bytes(),
        };
        builder.opened_and_closed(opened, Status::Succeeded, START_MS + sequence, input.as_bytes());
    }
    Ok(())
}

/// User and system time of a process, in ticks of 10 ms; see proc(5).
fn processor_ticks(pid: u32) -> Result<[u64; 2], AnyError> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").ok_or("an unknown form of /proc/<pid>/stat")?.1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let field = |index: usize| fields.get(index).ok_or("too few fields in /proc/<pid>/stat");
    Ok([field(11)?.parse()?, field(12)?.parse()?])
}

fn report(flushes: u64, bytes: usize, [user, system]: [u64; 2], wall: Duration, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() - 1) as f64 * share) as usize;
        times.get(place).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    let executions = flushes as f64 * RECORDS as f64;
    let cpu_us = (user + system) as f64 * 10_000.0;
    let share = user as f64 / (user + system).max(1) as f64 * 100.0;
    println!("{flushes} flushes of {RECORDS} executions in {:.1} s", wall.as_secs_f64());
    println!("  executions a second      {:>10.0}", executions / wall.as_secs_f64());
    println!("  bytes per execution      {:>10.1}", bytes as f64 / executions);
    println!("  append p50 / p99 / p99.9 {:>10.2} / {:.2} / {:.2} ms", at(0.5), at(0.99), at(0.999));
    println!("  Redis CPU per flush      {:>10.1} µs, {share:.0} % in user mode", cpu_us / flushes as f64);
    println!("  Redis CPU per execution  {:>10.3} µs", cpu_us / executions);
}
