//! What a shard counts of machines, targets and timers.

use proto::executor::v1::Mode;

use super::*;

const PAY: &str = "arn:aws:lambda:us-east-1:123456789012:function:pay";

fn errors(shard: &TestShard) -> Vec<(String, u64)> {
    let errors = shard.metrics.machine(MACHINE).errors();
    let mut errors: Vec<_> = errors.iter().map(|(error, count)| (error.to_string(), count.get())).collect();
    errors.sort_unstable();
    errors
}

#[tokio::test]
async fn tasks_count_at_their_target_and_ends_at_their_machine() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    shard.started(batch(1, task, Mode::Standard, &["1", "2", "3"])).await;
    let given = tasks(&mut worker, 3).await;
    shard.settled().await;
    let (machine, target) = (shard.metrics.machine(MACHINE), shard.metrics.target("worker", PAY));
    assert_eq!((machine.started.get(), machine.open.get()), (3, 3));
    shard.succeed(1, &given[0].token, "1").await;
    let failure = v1::TaskFailure { error: "Declined".to_owned(), cause: "no money".to_owned() };
    let failed = v1::task_outcome::Outcome::Failure(failure);
    let outcome = v1::TaskOutcome { token: given[1].token.clone(), outcome: Some(failed) };
    shard.say(1, v1::WorkerMessage { outcomes: vec![outcome], ..Default::default() }).await;
    shard.settled().await;
    assert_eq!((target.succeeded.get(), target.failed.get(), target.cancelled.get()), (1, 1, 0));
    // The third one is not answered in time.
    shard.clock.advance(Duration::from_secs(31));
    ticking(&shard, outcomes(&mut watcher, 3)).await;
    shard.settled().await;
    assert_eq!((target.succeeded.get(), target.failed.get(), target.cancelled.get()), (1, 1, 1));
    assert_eq!(target.latency.snapshot().count(), 2);
    assert_eq!((machine.succeeded.get(), machine.failed.get(), machine.open.get()), (1, 2, 0));
    assert_eq!(errors(&shard), [("Declined".to_owned(), 1), ("States.Timeout".to_owned(), 1)]);
}

#[tokio::test]
async fn each_failed_execution_counts_its_error_once_wherever_it_ends() {
    const SLOW: &str =
        r#"{"TimeoutSeconds":5,"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":60,"End":true}}}"#;
    const NAMELESS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Fail"}}}"#;
    let world = World::new();
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    for (sequence, definition) in (1..).zip([FAIL, NAMELESS, PASS, SLOW]) {
        let hash = world.define(definition).await;
        for (mode, sequence) in [(Mode::Standard, sequence), (Mode::Express, 10 + sequence)] {
            shard.started(batch(sequence, hash, mode, &["1", "2", "3"])).await;
        }
    }
    let wait = world.define(WAIT).await;
    shard.started(batch(21, wait, Mode::SyncExpress, &["1", "2"])).await;
    let stop = |reply| Command::Stop {
        execution: execution(21, 0),
        error: "Stopped".into(),
        cause: "".into(),
        reply,
    };
    ticking(&shard, shard.ask(stop)).await.expect("stopped");
    world.clock.advance(Duration::from_secs(5));
    ticking(&shard, outcomes(&mut watcher, 25)).await;
    shard.settled().await;
    let counted = [("E", 6), ("States.Timeout", 6), ("none", 6)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(errors(&shard), counted);
    let machine = shard.metrics.machine(MACHINE);
    assert_eq!((machine.failed.get(), machine.timed_out.get(), machine.aborted.get()), (12, 6, 1));
    drop(shard);
    // What runs at most once is closed without a step by the next owner.
    let shard = world.shard().await;
    let closed = async {
        while errors(&shard).is_empty() {
            shard.settled().await;
        }
    };
    ticking(&shard, soon("the end", closed)).await;
    assert_eq!(errors(&shard), [("States.Runtime".to_owned(), 1)]);
}

#[tokio::test]
async fn starts_that_are_refused_for_want_of_room_count_at_their_machine() {
    let world = World { open_max: 2, ..World::new() };
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Standard, &["1", "2"])).await;
    let unknown = "arn:aws:states:us-east-1:123456789012:stateMachine:unknown";
    let mut mixed = batch(2, wait, Mode::Standard, &["1", "2", "3"]);
    mixed.machines.push(v1::Machine { arn: unknown.to_owned(), ..mixed.machines[0].clone() });
    mixed.machine_index = vec![0, 1, 1];
    let refused = shard.started(mixed).await;
    assert_eq!(refused[0].reason(), Some(Reason::Overloaded));
    assert_eq!(shard.metrics.machine(MACHINE).throttled.get(), 1);
    assert_eq!(shard.metrics.machine(telemetry::labels::OVERFLOW).throttled.get(), 2);
}

#[tokio::test]
async fn a_timer_counts_with_how_late_it_was_and_a_recovery_counts() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    assert_eq!(shard.metrics.timers_fired.get(), 0);
    shard.clock.advance(Duration::from_secs(65));
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    shard.settled().await;
    let lateness = shard.metrics.timer_lateness.snapshot();
    assert_eq!((shard.metrics.timers_fired.get(), lateness.count()), (1, 1));
    assert!(lateness.sum_us >= 4_000_000, "{lateness:?}");
    assert_eq!((shard.metrics.recoveries.get(), shard.metrics.partitions_recovering.get()), (1, 0));
    assert!(shard.metrics.wake_latency.snapshot().count() > 0);
}

#[tokio::test]
async fn a_name_from_an_executions_data_is_cut_to_what_an_error_may_have() {
    const NAMED: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Fail","ErrorPath":"$.e"}}}"#;
    let world = World::new();
    let fail = world.define(NAMED).await;
    let shard = world.shard().await;
    for (sequence, mode) in [(1, Mode::Standard), (2, Mode::Express)] {
        let input = format!(r#"{{"e":"{}"}}"#, "x".repeat(200_000));
        shard.started(batch(sequence, fail, mode, &[&input])).await;
    }
    shard.settled().await;
    assert_eq!(errors(&shard), [("x".repeat(limits::ERROR_BYTES_MAX), 2)]);
}
