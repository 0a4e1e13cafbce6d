//! What earlier programs wrote beside a log: every later one finds by it what they did.
//!
//! `derived/<name>.block` is a block, `<name>.entries` the entries that travelled beside it, and `<name>.txt` what is found by
//! them: executions by id and by name, a machine's listing, and the checkpoint from which a recovery may begin. Files are
//! added by `cargo test -p journal --test derived -- --ignored` when a format changes, and never written again: that would
//! make this test prove nothing.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, Mode, PartitionId, Status};
use journal::block::seed_for;
use journal::checkpoint::{self, Bucket, Checkpoint, Encoder, SeenBatch, Stamp};
use journal::index::{self, IndexWriter, PageRequest, get_pointers};
use journal::store::Connect;
use journal::{
    Append, Block, BlockBuilder, BlockId, Closed, Derived, MachineRef, MemoryStore, Opened, Store,
};

/// The formats of pointers, summaries, names and checkpoints, all together: raise it when one of them changes.
const VERSION: u32 = 1;
const ARN: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";
const SEGMENT: &str = "arn:aws:states:us-east-1:123456789012:execution:orders";
const BEGAN_MS: u64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_hours(1);
/// Of an owner that came after two others.
const AT: BlockId = BlockId { generation: 3, sequence: 12 };

fn stem() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/derived");
    folder.join(format!("v{VERSION}"))
}

fn partition() -> PartitionId {
    PartitionId::new(5).expect("in range")
}

fn id(sequence: u64, index: u8) -> ExecutionId {
    BatchId::new(partition(), 9, sequence).expect("in range").execution(index)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn spelt(entry: &Derived) -> String {
    match entry {
        Derived::Put { key, value, .. } => format!("put {} {}\n", hex(key), hex(value)),
        Derived::Push { list, value, .. } => format!("push {} {}\n", hex(list), hex(value)),
    }
}

fn entry(line: &str) -> Derived {
    let fields: Vec<&str> = line.split(' ').collect();
    let [kind, key, value] = fields.try_into().expect("three fields");
    let (key, value, ttl) = (unhex(key), unhex(value), HOUR);
    match kind {
        "put" => Derived::Put { key, value, ttl },
        "push" => Derived::Push { list: key, value, ttl },
        other => panic!("an entry of the kind {other}"),
    }
}

/// A store whose log ends with this block, and has these entries.
async fn store_with(block: &Bytes, derived: Vec<Derived>) -> std::sync::Arc<dyn Store> {
    let store = MemoryStore::new().connect().await.expect("a store");
    for _ in 0..AT.generation {
        store.acquire(partition()).await.expect("taken");
    }
    let append = Append { partition: partition(), id: AT, block: block.clone(), derived, trim_below: None };
    store.append(append).await.expect("written");
    store
}

/// Everything that is found.
async fn found_in(store: &dyn Store) -> String {
    let mut out = String::new();
    let mut say = |what: &str, found: String| writeln!(out, "{what}: {found}").expect("text");
    for id in [id(1, 0), id(1, 1), id(1, 200), id(2, 0), id(3, 0)] {
        let found = index::lookup(store, id).await.expect("it can be read");
        let found = found.map(|found| (found.opened.name, found.closed.map(|closed| closed.status)));
        say(&id.to_string(), format!("{found:?}"));
    }
    let pointers = get_pointers(store, partition(), &[id(1, 0).batch]).await.expect("they can be read");
    for pointer in pointers.iter().flatten() {
        let place = |index| pointer.locate(index).closed.map(|block| block.to_string());
        say("closed in", [0, 1, 2, 200].map(|index| place(index).unwrap_or_default()).join(" "));
    }
    for name in ["a caller's name", "nobody's"] {
        let found = index::lookup_name(store, partition(), SEGMENT, name).await.expect("it can be read");
        say(name, format!("{:?}", found.map(|id| id.to_string())));
    }
    let request = PageRequest {
        partitions: &[partition()],
        machine_arn: ARN,
        status: None,
        after: None,
        limit: 10,
        oldest_ms: BEGAN_MS - 1_000,
        now_ms: BEGAN_MS + 60_000,
        blocks_max: 10,
    };
    let page = index::list(store, &request, |_| None).await.expect("it can be read");
    for listed in page.executions {
        say("listed", format!("{} {:?} {}", listed.id, listed.status, listed.start_time_ms));
    }
    let end = BlockId { generation: u64::MAX, sequence: 0 };
    let found = checkpoint::find(store, partition(), end).await.expect("it can be read");
    say(
        "newest checkpoint",
        found.newest.map(|(place, block)| format!("{place} {block}")).unwrap_or_default(),
    );
    found.below.iter().for_each(|checkpoint| out.push_str(&told_by(checkpoint)));
    out
}

/// Everything that a checkpoint says.
fn told_by(checkpoint: &Checkpoint) -> String {
    let mut out = format!("checkpoint of {}, floor {}\n", checkpoint.block, checkpoint.floor_ms);
    let mut say = |line: String| writeln!(out, "{line}").expect("text");
    for run in &checkpoint.open {
        let blocks: Vec<String> = run.blocks.iter().map(BlockId::to_string).collect();
        say(format!(
            "open {} and {} more in {}",
            run.batch.execution(run.first),
            run.count - 1,
            blocks.join(" ")
        ));
    }
    for seen in &checkpoint.batches {
        say(format!("seen {} in {} at {}", seen.batch.execution(0), seen.block, seen.time_ms));
    }
    for bucket in &checkpoint.buckets {
        say(format!("bucket {} {} {}", bucket.first, bucket.begin_ms, bucket.last_ms));
    }
    for (batch, tracked) in &checkpoint.tracked {
        say(format!("tracked {} {tracked:?}", batch.execution(0)));
    }
    checkpoint.hours.iter().for_each(|hour| say(format!("hour {hour}")));
    out
}

#[tokio::test]
async fn what_stands_beside_logs_of_every_version_is_found_as_it_was_meant() {
    let folder = stem();
    let folder = folder.parent().expect("a folder");
    let mut read = 0;
    for file in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = file.expect("a readable entry").path();
        if path.extension().is_none_or(|extension| extension != "block") {
            continue;
        }
        let block = Bytes::from(std::fs::read(&path).expect("a readable block"));
        let text =
            |extension| std::fs::read_to_string(path.with_extension(extension)).expect("a readable file");
        let store = store_with(&block, text("entries").lines().map(entry).collect()).await;
        let found = found_in(&*store).await;
        assert!(found == text("txt"), "by {} is found\n{found}", path.display());
        read += 1;
    }
    assert!(read >= 1 && stem().with_extension("block").is_file(), "no corpus of version {VERSION}");
}

/// Two batches: of one everything has ended, of the other something is open.
fn block(writer: &mut IndexWriter, derived: &mut Vec<Derived>) -> Bytes {
    let mut builder = BlockBuilder::new(partition());
    let machine = MachineRef {
        arn: ARN.to_owned(),
        definition: [7; 32],
        mode: Mode::Standard,
        dialect: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    };
    let machine = builder.machine(&machine);
    let opened = |id: ExecutionId| {
        let (start_time_ms, seed) = (BEGAN_MS + u64::from(id.index), seed_for(id, 42));
        let name = (id == self::id(1, 1)).then(|| "a caller's name".to_owned());
        Opened { id, machine, start_time_ms, seed, name, input: Bytes::from_static(b"{}"), trace: None }
    };
    writer.expect(id(1, 0).batch, 3);
    writer.expect(id(2, 0).batch, 2);
    for (index, status) in [(0, Status::Succeeded), (1, Status::Failed), (200, Status::Aborted)] {
        builder.opened_and_closed(&opened(id(1, index)), status, BEGAN_MS + 300, b"{}");
    }
    for index in [0, 1] {
        builder.opened(&opened(id(2, index)));
    }
    let (payload, blocks) = (Bytes::from_static(b"{}"), Vec::new());
    let (status, stop_time_ms) = (Status::Succeeded, BEGAN_MS + 300);
    builder.closed(&Closed { id: id(2, 1), status, stop_time_ms, payload, blocks });
    writer.flush(&builder, AT, BEGAN_MS + 300, derived);
    derived.push(index::name_entry(SEGMENT, "a caller's name", id(1, 1), HOUR));
    builder.finish(AT, BEGAN_MS + 300)
}

fn checkpoint_of(block: &[u8], writer: &IndexWriter) -> Vec<Derived> {
    let at = |sequence| BlockId { generation: 3, sequence };
    let mut encoder = Encoder::default();
    encoder.open(id(2, 0), &[AT]);
    encoder.open(id(1 << 39, 0), &[at(2), at(7), BlockId { generation: 1, sequence: 9 }]);
    encoder.open(id(1 << 39, 1), &[at(2), at(7), BlockId { generation: 1, sequence: 9 }]);
    encoder.floor(BEGAN_MS - 120_000);
    for sequence in [1, 2] {
        encoder.seen(SeenBatch { batch: id(sequence, 0).batch, block: AT, time_ms: BEGAN_MS });
    }
    encoder.bucket(Bucket { first: at(2), begin_ms: BEGAN_MS - 9_000, last_ms: BEGAN_MS });
    encoder.bucket(Bucket { first: at(11), begin_ms: BEGAN_MS, last_ms: BEGAN_MS + 300 });
    writer.checkpoint(&mut encoder);
    checkpoint::entries(&encoder.finish(), Stamp::of(partition(), AT, block), 1)
}

#[tokio::test]
#[ignore = "writes the corpus of new formats"]
async fn the_corpus_of_these_formats_is_written_once() {
    let (mut writer, mut derived) = (IndexWriter::new(partition(), HOUR), Vec::new());
    let block = block(&mut writer, &mut derived);
    Block::parse(&block).expect("readable");
    derived.extend(checkpoint_of(&block, &writer));
    let entries: String = derived.iter().map(spelt).collect();
    let found = found_in(&*store_with(&block, derived).await).await;
    let files = [("block", &block[..]), ("entries", entries.as_bytes()), ("txt", found.as_bytes())];
    for (extension, content) in files {
        let path = stem().with_extension(extension);
        let file = std::fs::File::options().write(true).create_new(true).open(&path);
        let mut file = file.unwrap_or_else(|error| panic!("{}: {error}: never overwritten", path.display()));
        std::io::Write::write_all(&mut file, content).expect("written");
    }
}
