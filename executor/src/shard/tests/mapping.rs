//! Distributed Maps over objects in files: items read, results written, and what recovery and history make of it.

use std::path::Path;

use ::tasks::Answer as CallAnswer;
use proto::executor::v1::{ExecutionStatus, Mode};
use tempfile::TempDir;

use super::calling::{json, world_with_jobs};
use super::*;

/// A Map over an object, whose children each have a task; the results are written.
const EACH_ROW: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,"MaxConcurrency":1,
    "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW"},
        "Parameters":{"Bucket":"b","Key.$":"$.key"}},
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"T","States":{"T":{"Type":"Task",
        "Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}},
    "ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket":"b","Prefix":"out"},
        "WriterConfig":{"Transformation":"COMPACT","OutputType":"JSON"}}}}}"#;

/// A Map over a listing; its result is the state's.
const EACH_KEY: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,
    "ItemReader":{"Resource":"arn:aws:states:::s3:listObjectsV2","Parameters":{"Bucket":"b","Prefix":"in/","MaxKeys":2}},
    "ItemSelector":{"key.$":"$$.Map.Item.Value.Key","size.$":"$$.Map.Item.Value.Size"},
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
    "StartAt":"I","States":{"I":{"Type":"Succeed"}}}}}}"#;

/// Reads an object, then waits for a task.
const READ_THEN_TASK: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Next":"T",
    "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW","MaxItems":1},
        "Parameters":{"Bucket":"b","Key":"rows.csv"}},
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
    "StartAt":"I","States":{"I":{"Type":"Pass","Result":1,"End":true}}}},
    "T":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}}"#;

/// Reads an object and writes what it read.
const WRITE_ONLY: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,
    "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW"},
        "Parameters":{"Bucket":"b","Key":"rows.csv"}},
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
    "StartAt":"I","States":{"I":{"Type":"Succeed"}}},
    "ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket":"b","Prefix":"out"},
        "WriterConfig":{"Transformation":"COMPACT","OutputType":"JSON"}}}}}"#;

/// Reads every object of a listing, then waits for a task.
const READ_ALL_THEN_TASK: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Next":"T",
    "ItemReader":{"Resource":"arn:aws:states:::s3:listObjectsV2",
        "ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW","Transformation":"LOAD_AND_FLATTEN"},
        "Parameters":{"Bucket":"b"}},
    "ItemSelector":{"a.$":"$$.Map.Item.Value.a"},
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
    "StartAt":"I","States":{"I":{"Type":"Pass","OutputPath":"$.a","End":true}}}},
    "T":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}}"#;

/// A world whose shards have an objects folder with a bucket `b` of these files.
fn world_with(files: &[(&str, &str)]) -> (World, TempDir) {
    let folder = tempfile::tempdir().expect("a directory");
    let bucket = folder.path().join("b");
    std::fs::create_dir(&bucket).expect("a bucket");
    for (key, body) in files {
        let file = bucket.join(key);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
        std::fs::write(file, body).expect("a file");
    }
    let objects = Objects::open(folder.path()).expect("a folder");
    (World { objects: Some(Arc::new(objects)), ..World::new() }, folder)
}

/// Moves the clock, so that flushes begin, until there is what has to come.
async fn ticking<T>(world: &World, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        world.clock.advance(TICK);
        if let Ok(value) = tokio::time::timeout(Duration::from_millis(20), &mut future).await {
            return value;
        }
    }
}

/// The files below a folder, with what is in them.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort_unstable();
    found
}

async fn events(shard: &TestShard, sequence: u64) -> Result<Vec<String>, Error> {
    let execution = execution(sequence, 0);
    let form = v1::HistoryForm::StepFunctions;
    let history = shard
        .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
        .await
        .map(|page| page.events)?;
    Ok(history.into_iter().map(|event| event.r#type).collect())
}

/// A CSV file of one column that is longer than the journal keeps.
fn long_csv() -> String {
    format!("a\n{}", "row\n".repeat(limits::READ_KEPT_BYTES_MAX / 4))
}

#[tokio::test]
async fn rows_become_children_and_their_results_files() {
    for mode in [Mode::Express, Mode::Standard] {
        let (world, folder) = world_with(&[("rows.csv", "a,b\n1,x\n2,y\n")]);
        let map = world.define(EACH_ROW).await;
        let shard = world.shard().await;
        let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
        shard.started(batch(1, map, mode, &[r#"{"key":"rows.csv"}"#])).await;
        for expected in [r#"{"a":"1","b":"x"}"#, r#"{"a":"2","b":"y"}"#] {
            let task = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
            assert_eq!(task.input, expected);
            shard.succeed(1, &task.token, &format!("[{}]", task.input.len())).await;
        }
        let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
        assert_eq!(outcome.status(), ExecutionStatus::Succeeded, "{outcome:?}");
        let output: serde_json::Value =
            serde_json::from_slice(&outcome.output.expect("an output")).expect("JSON");
        assert_eq!(output["ResultWriterDetails"]["Bucket"], "b");
        let manifest = output["ResultWriterDetails"]["Key"].as_str().expect("a key");
        assert!(folder.path().join("b").join(manifest).is_file(), "{manifest}");
        let written = files(&folder.path().join("b/out"));
        let names: Vec<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["SUCCEEDED_0.json", "manifest.json"], "{mode:?}");
        assert_eq!(written[0].1, "[[17],[17]]");
        let counted =
            (&shard.metrics.objects_read, &shard.metrics.objects_written, &shard.metrics.objects_failed);
        assert_eq!((counted.0.get(), counted.1.get(), counted.2.get()), (1, 1, 0));
    }
}

#[tokio::test]
async fn a_listing_gives_its_keys_page_by_page() {
    for mode in [Mode::Express, Mode::Standard] {
        let (world, _folder) =
            world_with(&[("in/1", "a"), ("in/2", "bb"), ("in/3/x", "ccc"), ("other", ""), ("in/4", "dddd")]);
        let map = world.define(EACH_KEY).await;
        let shard = world.shard().await;
        let mut watcher = shard.watch().await;
        shard.started(batch(1, map, mode, &["{}"])).await;
        let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
        let expected = r#"[{"key":"in/1","size":1},{"key":"in/2","size":2},{"key":"in/3/x","size":3},{"key":"in/4","size":4}]"#;
        assert_eq!(outcome.output.as_deref(), Some(expected.as_bytes()), "{outcome:?}");
        assert_eq!(shard.metrics.objects_read.get(), 2, "two pages");
    }
}

#[tokio::test]
async fn a_read_that_fails_fails_the_map_with_a_cause_that_names_the_object() {
    let (world, folder) = world_with(&[]);
    let long = std::fs::File::create(folder.path().join("b/long.csv")).expect("a file");
    long.set_len(asl::map::OBJECT_BYTES_MAX as u64 + 1).expect("a sparse file");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("b/link")).expect("a link");
    let map = world.define(EACH_ROW).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let cases = [
        ("no.csv", "The specified key does not exist"),
        ("long.csv", "at most 67108864 are read"),
        ("../../etc/passwd", "cannot be the name of a file"),
        ("/etc/passwd", "cannot be the name of a file"),
        ("link", "is a symbolic link"),
    ];
    for (sequence, (key, part)) in (1..).zip(cases) {
        shard.started(batch(sequence, map, Mode::Standard, &[&format!(r#"{{"key":"{key}"}}"#)])).await;
        let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
        assert_eq!(outcome.error.as_deref(), Some("States.ItemReaderFailed"));
        let cause = outcome.cause.unwrap_or_default();
        assert!(cause.contains(part), "{key}: {cause}");
    }
    assert_eq!(shard.metrics.objects_failed.get(), cases.len() as u64);
}

#[tokio::test]
async fn results_that_cannot_be_written_fail_the_map() {
    let (world, folder) = world_with(&[("rows.csv", "a\n1\n"), ("out", "a file where a folder has to be")]);
    let map = world.define(EACH_ROW).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    shard.started(batch(1, map, Mode::Standard, &[r#"{"key":"rows.csv"}"#])).await;
    let task = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
    shard.succeed(1, &task.token, "1").await;
    let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(outcome.error.as_deref(), Some("States.ResultWriterFailed"));
    assert!(outcome.cause.as_deref().is_some_and(|cause| cause.contains("'b/out'")), "{outcome:?}");
    drop(folder);
}

#[tokio::test]
async fn a_map_that_is_stopped_while_it_reads_ends_once() {
    let (world, _folder) = world_with(&[("rows.csv", &long_csv())]);
    let map = world.define(READ_THEN_TASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.start(batch(1, map, Mode::Standard, &["1"])).await;
    let (reply, stopped) = oneshot::channel();
    let (error, cause) = ("Stop".to_owned(), String::new());
    shard.send(Command::Stop { execution: execution(1, 0), error, cause, reply }).await;
    let ended = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.status(), ExecutionStatus::Aborted, "{ended:?}");
    assert!(soon("an answer", stopped).await.is_ok_and(|answer| answer.is_ok()));
    shard.settled().await;
    assert_eq!(shard.metrics.open.get(), 0);
}

#[tokio::test]
async fn results_are_written_only_when_their_cause_is_durable() {
    let (world, folder) = world_with(&[("rows.csv", "a\n1\n")]);
    let map = world.define(WRITE_ONLY).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    world.store.hold_appends();
    shard.start(batch(1, map, Mode::Standard, &["1"])).await;
    ticking(
        &world,
        soon("a read", async {
            while shard.metrics.objects_read.get() == 0 {
                shard.settled().await;
            }
        }),
    )
    .await;
    shard.settled().await;
    assert!(!folder.path().join("b/out").exists());
    world.store.release_appends();
    let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(outcome.status(), ExecutionStatus::Succeeded, "{outcome:?}");
    assert_eq!(files(&folder.path().join("b/out"))[0].1, "[{\"a\":\"1\"}]");
}

#[tokio::test]
async fn a_map_goes_on_after_a_crash_and_repeats_no_childs_task() {
    // Short enough for the journal, and too long for it.
    for rest in ["".to_owned(), "x".repeat(limits::READ_KEPT_BYTES_MAX)] {
        let (world, folder) = world_with(&[("rows.csv", &format!("a,b\n1,{rest}\n2,\n"))]);
        let definition = EACH_ROW.replace(
            r#""MaxConcurrency":1,"#,
            r#""MaxConcurrency":1,"ItemSelector":{"a.$":"$$.Map.Item.Value.a"},"#,
        );
        let map = world.define(definition.leak()).await;
        let shard = world.shard().await;
        let mut worker = shard.worker(1, 1).await;
        shard.started(batch(1, map, Mode::Standard, &[r#"{"key":"rows.csv"}"#])).await;
        let first = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
        assert_eq!(first.input, r#"{"a":"1"}"#);
        shard.succeed(1, &first.token, "10").await;
        shard.say(1, v1::WorkerMessage { credit: 1, ..Default::default() }).await;
        // The second leaves when the first one's outcome is durable.
        ticking(&world, tasks(&mut worker, 1)).await;
        drop(shard);
        if rest.is_empty() {
            std::fs::remove_file(folder.path().join("b/rows.csv")).expect("removed");
        }
        let shard = world.shard().await;
        let (mut watcher, mut worker) = (shard.watch().await, shard.worker(2, 10).await);
        let second = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
        assert_eq!(second.input, r#"{"a":"2"}"#);
        shard.succeed(2, &second.token, "20").await;
        let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
        assert_eq!(outcome.status(), ExecutionStatus::Succeeded, "{outcome:?}");
        assert_eq!(files(&folder.path().join("b/out"))[0].1, "[10,20]");
        let told = events(&shard, 1).await.expect("a history");
        let expected =
            ["MapStateStarted", "MapRunStarted", "MapRunSucceeded", "MapStateSucceeded", "MapStateExited"];
        assert!(expected.iter().all(|event| told.iter().any(|told| told == event)), "{told:?}");
        assert_eq!(told.last().map(String::as_str), Some("ExecutionSucceeded"));
    }
}

#[tokio::test]
async fn results_that_are_written_are_not_written_again() {
    let (world, folder) = world_with(&[("rows.csv", "a\n1\n")]);
    let definition = EACH_ROW.replace(r#""End":true,"MaxConcurrency":1"#, r#""Next":"S","MaxConcurrency":1"#);
    let definition = definition.strip_suffix("}}").expect("the end").to_owned()
        + r#","S":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","End":true}}}"#;
    let map = world.define(definition.leak()).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, map, Mode::Standard, &[r#"{"key":"rows.csv"}"#])).await;
    let task = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
    shard.succeed(1, &task.token, "10").await;
    ticking(&world, tasks(&mut worker, 1)).await;
    drop(shard);
    std::fs::remove_dir_all(folder.path().join("b/out")).expect("removed");
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let ship = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
    assert!(ship.function.ends_with(":ship"), "{}", ship.function);
    assert_eq!((shard.metrics.objects_read.get(), shard.metrics.objects_written.get()), (0, 0));
    assert!(!folder.path().join("b/out").exists());
}

#[tokio::test]
async fn a_write_whose_outcome_a_crash_took_is_done_again_with_the_same_keys_and_bytes() {
    let (world, folder) = world_with(&[("rows.csv", "a\n1\n")]);
    let map = world.define(EACH_ROW).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, map, Mode::Standard, &[r#"{"key":"rows.csv"}"#])).await;
    let task = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
    // The block of the task's outcome is written, and that of the write's is not.
    world.store.hold_appends_after(1);
    shard.succeed(1, &task.token, "10").await;
    ticking(&world, async {
        while shard.metrics.objects_written.get() == 0 {
            shard.settled().await;
        }
    })
    .await;
    drop(shard);
    world.store.release_appends();
    let out = folder.path().join("b/out");
    let run =
        || std::fs::read_dir(&out).expect("results").next().expect("a run").expect("an entry").file_name();
    let (before, id) = (files(&out), run());
    std::fs::remove_dir_all(&out).expect("removed");
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(outcome.status(), ExecutionStatus::Succeeded, "{outcome:?}");
    assert_eq!((files(&out), run()), (before, id));
}

#[tokio::test]
async fn a_history_reads_again_only_what_the_journal_has_but_a_digest_of() {
    for (rows, kept) in [("a\n1\n".to_owned(), true), (long_csv(), false)] {
        let (world, folder) = world_with(&[("rows.csv", &rows)]);
        let map = world.define(READ_THEN_TASK).await;
        let shard = world.shard().await;
        let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
        shard.started(batch(1, map, Mode::Standard, &["{}"])).await;
        let task = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
        assert_eq!(task.input, "[1]");
        shard.succeed(1, &task.token, "2").await;
        ticking(&world, outcomes(&mut watcher, 1)).await;
        let before = events(&shard, 1).await.expect("a history");
        assert_eq!(before.last().map(String::as_str), Some("ExecutionSucceeded"));
        let file = folder.path().join("b/rows.csv");
        std::fs::rename(&file, folder.path().join("b/elsewhere")).expect("moved");
        let after = events(&shard, 1).await;
        if kept {
            assert_eq!(after.expect("a history"), before);
            continue;
        }
        let told = after.expect_err("the object is gone").to_string();
        assert!(told.contains("does not exist") && told.contains("b/rows.csv"), "{told}");
        std::fs::write(&file, format!("{rows}more\n")).expect("another");
        let told = events(&shard, 1).await.expect_err("another object").to_string();
        assert!(told.contains("has changed"), "{told}");
        std::fs::rename(folder.path().join("b/elsewhere"), &file).expect("moved back");
        assert_eq!(events(&shard, 1).await.expect("a history"), before);
    }
}

#[tokio::test]
async fn what_cannot_be_read_again_in_recovery_fails_its_execution_and_says_so() {
    let (world, folder) = world_with(&[("rows.csv", &long_csv())]);
    let map = world.define(READ_THEN_TASK).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, map, Mode::Standard, &["{}"])).await;
    ticking(&world, tasks(&mut worker, 1)).await;
    drop(shard);
    // Without a folder at all nobody can tell: it stays where it is.
    let blind = World { objects: None, ..world };
    let shard = blind.shard().await;
    assert_eq!((shard.metrics.recovered.get(), shard.metrics.open.get()), (1, 0));
    drop(shard);
    std::fs::write(folder.path().join("b/rows.csv"), "a\n1\n").expect("another");
    let objects = Objects::open(folder.path()).expect("a folder");
    let world = World { objects: Some(Arc::new(objects)), ..blind };
    let shard = world.shard().await;
    let described = async {
        loop {
            let execution = execution(1, 0);
            let described = shard.ask(|reply| Command::Describe { execution, reply }).await.expect("known");
            if described.summary.as_ref().is_some_and(|summary| summary.status() != ExecutionStatus::Running)
            {
                return described;
            }
        }
    };
    let described = ticking(&world, soon("its end", described)).await;
    assert_eq!(described.error.as_deref(), Some("States.ItemReaderFailed"));
    let cause = described.cause.unwrap_or_default();
    assert!(
        cause.contains("1048578 bytes that are needed again") && cause.contains("has changed"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_job_of_an_execution_that_fails_in_recovery_is_stopped() {
    for late in [false, true] {
        let read_then_task = READ_THEN_TASK.strip_prefix(r#"{"StartAt":"M","States":{"#).expect("a Map");
        let definition = format!(
            r#"{{"StartAt":"P","States":{{"P":{{"Type":"Parallel","End":true,"Branches":[
            {{"StartAt":"J","States":{{"J":{{"Type":"Task","Resource":"arn:aws:states:::test:runJob.sync","End":true}}}}}},
            {{"StartAt":"W","States":{{"W":{{"Type":"Wait","Seconds":60,"Next":"M"}},{read_then_task}]}}}}}}"#
        );
        let (with_jobs, mut jobs) = world_with_jobs();
        let (world, folder) = world_with(&[("rows.csv", &long_csv())]);
        let world = World { integrations: with_jobs.integrations, ..world };
        let definition = world.define(definition.leak()).await;
        let shard = world.shard().await;
        let mut worker = shard.worker(1, 10).await;
        shard.started(batch(1, definition, Mode::Standard, &["{}"])).await;
        let begun = soon("a job", jobs.recv()).await.expect("a call");
        if late {
            world.clock.advance(Duration::from_secs(60));
            ticking(&world, tasks(&mut worker, 1)).await;
        }
        begun.answer.send(CallAnswer::Submitted(json(r#"{"job":7}"#))).expect("the shard waits");
        let followed = ticking(&world, soon("a look at the job", jobs.recv())).await;
        if !late {
            world.clock.advance(Duration::from_secs(60));
            ticking(&world, tasks(&mut worker, 1)).await;
        }
        // A later start in a block of its own: what was told before is durable.
        let pass = world.define(PASS).await;
        ticking(&world, soon("a start", shard.started(batch(2, pass, Mode::Standard, &["1"])))).await;
        drop((shard, followed));
        std::fs::write(folder.path().join("b/rows.csv"), "a\n1\n").expect("another");
        let _shard = world.shard().await;
        let last = ticking(&world, soon("a stop", jobs.recv())).await.expect("a call");
        assert_eq!((last.stop, last.follows.as_deref()), (true, Some(r#"{"job":7}"#)), "{late}");
    }
}

#[tokio::test]
async fn a_reader_that_the_node_does_not_have_fails_its_map_and_says_so() {
    let world = World::new();
    let map = world.define(EACH_KEY).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, map, Mode::Standard, &["{}"])).await;
    let outcome = ticking(&world, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(outcome.error.as_deref(), Some("States.ItemReaderFailed"));
    let cause = outcome.cause.unwrap_or_default();
    assert!(cause.contains("no integration that serves arn:aws:states:::s3:listObjectsV2"), "{cause}");
    assert!(cause.contains("--objects-dir"), "{cause}");
}

#[tokio::test]
async fn a_journal_keeps_so_much_of_all_reads_together_and_digests_of_the_rest() {
    let files = limits::READS_KEPT_BYTES_MAX / limits::READ_KEPT_BYTES_MAX + 2;
    let padding = "x".repeat(limits::READ_KEPT_BYTES_MAX - 64);
    let bodies: Vec<_> =
        (0..files).map(|at| (format!("{at:02}"), format!("a,b\n{at},{padding}\n"))).collect();
    let borrowed: Vec<_> = bodies.iter().map(|(key, body)| (key.as_str(), body.as_str())).collect();
    let (world, folder) = world_with(&borrowed);
    let map = world.define(READ_ALL_THEN_TASK).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, map, Mode::Standard, &["1"])).await;
    let task = ticking(&world, tasks(&mut worker, 1)).await.remove(0);
    let expected: Vec<String> = (0..files).map(|at| format!("\"{at}\"")).collect();
    assert_eq!(task.input, format!("[{}]", expected.join(",")));
    // Of the first the journal has all, of the last a digest.
    for gone in [0, files - 1] {
        std::fs::remove_file(folder.path().join(format!("b/{gone:02}"))).expect("removed");
    }
    let told = events(&shard, 1).await.expect_err("the last is needed again").to_string();
    assert!(told.contains(&format!("s3://b/{:02} ", files - 1)), "{told}");
}
