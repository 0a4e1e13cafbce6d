//! A shard is gone as suddenly as in a crash, and another one takes its partition.

use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

#[tokio::test]
async fn what_was_open_is_driven_to_its_end_by_the_next_owner() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    for (sequence, mode) in [(1, Mode::Express), (2, Mode::Standard)] {
        let shard = world.shard().await;
        shard.started(batch(sequence, wait, mode, &["1", "2"])).await;
    }
    let world = World { definitions: Arc::default(), ..world };
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    assert_eq!(shard.metrics.recovered.get(), 4);
    world.clock.advance(Duration::from_secs(60));
    let outcomes = outcomes(&mut watcher, 4).await;
    assert!(outcomes.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded));
}

/// What the second state says of the machine's role, after a wait.
const ROLE_TELLER: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":30,"Next":"B"},
    "B":{"Type":"Pass","Parameters":{"role.$":"$$.Execution.RoleArn"},"End":true}}}"#;

#[tokio::test]
async fn a_machines_role_is_told_by_the_context_object_and_known_to_the_next_owner() {
    let world = World::new();
    let teller = world.define(ROLE_TELLER).await;
    let with_role = |sequence: u64, mode, role: &str| {
        let mut batch = batch(sequence, teller, mode, &["1"]);
        batch.machines[0].role_arn = role.to_owned();
        batch
    };
    let shard = world.shard().await;
    let roles = ["arn:aws:iam::123456789012:role/orders", "qcs::cam::uin/100000000001:roleName/orders", ""];
    for (sequence, (role, mode)) in
        (1..).zip([(roles[0], Mode::Express), (roles[1], Mode::Standard), (roles[2], Mode::Standard)])
    {
        shard.started(with_role(sequence, mode, role)).await;
    }
    // A resend is known by what the log says, role and all.
    let shard = world.shard().await;
    shard.started(with_role(2, Mode::Standard, roles[1])).await;
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(60));
    let mut told: Vec<_> = outcomes(&mut watcher, 3).await.into_iter().filter_map(|end| end.output).collect();
    told.sort();
    assert_eq!(told, [r#"{"role":""}"#.to_owned(), said(roles[0]), said(roles[1])]);
}

fn said(role: &str) -> String {
    format!(r#"{{"role":"{role}"}}"#)
}

#[tokio::test]
async fn what_a_machine_was_at_its_start_is_described_by_every_owner_and_a_part_of_what_a_resend_says() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let by = |origin: &str| {
        let mut batch = batch(1, wait, Mode::Standard, &["1", "2"]);
        let mut version = batch.machines[0].clone();
        version.origin = origin.to_owned();
        version.role_arn = "arn:aws:iam::123456789012:role/orders".to_owned();
        version.logging =
            Some(v1::LoggingConfiguration { level: v1::LogLevel::All.into(), include_execution_data: true });
        batch.machines.push(version);
        batch.machine_index = vec![0, 1];
        batch
    };
    let mut shard = world.shard().await;
    assert_eq!(shard.started(by("3:PROD")).await[0].refusal, None);
    for round in 0..3 {
        for (index, origin) in [(0, ""), (1, "3:PROD")] {
            let asked = execution(1, index);
            let found = shard.ask(|reply| Command::Describe { execution: asked, reply }).await;
            let found = found.expect("it is there");
            assert_eq!(found.origin, origin, "round {round}");
            assert_eq!(found.role_arn.is_empty(), origin.is_empty());
            let level = found.logging.expect("it is said").level();
            assert_eq!(level, if index == 0 { v1::LogLevel::Off } else { v1::LogLevel::All });
            assert_eq!(found.dialect(), v1::Dialect::Asl);
        }
        if round == 1 {
            // They end, and are described from the log.
            let mut watcher = shard.watch().await;
            world.clock.advance(Duration::from_secs(60));
            outcomes(&mut watcher, 2).await;
        }
        drop(shard);
        shard = world.shard().await;
    }
    // A resend is known by what the log says.
    assert_eq!(shard.started(by("3:PROD")).await[0].refusal, None);
    let refused = shard.started(by("4")).await;
    let refusal = refused[0].refusal.as_ref().expect("it says something else");
    assert_eq!(refusal.reason(), v1::start_refusal::Reason::Conflict, "{refusal:?}");
}

#[tokio::test]
async fn what_had_ended_is_not_run_again() {
    let world = World::new();
    let pass = world.define(PASS).await;
    world.shard().await.started(batch(1, pass, Mode::Express, &["1", "2"])).await;
    let shard = world.shard().await;
    assert_eq!((shard.metrics.recovered.get(), shard.metrics.steps.get()), (0, 0));
}

#[tokio::test]
async fn a_standard_execution_goes_on_from_its_last_outcome_and_repeats_no_task() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(batch(1, two, Mode::Standard, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    world.clock.advance(TICK);
    shard.succeed(1, &pay.token, r#""paid""#).await;
    // The second task leaves only when the first one's outcome is durable.
    shard.say(1, v1::WorkerMessage { credit: 1, ..Default::default() }).await;
    tasks(&mut worker, 1).await;
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(2, 10).await;
    let ship = tasks(&mut worker, 1).await.remove(0);
    assert!(ship.function.ends_with(":ship"), "{}", ship.function);
    assert_eq!(ship.input, r#""paid""#);
    world.clock.advance(TICK);
    shard.succeed(2, &ship.token, "3").await;
    assert_eq!(outcomes(&mut watcher, 1).await[0].output.as_deref(), Some(b"3".as_slice()));
}

/// Three tasks in a row, the first of which tells that it lives.
const BEATING: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","HeartbeatSeconds":30,"Next":"B"},
    "B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pack","Next":"C"},
    "C":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","End":true}}}"#;

#[tokio::test]
async fn heartbeats_are_not_journalled_and_change_nothing_in_a_replay() {
    let world = World::new();
    let beating = world.define(BEATING).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, beating, Mode::Standard, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    for _ in 0..3 {
        let heartbeats = vec![pay.token.clone()];
        shard.say(1, v1::WorkerMessage { heartbeats, ..Default::default() }).await;
    }
    world.clock.advance(TICK);
    shard.succeed(1, &pay.token, "2").await;
    let pack = tasks(&mut worker, 1).await.remove(0);
    world.clock.advance(TICK);
    shard.succeed(1, &pack.token, "3").await;
    tasks(&mut worker, 1).await;
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let next = tasks(&mut worker, 1).await.remove(0);
    assert!(next.function.ends_with(":ship") && next.input == "3", "{next:?}");
}

#[tokio::test]
async fn a_task_that_is_done_again_has_its_time_for_a_first_heartbeat() {
    let world = World::new();
    let beating = world.define(BEATING).await;
    for (sequence, mode) in [(1, Mode::Standard), (2, Mode::Express)] {
        let shard = world.shard().await;
        shard.started(batch(sequence, beating, mode, &["1"])).await;
    }
    // The heartbeats that came meanwhile are forgotten.
    world.clock.advance(Duration::from_secs(100));
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 10).await;
    assert_eq!(tasks(&mut worker, 2).await.len(), 2);
    world.clock.advance(Duration::from_secs(29));
    shard.settled().await;
    assert_eq!(shard.metrics.open.get(), 2);
    world.clock.advance(Duration::from_secs(1) + TICK);
    let told = outcomes(&mut watcher, 2).await;
    assert!(told.iter().all(|outcome| outcome.error.as_deref() == Some("States.Timeout")), "{told:?}");
}

#[tokio::test]
async fn an_express_execution_starts_again_from_its_input() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, two, Mode::Express, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &pay.token, r#""paid""#).await;
    tasks(&mut worker, 1).await;
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let again = tasks(&mut worker, 1).await.remove(0);
    assert!(again.function.ends_with(":pay") && again.input == "1", "{again:?}");
}

#[tokio::test]
async fn the_outcome_of_a_standard_task_is_taken_by_the_next_owner_from_whoever_got_it_from_the_last() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(batch(1, two, Mode::Standard, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 1).await;
    let again = tasks(&mut worker, 1).await.remove(0);
    assert!(again.function.ends_with(":pay"), "nobody has heard of an outcome");
    world.clock.advance(TICK);
    shard.succeed(9, &pay.token, r#""paid""#).await;
    shard.succeed(2, &again.token, r#""paid twice""#).await;
    shard.say(2, v1::WorkerMessage { credit: 1, ..Default::default() }).await;
    let ship = tasks(&mut worker, 1).await.remove(0);
    assert!(ship.function.ends_with(":ship") && ship.input == r#""paid""#, "{ship:?}");
}

#[tokio::test]
async fn the_outcome_of_an_express_task_is_not_taken_for_one_of_the_run_that_followed() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(batch(1, two, Mode::Express, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 1).await;
    let again = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(2, &pay.token, r#""of the first run""#).await;
    shard.succeed(2, &again.token, r#""of the second""#).await;
    shard.say(2, v1::WorkerMessage { credit: 1, ..Default::default() }).await;
    let ship = tasks(&mut worker, 1).await.remove(0);
    assert_eq!(ship.input, r#""of the second""#);
}

#[tokio::test]
async fn a_batch_that_an_earlier_owner_accepted_is_recognised_by_its_content() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let sent = batch(1, pass, Mode::Express, &["1", "{", "3"]);
    let first = world.shard().await.started(sent.clone()).await;
    let shard = world.shard().await;
    assert_eq!(shard.started(sent).await, first);
    let other = shard.started(batch(1, pass, Mode::Express, &["1", "{", "4"])).await;
    assert_eq!(other[0].reason(), Some(Reason::Conflict));
    assert_eq!(shard.metrics.steps.get(), 0, "nothing was run again");
}

/// Found by the simulator: the former owner's clock was behind the dispatcher's.
#[tokio::test]
async fn a_batch_is_recognised_though_its_owner_had_a_clock_that_was_behind() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let ahead = START_MS + 50_000;
    let sent = v1::StartBatch { start_time_ms: ahead, ..batch(1, pass, Mode::Express, &["1"]) };
    let first = world.shard().await.started(sent.clone()).await;
    // Its block is 150 s old, the batch, by its dispatcher's clock, 100 s: within the horizon.
    world.clock.advance(Duration::from_secs(150));
    let shard = world.shard().await;
    assert_eq!(shard.started(sent).await, first);
    assert_eq!(shard.metrics.steps.get(), 0, "nothing was run again");
}

/// Found by the simulator: a log that had let go of the batch started it once more.
#[tokio::test]
async fn a_resend_within_the_horizon_is_known_by_every_owner_however_short_the_retention_is() {
    let world = World { retention: Duration::from_secs(1), ..World::new() };
    let pass = world.define(PASS).await;
    let sent = batch(1, pass, Mode::Express, &["1"]);
    let first = world.shard().await.started(sent.clone()).await;
    for second in 2..5 {
        // Each owner trims what it may, and leaves the rest to the next one.
        let shard = world.shard().await;
        world.clock.advance(Duration::from_secs(35));
        shard.started(batch(second, pass, Mode::Express, &["1"])).await;
    }
    let shard = world.shard().await;
    assert_eq!(shard.started(sent).await, first);
    assert_eq!(shard.metrics.steps.get(), 0, "nothing was run again");
}

#[tokio::test]
async fn retention_counts_from_the_close_and_never_touches_what_is_open() {
    let world = World { retention: Duration::from_secs(300), ..World::new() };
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    drop(shard);
    world.clock.advance(Duration::from_secs(50));
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let pass = world.define(PASS).await;
    for (sequence, second) in (10..40).zip(51..) {
        let at = START_MS + second * 1_000;
        let sent = batch(sequence, pass, Mode::Express, &["1"]);
        ticking(&shard, shard.started(v1::StartBatch { start_time_ms: at, ..sent })).await;
    }
    let blocks = world.store.block_count(partition());
    assert!(
        blocks > 30,
        "{blocks} blocks: the first one is held by an open execution, and so are those after it"
    );
    world.clock.advance(Duration::from_secs(10));
    // The thirty of the loop, and the one that waited.
    let outcomes = outcomes(&mut watcher, 31).await;
    assert_eq!(outcomes[0].id.map(|id| id.sequence), Some(1));
    assert_eq!(outcomes[0].status(), ExecutionStatus::Succeeded);
    // A retention after it was written, and not yet one after what was in it closed; then that too.
    for (first, away_s, begin_s, kept) in [(50, 270, 330, true), (100, 100, 450, false)] {
        world.clock.advance(Duration::from_secs(away_s));
        for (sequence, second) in (first..first + 20).zip(begin_s + 1..) {
            world.clock.advance(Duration::from_secs(1));
            let at = START_MS + second * 1_000;
            let sent = batch(sequence, pass, Mode::Express, &["1"]);
            ticking(&shard, shard.started(v1::StartBatch { start_time_ms: at, ..sent })).await;
        }
        let blocks = world.store.block_count(partition());
        assert_eq!(blocks > 50, kept, "{blocks} blocks");
    }
}

#[tokio::test]
async fn an_owner_that_was_fenced_drops_its_partition_and_answers_no_more_for_it() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let old = world.shard().await;
    let new = world.shard().await;
    let lost = old.started(batch(1, pass, Mode::Express, &["1"])).await.remove(0);
    old.until(ShardState::Failed).await;
    assert_eq!(lost.refusal.expect("never acknowledged").code, "OwnerChanged");
    assert_eq!(old.started(batch(2, pass, Mode::Express, &["1"])).await[0].reason(), Some(Reason::NotOwner));
    assert_eq!(new.started(batch(1, pass, Mode::Express, &["1"])).await[0].refusal, None);
}
