//! The index against a model: every flush order, look-up, listing, recovery.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, Mode, PartitionId, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::block::{Block, BlockBuilder, Closed, Journalled, JournalledKind, MachineRef, Opened};
use crate::memory::MemoryStore;
use crate::store::{Append, BlockId, BlockRange, Derived, Store, StoreError};

const RETENTION: Duration = Duration::from_secs(3_600);
const NOW_MS: u64 = 1_700_000_000_000;
const STATUSES: [Status; 3] = [Status::Succeeded, Status::Failed, Status::Aborted];

fn partition() -> PartitionId {
    PartitionId::new(5).expect("in range")
}

fn batch(sequence: u64) -> BatchId {
    BatchId::new(partition(), 2, sequence).expect("in range")
}

fn machine(number: u32) -> MachineRef {
    let arn = format!("arn:aws:states:r:a:stateMachine:m{number}");
    MachineRef {
        arn,
        definition: [number as u8; 32],
        mode: Mode::Express,
        dialect: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    }
}

/// What the model knows of an execution.
#[derive(Debug, Clone)]
struct Modelled {
    machine: u32,
    start_ms: u64,
    opened_in: BlockId,
    end: Option<(Status, u64, BlockId)>,
}

/// A partition with its owner.
struct Owner {
    store: MemoryStore,
    writer: IndexWriter,
    builder: BlockBuilder,
    sequence: u64,
    model: BTreeMap<ExecutionId, Modelled>,
}

impl Owner {
    async fn new() -> Self {
        let store = MemoryStore::new();
        store.acquire(partition()).await.expect("acquired");
        let mut writer = IndexWriter::new(partition(), RETENTION);
        writer.load(&store, NOW_MS, NOW_MS).await.expect("loaded");
        Self { store, writer, builder: BlockBuilder::new(partition()), sequence: 0, model: BTreeMap::new() }
    }

    fn next_block(&self) -> BlockId {
        BlockId { generation: 1, sequence: self.sequence + 1 }
    }

    fn opened(&mut self, id: ExecutionId, number: u32, start_ms: u64) -> Opened {
        let opened_in = self.next_block();
        self.model.insert(id, Modelled { machine: number, start_ms, opened_in, end: None });
        let machine = self.builder.machine(&machine(number));
        let name = id.index.is_multiple_of(5).then(|| format!("name {}", id.index));
        let input = Bytes::from(format!("{{\"input\": \"{id}\"}}"));
        Opened { id, machine, start_time_ms: start_ms, seed: 1, name, input, trace: None }
    }

    fn open(&mut self, id: ExecutionId, machine: u32, start_ms: u64) {
        let opened = self.opened(id, machine, start_ms);
        self.builder.opened(&opened);
    }

    fn open_and_close(&mut self, id: ExecutionId, machine: u32, start_ms: u64, status: Status) {
        let opened = self.opened(id, machine, start_ms);
        self.builder.opened_and_closed(&opened, status, start_ms + 1, b"{}");
        let block = self.next_block();
        self.model.get_mut(&id).expect("opened").end = Some((status, start_ms + 1, block));
    }

    fn close(&mut self, id: ExecutionId, status: Status) {
        let block = self.next_block();
        let modelled = self.model.get_mut(&id).expect("opened before");
        let stop_time_ms = modelled.start_ms + 7;
        modelled.end = Some((status, stop_time_ms, block));
        let blocks = if modelled.opened_in == block { vec![] } else { vec![modelled.opened_in] };
        let payload = Bytes::from(format!("{{\"output\": \"{id}\"}}"));
        self.builder.closed(&Closed { id, status, stop_time_ms, payload, blocks });
    }

    async fn flush(&mut self) -> BlockId {
        self.flush_beside(Vec::new()).await
    }

    async fn flush_beside(&mut self, mut derived: Vec<Derived>) -> BlockId {
        let id = self.next_block();
        self.sequence += 1;
        self.writer.flush(&self.builder, id, NOW_MS, &mut derived);
        let block = self.builder.finish(id, NOW_MS);
        let append = Append { partition: partition(), id, block, derived, trim_below: None };
        self.store.append(append).await.expect("appended");
        self.writer.confirmed(id);
        id
    }

    async fn find(&self, id: ExecutionId) -> Option<Execution> {
        match self.writer.find(id) {
            Some(located) => lookup_at(&self.store, id, located).await.expect("readable"),
            None => lookup(&self.store, id).await.expect("readable"),
        }
    }

    async fn page(&self, arn: &str, status: Option<Status>, after: Option<Cursor>, limit: usize) -> Page {
        let request = PageRequest {
            partitions: &[partition()],
            machine_arn: arn,
            status,
            after,
            limit,
            oldest_ms: NOW_MS - 3_600_000,
            now_ms: NOW_MS,
            blocks_max: 3,
        };
        list(&self.store, &request, |id| self.writer.find(id)).await.expect("a page")
    }

    /// All pages; every page brings the listing on.
    async fn all_pages(&self, arn: &str, status: Option<Status>, limit: usize) -> Vec<Listed> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(arn, status, after, limit).await;
            assert!(page.executions.len() <= limit);
            all.extend(page.executions);
            let Some(next) = page.next else { return all };
            assert!(after.is_none_or(|after| next < after), "a page brings the listing on");
            after = Some(next);
        }
    }

    async fn agrees_with_the_model(&self) {
        for (id, modelled) in &self.model {
            let found = self.find(*id).await.expect("every execution is found");
            assert_eq!((found.opened.id, &found.machine), (*id, &machine(modelled.machine)));
            assert_eq!(found.opened.start_time_ms, modelled.start_ms);
            let end = found.closed.map(|closed| (closed.status, closed.stop_time_ms));
            assert_eq!(end, modelled.end.map(|(status, stop, _)| (status, stop)), "{id}");
        }
        for number in 0..3 {
            for status in [None, Some(Status::Running), Some(Status::Failed)] {
                let listed = self.all_pages(&machine(number).arn, status, 4).await;
                let listed: Vec<_> =
                    listed.into_iter().map(|one| (one.start_time_ms, one.id, one.status)).collect();
                let mut expected: Vec<_> = self
                    .model
                    .iter()
                    .filter(|(_, modelled)| modelled.machine == number)
                    .map(|(id, modelled)| {
                        (modelled.start_ms, *id, modelled.end.map_or(Status::Running, |end| end.0))
                    })
                    .filter(|(_, _, other)| status.is_none_or(|status| status == *other))
                    .collect();
                expected.sort_unstable_by(|one, other| other.cmp(one));
                assert_eq!(listed, expected, "machine {number}, {status:?}");
            }
        }
    }

    /// Forgets everything that is not in the store, and begins anew.
    async fn recover(&mut self) {
        let mut writer = IndexWriter::new(partition(), RETENTION);
        writer.load(&self.store, NOW_MS, NOW_MS).await.expect("loaded");
        let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
        let range = BlockRange { from: BlockId::default(), to, reverse: false, limit: 10_000 };
        let blocks = self.store.read(partition(), range).await.expect("readable");
        let mut derived = Vec::new();
        for (_, bytes) in &blocks {
            let block = Block::parse(bytes).expect("a block");
            writer.recovered(&block);
            writer.summarise_again(&block, NOW_MS, &mut derived).expect("readable");
        }
        derived.extend(writer.settle(BlockId::default()));
        self.writer = writer;
        self.sequence += 1;
        let id = BlockId { generation: 1, sequence: self.sequence };
        let block = BlockBuilder::new(partition()).finish(id, NOW_MS);
        let append = Append { partition: partition(), id, block, derived, trim_below: None };
        self.store.append(append).await.expect("appended");
    }
}

/// A batch as a test wants it: for each execution its machine, its delay of start, and in which flush it ends
/// (0: the same; 4 and above: never).
type Plan = Vec<(u32, u64, usize)>;

async fn run(plans: &[Plan], recover_after: usize) -> Owner {
    let mut owner = Owner::new().await;
    let mut later: HashMap<usize, Vec<ExecutionId>> = HashMap::new();
    for (number, plan) in plans.iter().enumerate() {
        let batch = batch(number as u64);
        owner.writer.expect(batch, plan.len() as u16);
        for (index, (machine, delay, ends)) in plan.iter().enumerate() {
            let id = batch.execution(index as u8);
            let start_ms = NOW_MS + number as u64 * 4_000 - delay;
            match ends {
                0 => owner.open_and_close(id, *machine, start_ms, STATUSES[index % 3]),
                _ => owner.open(id, *machine, start_ms),
            }
            if (1..4).contains(ends) {
                later.entry(number + ends).or_default().push(id);
            }
        }
        for id in later.remove(&number).unwrap_or_default() {
            owner.close(id, STATUSES[usize::from(id.index) % 3]);
        }
        owner.flush().await;
        if number == recover_after {
            owner.recover().await;
        }
    }
    owner
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_execution_is_found_and_listed_in_order_also_after_a_recovery(
        plans in vec(vec((0..3u32, 0..30_000u64, 0..6usize), 1..20), 1..9),
        recover_after in 0..12usize,
    ) {
        runtime().block_on(async {
            let owner = run(&plans, recover_after).await;
            owner.agrees_with_the_model().await;
        });
    }
}

#[tokio::test]
async fn a_complete_batch_is_forgotten_by_its_owner_and_found_by_its_pointer() {
    let plans = [vec![(0, 0, 0); 200], vec![(0, 0, 1); 256], vec![(1, 0, 0); 3]];
    let owner = run(&plans, usize::MAX).await;
    assert!(owner.writer.is_empty());
    owner.agrees_with_the_model().await;
}

#[tokio::test]
async fn a_batch_is_tracked_until_its_last_execution_has_ended() {
    let plans = [vec![(0, 0, 0)], vec![(0, 0, 0), (0, 0, 9)], vec![(0, 0, 2)], vec![(0, 0, 0)]];
    let mut owner = run(&plans, usize::MAX).await;
    assert_eq!(owner.writer.len(), 2);
    owner.close(batch(1).execution(1), Status::Succeeded);
    owner.close(batch(2).execution(0), Status::Succeeded);
    let before = owner.writer.find(batch(1).execution(1)).expect("tracked");
    assert_eq!(before.closed, None);
    owner.flush().await;
    assert!(owner.writer.is_empty());
}

#[tokio::test]
async fn of_lost_blocks_nothing_is_waited_for_but_what_is_opened_again() {
    let mut owner = Owner::new().await;
    owner.writer.expect(batch(0), 2);
    owner.open(batch(0).execution(0), 0, NOW_MS);
    owner.open_and_close(batch(0).execution(1), 0, NOW_MS, Status::Succeeded);
    owner.writer.expect(batch(1), 1);
    owner.open(batch(1).execution(0), 0, NOW_MS);
    let lost = owner.flush().await;
    owner.close(batch(1).execution(0), Status::Succeeded);
    let mut derived = Vec::new();
    owner.writer.lost(BlockId { sequence: 0, ..lost }, lost, &mut derived);
    assert!(derived.is_empty(), "{derived:?}");
    let located = owner.writer.find(batch(0).execution(0)).expect("tracked");
    assert_eq!(located, Located { opened: None, closed: None }, "not in the block that is gone");
    owner.open(batch(0).execution(0), 0, NOW_MS);
    owner.flush().await;
    owner.close(batch(0).execution(0), Status::Succeeded);
    owner.flush().await;
    assert!(owner.writer.is_empty(), "the one that ended in the lost block ends no more");
    assert!(owner.find(batch(0).execution(0)).await.is_some_and(|found| found.closed.is_some()));
}

#[tokio::test]
async fn until_an_append_is_confirmed_its_owner_answers() {
    let mut owner = Owner::new().await;
    owner.writer.expect(batch(0), 1);
    owner.open_and_close(batch(0).execution(0), 0, NOW_MS, Status::Succeeded);
    let id = owner.next_block();
    let mut derived = Vec::new();
    owner.writer.flush(&owner.builder, id, NOW_MS, &mut derived);
    let located = owner.writer.find(batch(0).execution(0)).expect("not confirmed yet");
    assert_eq!(located, Located { opened: Some(id), closed: Some(id) });
    owner.writer.confirmed(id);
    assert!(owner.writer.is_empty());
}

#[tokio::test]
async fn outcomes_are_read_from_the_blocks_that_the_end_names() {
    let mut owner = Owner::new().await;
    let id = batch(0).execution(0);
    owner.writer.expect(batch(0), 1);
    owner.open(id, 0, NOW_MS);
    let mut blocks = vec![owner.flush().await];
    for sequence in 0..3 {
        let kind = JournalledKind::TaskSucceeded;
        let payload = Bytes::from(format!("{sequence}"));
        owner.builder.journalled(&Journalled { id, time_ms: NOW_MS, sequence, effect: 1, kind, payload });
        blocks.push(owner.flush().await);
    }
    let closed =
        Closed { id, status: Status::Succeeded, stop_time_ms: NOW_MS, payload: Bytes::new(), blocks };
    owner.builder.closed(&closed);
    owner.flush().await;
    let found = lookup_with_journal(&owner.store, id, None).await.expect("readable").expect("there");
    let sequences: Vec<_> = found.journalled.iter().map(|outcome| outcome.sequence).collect();
    assert_eq!(sequences, [0, 1, 2]);
    assert_eq!(found.closed, Some(closed));
}

#[tokio::test]
async fn what_nobody_knows_is_not_found() {
    let owner = run(&[vec![(0, 0, 0)]], usize::MAX).await;
    assert_eq!(owner.find(batch(77).execution(0)).await, None);
    assert_eq!(owner.find(batch(0).execution(9)).await, None);
    assert_eq!(owner.page("arn:aws:states:r:a:stateMachine:other", None, None, 9).await, Page::default());
}

#[tokio::test]
async fn a_name_leads_to_its_execution() {
    let owner = Owner::new().await;
    let id = batch(3).execution(7);
    let derived = vec![name_entry(&machine(0).arn, "monday", id, RETENTION)];
    let block = BlockBuilder::new(partition()).finish(owner.next_block(), NOW_MS);
    let append = Append { partition: partition(), id: owner.next_block(), block, derived, trim_below: None };
    owner.store.append(append).await.expect("appended");
    let look_up = |arn: String, name| {
        let store = &owner.store;
        async move { lookup_name(store, partition(), &arn, name).await.expect("readable") }
    };
    assert_eq!(look_up(machine(0).arn, "monday").await, Some(id));
    assert_eq!(look_up(machine(1).arn, "monday").await, None);
    assert_eq!(look_up(machine(0).arn, "tuesday").await, None);
}

#[tokio::test]
async fn a_definition_is_kept_under_its_own_hash_alone() {
    let store = MemoryStore::new();
    let definition = Bytes::from_static(b"{}");
    let hash = Sha256::digest(&definition).into();
    put_definition(&store, &hash, definition.clone()).await.expect("put");
    put_definition(&store, &hash, definition.clone()).await.expect("put again");
    assert_eq!(get_definition(&store, &hash).await.expect("read"), Some(definition.clone()));
    assert_eq!(get_definition(&store, &[0; 32]).await.expect("read"), None);
    let wrong = put_definition(&store, &[0; 32], definition).await;
    assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
    let key = [b"d/".as_slice(), &hash].concat();
    store.put(key.into(), "changed".into()).await.expect("put");
    assert!(matches!(get_definition(&store, &hash).await, Err(StoreError::Corrupt(_))));
}

/// Hours of a machine whose executions are open for long, with the store's time standing still in between.
struct Stragglers {
    owner: Owner,
    now_ms: u64,
}

impl Stragglers {
    /// Lets both clocks go on.
    async fn pass(&mut self, time: Duration) {
        tokio::time::advance(time).await;
        self.now_ms += time.as_millis() as u64;
    }

    async fn flush(&mut self, mut derived: Vec<Derived>) {
        let id = self.owner.next_block();
        self.owner.sequence += 1;
        self.owner.writer.flush(&self.owner.builder, id, self.now_ms, &mut derived);
        let block = self.owner.builder.finish(id, self.now_ms);
        let append = Append { partition: partition(), id, block, derived, trim_below: None };
        self.owner.store.append(append).await.expect("appended");
        self.owner.writer.confirmed(id);
    }

    async fn open(&mut self, sequence: u64) -> ExecutionId {
        let id = batch(sequence).execution(0);
        self.owner.writer.expect(batch(sequence), 1);
        self.owner.open(id, 0, self.now_ms);
        self.flush(Vec::new()).await;
        id
    }

    async fn close(&mut self, id: ExecutionId) {
        let opened = self.owner.model[&id].clone();
        let mut derived = Vec::new();
        let arn = machine(0).arn;
        self.owner.writer.straggler(&arn, opened.start_ms, opened.opened_in, self.now_ms, &mut derived);
        self.owner.close(id, Status::Succeeded);
        self.flush(derived).await;
    }

    async fn listed(&self) -> Vec<ExecutionId> {
        self.listed_as(Some(Status::Succeeded)).await
    }

    async fn listed_as(&self, status: Option<Status>) -> Vec<ExecutionId> {
        let request = PageRequest {
            partitions: &[partition()],
            machine_arn: &machine(0).arn,
            status,
            after: None,
            limit: 100,
            oldest_ms: NOW_MS,
            now_ms: self.now_ms,
            blocks_max: 1_000,
        };
        let page = list(&self.owner.store, &request, |id| self.owner.writer.find(id)).await.expect("a page");
        page.executions.into_iter().map(|listed| listed.id).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn stragglers_of_one_hour_that_close_after_days_are_all_listed_for_a_retention_and_found_by_id() {
    let mut log = Stragglers { owner: Owner::new().await, now_ms: NOW_MS };
    let mut ids = Vec::new();
    for sequence in 0..4 {
        ids.push(log.open(sequence).await);
        log.pass(Duration::from_secs(30)).await;
    }
    // Busy or idle in between: with other hours after it, an hour is among the old ones; without, it is the last.
    for busy in [false, true] {
        for hour in 0..48 {
            log.pass(Duration::from_secs(3_600)).await;
            if busy {
                let other = batch(1_000 + hour).execution(0);
                log.owner.writer.expect(other.batch, 1);
                log.owner.open_and_close(other, 1, log.now_ms, Status::Succeeded);
                log.flush(Vec::new()).await;
            }
        }
        assert_eq!(log.listed().await, []);
        let (newer, older) = (ids.pop().expect("open"), ids.pop().expect("open"));
        for id in [older, newer] {
            log.close(id).await;
            log.pass(Duration::from_secs(600)).await;
        }
        for minutes in [0, 30] {
            log.pass(Duration::from_secs(60 * minutes)).await;
            assert_eq!(log.listed().await, [newer, older], "busy: {busy}");
            for id in [newer, older] {
                assert_eq!(
                    log.owner.find(id).await.and_then(|found| found.closed).map(|end| end.id),
                    Some(id)
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_longer_ago_than_the_retention_is_listed_no_more_and_least_of_all_as_running() {
    let mut log = Stragglers { owner: Owner::new().await, now_ms: NOW_MS };
    let (short, long) = (log.open(0).await, log.open(1).await);
    log.close(short).await;
    assert_eq!(log.listed().await, [short]);
    log.pass(RETENTION + Duration::from_secs(1)).await;
    assert_eq!(log.owner.find(short).await, None, "its pointer is gone, and its summary is not");
    assert_eq!(log.listed_as(None).await, [long]);
    assert_eq!(log.listed_as(Some(Status::Running)).await, [long]);
    assert_eq!(log.listed().await, []);
}

#[tokio::test(start_paused = true)]
async fn where_the_log_has_lost_the_block_of_an_end_nothing_is_said_to_run() {
    let mut log = Stragglers { owner: Owner::new().await, now_ms: NOW_MS };
    let id = log.open(0).await;
    log.close(id).await;
    let opened_in = log.owner.model[&id].opened_in;
    let back = log.owner.store.truncated(partition(), opened_in);
    let request = PageRequest {
        partitions: &[partition()],
        machine_arn: &machine(0).arn,
        status: None,
        after: None,
        limit: 9,
        oldest_ms: NOW_MS,
        now_ms: log.now_ms,
        blocks_max: 9,
    };
    let page = list(&back, &request, |_| None).await.expect("a page");
    assert_eq!(page, Page::default());
}

#[tokio::test(start_paused = true)]
async fn an_hour_that_an_earlier_owner_wrote_is_added_to_and_not_begun_anew() {
    let mut log = Stragglers { owner: Owner::new().await, now_ms: NOW_MS };
    let first = log.open(0).await;
    log.pass(Duration::from_secs(30)).await;
    let second = log.open(1).await;
    log.pass(Duration::from_secs(48 * 3_600)).await;
    log.close(first).await;
    let mut writer = IndexWriter::new(partition(), RETENTION);
    writer.load(&log.owner.store, NOW_MS, log.now_ms).await.expect("loaded");
    log.owner.writer = writer;
    log.pass(Duration::from_secs(60)).await;
    log.owner.writer.expect(second.batch, 1);
    log.close(second).await;
    let listed = log.listed().await;
    assert!(listed.contains(&first), "what the first owner had listed stays listed: {listed:?}");
}

#[tokio::test]
async fn what_is_opened_again_is_found_and_listed_where_it_stands_now_and_its_batch_as_before() {
    // Two of three ended in the block that opened them; the batch's pointer is written.
    let plans = [vec![(0, 0, 0), (0, 0, 0), (0, 0, 1)], vec![(0, 0, 0)]];
    let mut owner = run(&plans, usize::MAX).await;
    assert!(owner.writer.is_empty());
    for (round, how) in [(0, Status::Failed), (1, Status::Succeeded)] {
        for index in [1, 2] {
            let id = batch(0).execution(index);
            let known = owner.model[&id].clone();
            let pointer = get_pointers(&owner.store, partition(), &[id.batch]).await.expect("read");
            let opened = owner.opened(id, known.machine, known.start_ms);
            owner.writer.reopen(id, pointer[0].as_ref());
            owner.builder.reopened(&opened);
            let mut derived = Vec::new();
            let block = owner.next_block();
            let arn = machine(known.machine).arn;
            owner.writer.straggler(&arn, known.start_ms, block, NOW_MS, &mut derived);
            owner.flush_beside(derived).await;
            assert_eq!(owner.writer.find(id), Some(Located { opened: Some(block), closed: None }));
            owner.agrees_with_the_model().await;
        }
        for index in [2, 1] {
            owner.close(batch(0).execution(index), how);
            owner.flush().await;
            owner.agrees_with_the_model().await;
        }
        assert!(owner.writer.is_empty(), "round {round}");
    }
}

#[tokio::test]
async fn a_new_owner_learns_from_the_log_what_was_opened_again() {
    let mut owner = run(&[vec![(0, 0, 0), (0, 0, 0)]], usize::MAX).await;
    let id = batch(0).execution(1);
    let known = owner.model[&id].clone();
    let opened = owner.opened(id, known.machine, known.start_ms);
    owner.builder.reopened(&opened);
    owner.writer.reopen(id, None);
    let (mut derived, block) = (Vec::new(), owner.next_block());
    owner.writer.straggler(&machine(known.machine).arn, known.start_ms, block, NOW_MS, &mut derived);
    let reopened_in = owner.flush_beside(derived).await;
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let range = BlockRange { from: BlockId::default(), to, reverse: false, limit: 100 };
    let mut writer = IndexWriter::new(partition(), RETENTION);
    for (_, bytes) in owner.store.read(partition(), range).await.expect("readable") {
        writer.recovered(&Block::parse(&bytes).expect("a block"));
    }
    writer.settle(BlockId::default());
    assert_eq!(writer.find(id), Some(Located { opened: Some(reopened_in), closed: None }));
    let mate = writer.find(batch(0).execution(0)).expect("tracked");
    assert!(mate.closed.is_some());
    owner.writer = writer;
    owner.close(id, Status::Succeeded);
    owner.flush().await;
    assert!(owner.writer.is_empty());
    owner.agrees_with_the_model().await;
}
