//! What the builder writes, the reader reads; and hostile bytes.

use bytes::Bytes;
use ids::{BatchId, ExecutionId, Logging, Mode, PartitionId, Status, TraceContext};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::store::{BlockId, StoreError};

const ID: BlockId = BlockId { generation: 7, sequence: 42 };

fn partition() -> PartitionId {
    PartitionId::new(9).expect("in range")
}

fn machine(number: u8) -> MachineRef {
    MachineRef {
        arn: format!("arn:aws:states:us-east-1:123456789012:stateMachine:orders-{number}"),
        definition: [number; 32],
        mode: if number.is_multiple_of(2) { Mode::Standard } else { Mode::Express },
        dialect: number % 2,
        retention_s: if number >= 3 { u32::from(number) * 86_400 } else { 0 },
        role_arn: if number >= 4 {
            format!("arn:aws:iam::123456789012:role/r{number}")
        } else {
            String::new()
        },
        logging: Logging::from_u8(if number >= 5 { number % 8 } else { 0 }).expect("a level"),
        origin: if number >= 6 { format!("{number}:PROD") } else { String::new() },
    }
}

fn id(sequence: u64, index: u8) -> ExecutionId {
    BatchId::new(partition(), 3, sequence).expect("in range").execution(index)
}

fn any_id() -> impl Strategy<Value = ExecutionId> {
    let near = (0..3u64, any::<u8>()).prop_map(|(sequence, index)| id(sequence, index));
    let far = (any::<u32>(), 0..1u64 << 40, any::<u8>()).prop_map(|(incarnation, sequence, index)| {
        BatchId::new(partition(), incarnation, sequence).expect("in range").execution(index)
    });
    prop_oneof![near, far]
}

fn any_payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        4 => "\\{\"order\": \"[a-z]{0,40}\"\\}".prop_map(Bytes::from),
        1 => (any::<u8>(), 0..300_000usize).prop_map(|(byte, length)| Bytes::from(vec![byte; length])),
    ]
}

fn any_opened() -> impl Strategy<Value = Opened> {
    let seed = prop_oneof![any::<u64>(), Just(5)];
    let name = option::of(".{0,20}");
    (any_id(), 0..3u32, any::<u64>(), seed, name, any_payload(), any_trace()).prop_map(
        |(id, machine, start_time_ms, seed, name, input, trace)| Opened {
            id,
            machine,
            start_time_ms,
            seed,
            name,
            input,
            trace,
        },
    )
}

fn any_trace() -> impl Strategy<Value = Option<Box<[u8]>>> {
    let context = (any::<[u8; 8]>(), any::<bool>(), 0..9usize).prop_map(|(span, told, state)| {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let state: Vec<String> = (0..state).map(|at| format!("k{at}={}", "v".repeat(9 * at + 1))).collect();
        let context = TraceContext::parse(parent, &state.join(",")).expect("a context");
        context.under(span.map(|byte| byte | 1)).encode(told).into_boxed_slice()
    });
    prop_oneof![3 => Just(None), 1 => context.prop_map(Some)]
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Succeeded), Just(Status::Failed), Just(Status::TimedOut), Just(Status::Aborted)]
}

fn any_closed() -> impl Strategy<Value = Closed> {
    let block = (0..3u64, any::<u64>()).prop_map(|(generation, sequence)| BlockId { generation, sequence });
    let blocks = prop_oneof![Just(Vec::new()), Just(vec![ID]), vec(block, 0..5)];
    (any_id(), any_status(), any::<u64>(), any_payload(), blocks).prop_map(
        |(id, status, stop_time_ms, payload, blocks)| Closed { id, status, stop_time_ms, payload, blocks },
    )
}

fn any_journalled() -> impl Strategy<Value = Journalled> {
    (any_id(), any::<u64>(), any::<u32>(), any::<u64>(), 1..=JournalledKind::NEWEST as u8, any_payload())
        .prop_map(|(id, time_ms, sequence, effect, kind, payload)| {
            let kind = JournalledKind::from_u8(kind).expect("a kind");
            Journalled { id, time_ms, sequence, effect, kind, payload }
        })
}

/// The records of one block, in the order in which they are read back.
#[derive(Debug, Clone)]
struct Contents {
    at_once: Vec<(Opened, Closed)>,
    opened: Vec<Opened>,
    journalled: Vec<Journalled>,
    closed: Vec<Closed>,
}

fn any_contents() -> impl Strategy<Value = Contents> {
    let at_once = (any_opened(), any_closed(), any::<bool>()).prop_map(|(opened, mut closed, same)| {
        closed.id = opened.id;
        closed.blocks.clear();
        if same {
            closed.payload = opened.input.clone();
        }
        (opened, closed)
    });
    (vec(at_once, 0..20), vec(any_opened(), 0..20), vec(any_journalled(), 0..20), vec(any_closed(), 0..20))
        .prop_map(|(at_once, opened, journalled, closed)| Contents { at_once, opened, journalled, closed })
}

fn build(builder: &mut BlockBuilder, contents: &Contents) -> Bytes {
    for number in 0..3 {
        assert_eq!(builder.machine(&machine(number)), u32::from(number));
    }
    contents.closed.iter().for_each(|record| builder.closed(record));
    contents.opened.iter().for_each(|record| builder.opened(record));
    contents.journalled.iter().for_each(|record| builder.journalled(record));
    for (opened, closed) in &contents.at_once {
        builder.opened_and_closed(opened, closed.status, closed.stop_time_ms, &closed.payload);
    }
    builder.finish(ID, 1_700_000_000_123)
}

fn expected(contents: &Contents) -> Vec<Record> {
    let at_once = contents.at_once.iter();
    let at_once =
        at_once.flat_map(|(opened, closed)| [Record::Opened(opened.clone()), Record::Closed(closed.clone())]);
    let opened = contents.opened.iter().cloned().map(Record::Opened);
    let journalled = contents.journalled.iter().cloned().map(Record::Journalled);
    at_once
        .chain(opened)
        .chain(journalled)
        .chain(contents.closed.iter().cloned().map(Record::Closed))
        .collect()
}

#[test]
fn an_outcome_of_a_kind_that_a_newer_program_added_is_refused_by_its_number_and_the_rest_is_read() {
    let (id, other) = (id(2, 0), id(2, 1));
    let told = |id| {
        let (kind, payload) = (JournalledKind::TaskSucceeded, Bytes::from_static(b"{}"));
        Journalled { id, time_ms: 7, sequence: 0, effect: 1, kind, payload }
    };
    for (kind, part) in [(JournalledKind::NEWEST as u64 + 1, "kind 13"), (300, "kind 300"), (0, "kind 0")] {
        let mut builder = BlockBuilder::new(partition());
        builder.journalled(&told(other));
        builder.journalled(&told(id));
        builder.change_kind(kind);
        let block = Block::parse(&builder.finish(ID, 9)).expect("its version is known");
        for refused in [block.records().map(drop), block.find(id).map(drop)] {
            let message = refused.expect_err("it would be replayed without it").to_string();
            assert!(message.contains(part) && message.contains("a newer one wrote it"), "{message}");
        }
        assert_eq!(block.find(other).expect("readable").journalled, [told(other)]);
    }
}

#[test]
fn a_block_says_of_its_machines_only_what_one_of_them_has() {
    let flags = |machines: &[MachineRef]| {
        let mut builder = BlockBuilder::new(partition());
        for machine in machines {
            builder.machine(machine);
        }
        let bytes = builder.finish(ID, 9);
        assert_eq!(Block::parse(&bytes).expect("a block").machines(), machines);
        bytes[5]
    };
    let (plain, published) = (machine(1), MachineRef { origin: "3:PROD".into(), ..machine(1) });
    assert_eq!(flags(&[]), 0);
    assert_eq!(flags(std::slice::from_ref(&plain)), 0);
    assert_eq!(flags(&[plain, published]), ORIGINS);
    assert_eq!(flags(&[machine(0), machine(6)]), RETENTIONS | ROLES | LOGGINGS | ORIGINS);
}

/// Writes the checksum anew, so that what is behind it is reached.
fn with_checksum(mut bytes: Vec<u8>) -> Bytes {
    if bytes.len() >= 4 {
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
    }
    bytes.into()
}

fn read_everything(bytes: &Bytes) -> Result<(), StoreError> {
    let block = Block::parse(bytes)?;
    for sub_block in block.sub_blocks() {
        assert_eq!(sub_block.ids().count(), sub_block.len());
    }
    block.records().map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_block_reads_back_as_built_also_from_a_used_builder(blocks in vec(any_contents(), 1..3)) {
        let mut builder = BlockBuilder::new(partition());
        for contents in blocks {
            let block = Block::parse(&build(&mut builder, &contents)).expect("a block");
            prop_assert!(builder.is_empty());
            prop_assert_eq!((block.partition(), block.id()), (partition(), ID));
            prop_assert_eq!(block.time_ms(), 1_700_000_000_123);
            prop_assert_eq!(block.machines(), &[machine(0), machine(1), machine(2)]);
            let records = block.records().expect("records");
            prop_assert_eq!(&records, &expected(&contents));
            for record in records.iter().take(5) {
                let mine = |record: &&Record| record.id() == record.id();
                let found = block.find(record.id()).expect("records");
                let count = usize::from(found.opened.is_some()) + found.journalled.len()
                    + usize::from(found.closed.is_some());
                prop_assert!(count > 0 && count <= records.iter().filter(mine).count());
            }
        }
    }

    #[test]
    fn hostile_bytes_are_an_error_and_never_a_panic(
        contents in any_contents(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = build(&mut BlockBuilder::new(partition()), &contents).to_vec();
        for (place, byte) in &changes {
            let place = place.index(bytes.len());
            bytes[place] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read_everything(&with_checksum(bytes));
    }

    #[test]
    fn any_damage_is_noticed(contents in any_contents(), place: prop::sample::Index, flip in 1..=255u8) {
        let mut bytes = build(&mut BlockBuilder::new(partition()), &contents).to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(matches!(Block::parse(&bytes.into()), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn random_bytes_are_no_block(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(read_everything(&Bytes::from(bytes)).is_err());
    }
}

fn opened(id: ExecutionId, input: &'static str) -> Opened {
    Opened {
        id,
        machine: 0,
        start_time_ms: 1_000,
        seed: seed_for(id, 99),
        name: None,
        input: Bytes::from_static(input.as_bytes()),
        trace: None,
    }
}

#[test]
fn a_whole_batch_costs_a_few_bytes_of_ids() {
    let mut builder = BlockBuilder::new(partition());
    builder.machine(&machine(0));
    let empty = BlockBuilder::new(partition()).finish(ID, 0).len();
    for index in 0..=255 {
        builder.opened(&opened(id(17, index), ""));
    }
    let block = Block::parse(&builder.finish(ID, 0)).expect("a block");
    assert_eq!(block.sub_blocks().len(), 1);
    let runs: Vec<_> = block.opened_runs().collect();
    assert_eq!(runs, [IdRun { batch: id(17, 0).batch, first: 0, count: 256 }]);
    let machine_bytes = machine(0).arn.len() + 35;
    let ids_and_columns = block.byte_len() - empty - machine_bytes;
    assert!(ids_and_columns < 60, "256 executions without payload take {ids_and_columns} bytes");
}

#[test]
fn sub_blocks_are_closed_by_records_and_by_bytes() {
    let mut builder = BlockBuilder::new(partition());
    builder.machine(&machine(0));
    for number in 0..600u64 {
        builder.opened(&opened(id(number / 256, number as u8), "{}"));
    }
    let large = "x".repeat(200_000);
    for index in 0..4 {
        builder.opened(OpenedView { input: large.as_bytes(), ..(&opened(id(5, index), "")).into() });
    }
    assert_eq!(builder.len(), 604);
    let block = Block::parse(&builder.finish(ID, 0)).expect("a block");
    let counts: Vec<_> = block.sub_blocks().iter().map(SubBlock::len).collect();
    assert_eq!(counts, [256, 256, 90, 2]);
    let found = block.find(id(5, 3)).expect("readable");
    assert_eq!(found.opened.expect("there").input, large);
}

#[test]
fn ids_and_statuses_are_read_without_decompressing() {
    let mut builder = BlockBuilder::new(partition());
    builder.machine(&machine(0));
    let statuses = [Status::Succeeded, Status::Failed, Status::Aborted];
    for (index, status) in statuses.into_iter().enumerate() {
        builder.opened_and_closed(&opened(id(1, index as u8), "{}"), status, 2_000, b"{}");
    }
    let block = Block::parse(&builder.finish(ID, 0)).expect("a block");
    let ids: Vec<_> = block.sub_blocks()[0].ids().collect();
    assert_eq!(ids, [0, 1, 2].map(|index| (id(1, index), statuses[usize::from(index)])));
    assert_eq!(block.opened_runs().collect::<Vec<_>>(), block.closed_runs().collect::<Vec<_>>());
    assert_eq!(block.find(id(1, 3)).expect("readable"), Found::default());
}

#[test]
fn an_output_that_is_the_input_is_written_once() {
    let noise: Vec<u8> = (0..10_000u64).map(|number| record::mix(number) as u8).collect();
    let noise = Bytes::from(noise);
    let mut builder = BlockBuilder::new(partition());
    builder.machine(&machine(0));
    let start = Opened { input: noise.clone(), ..opened(id(1, 0), "") };
    builder.opened_and_closed(&start, Status::Succeeded, 1_001, &noise);
    let bytes = builder.finish(ID, 0);
    assert!(bytes.len() < 10_300, "{}", bytes.len());
    let found = Block::parse(&bytes).expect("a block").find(id(1, 0)).expect("readable");
    assert_eq!(found.closed.expect("there").payload, noise);
}

#[test]
fn a_lying_length_is_refused_before_anything_is_allocated() {
    let mut builder = BlockBuilder::new(partition());
    builder.machine(&machine(0));
    builder.opened(&opened(id(1, 0), "{}"));
    let bytes = builder.finish(ID, 0).to_vec();
    // The last three numbers before the stored bytes of the only sub-block: payload, raw and stored length.
    let block = Block::parse(&Bytes::from(bytes.clone())).expect("a block");
    assert_eq!(block.sub_blocks().len(), 1);
    let before = bytes.windows(2).rposition(|pair| pair == b"{}").expect("the input") - 3;
    for length in [20 * 1024 * 1024, u64::MAX] {
        let mut lying = bytes[..before].to_vec();
        column::put_varint(&mut lying, 2);
        column::put_varint(&mut lying, length);
        lying.extend_from_slice(&bytes[before + 2..]);
        let error = Block::parse(&with_checksum(lying)).expect_err("a lie").to_string();
        assert!(error.contains("length"), "{error}");
    }
}
