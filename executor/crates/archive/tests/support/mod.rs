//! Segments of made-up executions, and what must be found of them.

pub mod peer;

use std::time::Duration;

use archive::{Archive, Segment, SegmentBuilder, View};
use bytes::Bytes;
use ids::{BatchId, ExecutionId, MachineName, Mode, PartitionId, Status};
use journal::block::{BlockBuilder, MachineRef, Opened};
use journal::index::{self, PageRequest};
use journal::{BlockId, StoreError};

pub const START_MS: u64 = 1_700_000_000_000;
pub const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";
/// How long these executions are kept.
pub const KEEP: Duration = Duration::from_secs(3_600);

pub fn partition() -> PartitionId {
    PartitionId::new(5).expect("in range")
}

pub fn execution(sequence: u64, index: u8) -> ExecutionId {
    BatchId::new(partition(), 1, sequence).expect("in range").execution(index)
}

/// A segment of some blocks, each of one batch of four named executions; they start a second apart.
pub fn segment(blocks: std::ops::Range<u64>, keep: Duration) -> Segment {
    let mut segment = SegmentBuilder::new(partition(), keep);
    for sequence in blocks {
        segment.push(&block(sequence)).expect("a good block");
    }
    segment.finish().expect("something is in it")
}

fn block(sequence: u64) -> Bytes {
    let mut builder = BlockBuilder::new(partition());
    let machine = MachineRef {
        arn: MACHINE.to_owned(),
        definition: [1; 32],
        mode: Mode::Standard,
        dialect: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    };
    let machine = builder.machine(&machine);
    let start_time_ms = START_MS + sequence * 1_000;
    for index in 0..4 {
        let (id, name) = (execution(sequence, index), Some(format!("n{sequence}-{index}")));
        let input = Bytes::from(format!("{sequence}"));
        let opened = Opened { id, machine, start_time_ms, seed: 0, name, input, trace: None };
        builder.opened_and_closed(&opened, Status::Succeeded, start_time_ms + 5, b"\"done\"");
    }
    builder.finish(BlockId { generation: 2, sequence }, start_time_ms + 10)
}

/// The execution by its id: its input, its output.
pub async fn found(view: &View, id: ExecutionId) -> Option<(Bytes, Bytes)> {
    let found = index::lookup(view, id).await.expect("the archive answers")?;
    Some((found.opened.input, found.closed.expect("it has ended").payload))
}

pub async fn by_name(view: &View, name: &str) -> Option<ExecutionId> {
    let machine = MachineName::parse(MACHINE).expect("a machine");
    index::lookup_name(view, partition(), machine.execution_segment(), name).await.expect("it answers")
}

/// All executions of the machine, page by page, as batch and index, newest first.
pub async fn listed(view: &View) -> Result<Vec<(u64, u8)>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let request = PageRequest {
            partitions: &[partition()],
            machine_arn: MACHINE,
            status: None,
            after,
            limit: 7,
            oldest_ms: START_MS,
            now_ms: START_MS + 60_000,
            blocks_max: 1_000,
        };
        let page = index::list(view, &request, |_| None).await?;
        all.extend(page.executions.iter().map(|one| (one.id.batch.sequence(), one.id.index)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Everything that an archive has to do, in a place that is empty.
pub async fn serves(archive: std::sync::Arc<Archive>) {
    let now_ms = START_MS + 60_000;
    assert_eq!(found(&archive.view(now_ms), execution(1, 0)).await, None, "nothing is there yet");
    for blocks in [1..4, 4..9, 9..12] {
        put(&archive, segment(blocks, KEEP)).await;
    }
    // Another owner that has not heard of it writes some of it again, in another cut.
    put(&archive, segment(4..9, KEEP)).await;
    put(&archive, segment(2..6, KEEP)).await;
    // It could not read all of it: what is there stays as it is.
    put(&archive, Segment { name: segment(4..9, KEEP).name, ..segment(4..5, KEEP) }).await;
    let view = archive.view(now_ms);
    for sequence in 1..12 {
        let expected = (Bytes::from(sequence.to_string()), Bytes::from_static(b"\"done\""));
        assert_eq!(found(&view, execution(sequence, 3)).await, Some(expected), "{sequence}");
        assert_eq!(by_name(&view, &format!("n{sequence}-2")).await, Some(execution(sequence, 2)));
    }
    assert_eq!(found(&view, execution(12, 0)).await, None);
    assert_eq!(by_name(&view, "n12-0").await, None);
    let all = listed(&view.of_machine(MACHINE)).await.expect("a listing");
    assert_eq!(all, listed(&view).await.expect("a listing"));
    assert_eq!(
        listed(&view.of_machine("another")).await.expect("a listing"),
        [],
        "its segments are passed over"
    );
    let expected: Vec<(u64, u8)> =
        (1..12).rev().flat_map(|one| (0..4).rev().map(move |at| (one, at))).collect();
    assert_eq!(all, expected, "newest first, each once");
    // What is past its time is shown no more, and deleted.
    let past = START_MS + 6_000 + KEEP.as_millis() as u64;
    assert_eq!(found(&archive.view(past), execution(2, 0)).await, None);
    let shared = std::sync::Arc::clone(&archive);
    let expired = archive.run(async move { shared.expire(partition(), past, 10).await }).await;
    assert_eq!(expired.expect("its thread lives").expect("it is cleared"), 2);
    let shared = std::sync::Arc::clone(&archive);
    let left = archive.run(async move { shared.segments(partition()).await }).await;
    let left = left.expect("its thread lives").expect("it is listed");
    let lasts: Vec<u64> = left.iter().map(|name| name.last.sequence).collect();
    assert_eq!(lasts, [11, 8], "the newest first");
}

async fn put(archive: &std::sync::Arc<Archive>, segment: Segment) {
    let shared = std::sync::Arc::clone(archive);
    let put = archive.run(async move { shared.put(&segment).await }).await;
    put.expect("its thread lives").expect("it is written");
}
