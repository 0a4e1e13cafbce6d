//! Prints what blocks and the file store cost on this machine:
//! `cargo run --profile fast -p journal --example figures -- [DIR]`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ids::{BatchId, ExecutionId, Mode, PartitionId, Status};
use journal::block::{ClosedView, MachineRef, OpenedView, seed_for};
use journal::index::IndexWriter;
use journal::{Append, Block, BlockBuilder, BlockId, Connect, FileOptions, FileStore, Store};

const BATCH: u64 = 256;
const ROUNDS: u64 = 4_000;

/// Nanoseconds that this thread has been on a CPU; what else runs on the machine does not count.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

fn input(number: u64, noise: bool) -> Bytes {
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = format!(
        "{{\"orderId\":\"o-{number:010}\",\"customer\":{{\"id\":{},\"tier\":\"gold\"}},\"amount\":{}.{:02},\
         \"currency\":\"EUR\",\"items\":[{{\"sku\":\"sku-{}\",\"quantity\":{}}}],\"note\":\"",
        hash >> 44,
        hash >> 50 & 0xfff,
        hash % 100,
        hash >> 32 & 0xffff,
        hash >> 20 & 7,
    );
    let mut state = hash;
    while text.len() < 198 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let byte = if noise { b'a' + (state >> 59) as u8 % 26 } else { b'.' };
        text.push(char::from(byte));
    }
    text.push_str("\"}");
    text.into()
}

fn main() {
    let dir = std::env::args().nth(1);
    let partition = PartitionId::new(0).expect("0 is in range");
    for noise in [false, true] {
        let inputs: Vec<Bytes> = (0..BATCH * 64).map(|number| input(number, noise)).collect();
        for (what, at_once) in
            [("opened and closed at once", true), ("opened, and closed in a later block", false)]
        {
            encode(partition, &inputs, what, at_once, noise);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(file_store(dir));
}

fn opened(id: ExecutionId, machine: u32, start_time_ms: u64, input: &[u8]) -> OpenedView<'_> {
    OpenedView { id, machine, start_time_ms, seed: seed_for(id, 99), name: None, input, trace: None }
}

fn encode(partition: PartitionId, inputs: &[Bytes], what: &str, at_once: bool, noise: bool) {
    let mut builder = BlockBuilder::new(partition);
    let mut index = IndexWriter::new(partition, Duration::from_secs(3_600));
    let arn = "arn:aws:states:us-east-1:123456789012:stateMachine:orders".to_owned();
    let machine = MachineRef {
        arn,
        definition: [7; 32],
        mode: Mode::Express,
        dialect: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    };
    let (mut bytes, mut index_bytes) = (0, 0);
    let mut last = Bytes::new();
    let begin = cpu_ns();
    for round in 0..ROUNDS {
        let batch = BatchId::new(partition, 1, round).expect("in range");
        let number = builder.machine(&machine);
        let id = BlockId { generation: 1, sequence: round + 1 };
        index.expect(batch, BATCH as u16);
        for place in 0..BATCH {
            let input = &inputs[((round * BATCH + place) % inputs.len() as u64) as usize];
            let execution = batch.execution(place as u8);
            let start_time_ms = 1_700_000_000_000 + round;
            let opened = opened(execution, number, start_time_ms, input);
            if at_once {
                builder.opened_and_closed(opened, Status::Succeeded, start_time_ms, input);
                continue;
            }
            builder.opened(opened);
            if round > 0 {
                let id = BatchId::new(partition, 1, round - 1).expect("in range").execution(place as u8);
                let blocks = [BlockId { generation: 1, sequence: round }];
                let status = Status::Succeeded;
                builder.closed(ClosedView {
                    id,
                    status,
                    stop_time_ms: start_time_ms,
                    payload: input,
                    blocks: &blocks,
                });
            }
        }
        let mut derived = Vec::new();
        index.flush(&builder, id, 1_700_000_000_000 + round, &mut derived);
        index_bytes += derived.iter().map(derived_bytes).sum::<usize>();
        last = builder.finish(id, 1_700_000_000_000);
        index.confirmed(id);
        bytes += last.len();
    }
    let executions = (ROUNDS * BATCH) as f64;
    let encode_ns = (cpu_ns() - begin) / executions;
    let begin = cpu_ns();
    for _ in 0..100 {
        Block::parse(&last).expect("a block").records().expect("records");
    }
    let decode_ns = (cpu_ns() - begin) / (100 * BATCH) as f64;
    println!(
        "{what}, {} 200 B inputs: encode {encode_ns:.0} ns, decode {decode_ns:.0} ns, \
         {:.1} B in blocks and {:.2} B \
         of index an execution",
        if noise { "half-random" } else { "templated" },
        bytes as f64 / executions,
        index_bytes as f64 / executions,
    );
}

fn derived_bytes(derived: &journal::Derived) -> usize {
    match derived {
        journal::Derived::Put { key, value, .. } => key.len() + value.len(),
        journal::Derived::Push { value, .. } => value.len(),
    }
}

async fn file_store(dir: Option<String>) {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = dir.map_or_else(|| scratch.path().to_owned(), Into::into);
    let store = FileStore::open(FileOptions::new(dir)).expect("the store opens");
    let block =
        Bytes::from((0..15_000u32).map(|byte| byte.wrapping_mul(2_654_435_761) as u8).collect::<Vec<_>>());
    for shards in [1, 2, 8] {
        let mut tasks = Vec::new();
        let begin = Instant::now();
        for number in 0..shards {
            let store = store.connect().await.expect("a connection");
            let block = block.clone();
            tasks.push(tokio::spawn(async move { appends(&*store, number, &block).await }));
        }
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.expect("no panic"));
        }
        let elapsed = begin.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        println!(
            "file store, {shards} logs, flushes of 256 in 15 KB: {:.2} M executions/s; \
             p50 {:?}, p99 {:?}, max {:?}",
            latencies.len() as f64 * BATCH as f64 / elapsed / 1e6,
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

async fn appends(store: &dyn Store, number: u32, block: &Bytes) -> Vec<Duration> {
    let partition = PartitionId::new(number).expect("in range");
    let generation = store.acquire(partition).await.expect("acquired").generation;
    let mut latencies = Vec::new();
    for sequence in 1..=2_000 {
        let id = BlockId { generation, sequence };
        let trim_below = sequence.checked_sub(500).map(|sequence| BlockId { generation, sequence });
        let begin = Instant::now();
        let append = Append { partition, id, block: block.clone(), derived: Vec::new(), trim_below };
        store.append(append).await.expect("appended");
        latencies.push(begin.elapsed());
    }
    latencies
}
