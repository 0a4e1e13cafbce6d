//! The traces of executions: what whoever is called goes on with, and which spans are told.

use export::{IntakeBounds, Outlet, Span, SpanKind, SpanPage};
use ids::{SpanId, SpanOf, TraceContext, TraceIds};
use proto::executor::v1::{LogLevel, LoggingConfiguration, Mode};

use asl::Timestamp;

use super::super::{Outside, Sampling};
use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CALLER: SpanId = [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

/// A catcher, and a Fail state.
const CAUGHT: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay",
        "Catch":[{"ErrorEquals":["States.ALL"],"Next":"B"}],"End":true},
    "B":{"Type":"Fail","Error":"E","Cause":"C"}}}"#;

/// Two branches: one fails, and the other is given up.
const BRANCHES: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
    {"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":60,"End":true}}},
    {"StartAt":"V","States":{"V":{"Type":"Wait","Seconds":10,"Next":"F"},"F":{"Type":"Fail","Error":"E"}}}]}}}"#;

fn world(ratio: f64) -> (World, Outlet<SpanPage>) {
    let (spans, outlet) = export::intake(IntakeBounds::default(), Arc::default());
    let spans = Some((spans, Sampling { ratio, followed_per_s: 100.0 }));
    (World { outside: Outside { history: None, spans }, ..World::new() }, outlet)
}

fn context(traceparent: &str) -> v1::TraceContext {
    v1::TraceContext { traceparent: traceparent.to_owned(), tracestate: "a=1".to_owned() }
}

fn traced(batch: v1::StartBatch) -> v1::StartBatch {
    let trace = vec![context(PARENT); batch.input.len()];
    v1::StartBatch { trace, ..batch }
}

/// What has left by now: acknowledgements leave before what is told.
async fn taken(shard: &TestShard, outlet: &Outlet<SpanPage>) -> Vec<SpanPage> {
    shard.settled().await;
    std::iter::from_fn(|| outlet.take()).collect()
}

fn spans(pages: &[SpanPage]) -> Vec<&Span> {
    pages.iter().flat_map(|page| &page.spans).collect()
}

/// Name, status and error of each.
fn ends<'a>(spans: &[&'a Span]) -> Vec<(&'a str, &'static str, Option<&'a str>)> {
    spans.iter().map(|span| (span.name.as_str(), span.status, span.error.as_deref())).collect()
}

fn id(what: SpanOf) -> SpanId {
    TraceIds::default().span_of(batch_id(1).execution(0), what)
}

async fn fail(shard: &TestShard, token: &Bytes, error: &str) {
    let failure = v1::TaskFailure { error: error.to_owned(), cause: "secret".to_owned() };
    let failed = v1::task_outcome::Outcome::Failure(failure);
    let outcome = v1::TaskOutcome { token: token.clone(), outcome: Some(failed) };
    shard.say(1, v1::WorkerMessage { outcomes: vec![outcome], ..Default::default() }).await;
}

#[tokio::test]
async fn a_sampled_callers_execution_and_its_states_are_spans_below_the_callers() {
    for (mode, include_execution_data) in [(Mode::Standard, false), (Mode::Express, true)] {
        let (world, outlet) = world(0.0);
        let caught = world.define(CAUGHT).await;
        let shard = world.shard().await;
        let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
        let mut starts = traced(batch(1, caught, mode, &["1"]));
        let level = LogLevel::Off.into();
        starts.machines[0].logging = Some(LoggingConfiguration { level, include_execution_data });
        shard.started(starts).await;
        let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        // The state was entered with the second event of the history.
        let parent = task.trace.as_ref().and_then(Option::<TraceContext>::from).expect("a context");
        assert_eq!((parent.span_id, parent.tracestate()), (id(SpanOf::State(0, 2)), "a=1"));
        assert!(parent.traceparent().starts_with(&PARENT[..36]) && parent.is_sampled());
        fail(&shard, &task.token, "No").await;
        ticking(&shard, outcomes(&mut watcher, 1)).await;
        let pages = taken(&shard, &outlet).await;
        assert!(pages.iter().all(|page| page.trace_id == parent.trace_id && &*page.trace_state == "a=1"));
        let spans = spans(&pages);
        let expected =
            [("A", "CAUGHT", Some("No")), ("B", "FAILED", Some("E")), ("orders", "FAILED", Some("E"))];
        assert_eq!(ends(&spans), expected);
        let [a, b, run] = spans[..] else { panic!("{spans:?}") };
        assert_eq!((a.id, a.of), (parent.span_id, SpanKind::State("Task")));
        assert_eq!([a.parent, b.parent], [Some(run.id); 2]);
        assert_eq!((run.id, run.parent, run.link), (id(SpanOf::Run(0)), Some(CALLER), None));
        assert_eq!((run.of, run.since), (SpanKind::Run { redrives: 0 }, Timestamp(START_MS as i64)));
        assert!(a.since <= a.until && a.until <= run.until);
        let cause = include_execution_data.then_some("C");
        assert_eq!((b.cause.as_deref(), run.cause.as_deref()), (cause, cause));
    }
}

#[tokio::test]
async fn states_in_branches_hang_below_the_state_around_them() {
    let (world, outlet) = world(0.0);
    let branches = world.define(BRANCHES).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(traced(batch(1, branches, Mode::Express, &["1"]))).await;
    world.clock.advance(Duration::from_secs(10));
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let pages = taken(&shard, &outlet).await;
    let spans = spans(&pages);
    let find = |name: &str| *spans.iter().find(|span| span.name == name).expect("told");
    let (around, run) = (find("P"), find("orders"));
    assert_eq!((around.parent, around.status), (Some(run.id), "FAILED"));
    for (name, status) in [("W", "ABORTED"), ("V", "SUCCEEDED"), ("F", "FAILED")] {
        assert_eq!((find(name).parent, find(name).status), (Some(around.id), status), "{name}");
    }
    assert_eq!(spans.len(), 5);
    assert!(find("V").until.as_millis() - find("V").since.as_millis() >= 10_000);
}

#[tokio::test]
async fn what_is_open_keeps_its_trace_with_the_next_owner_and_its_spans_their_ids() {
    for mode in [Mode::Standard, Mode::Express] {
        let (world, outlet) = world(0.0);
        let task = world.define(TASK).await;
        let shard = world.shard().await;
        let mut worker = shard.worker(1, 10).await;
        shard.started(traced(batch(1, task, mode, &["1"]))).await;
        let first = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        drop(shard);
        let shard = world.shard().await;
        let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
        let again = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        assert!(first.trace.is_some());
        assert_eq!(again.trace, first.trace, "{mode:?}");
        shard.succeed(1, &again.token, "2").await;
        ticking(&shard, outcomes(&mut watcher, 1)).await;
        let pages = taken(&shard, &outlet).await;
        let ids: Vec<SpanId> = spans(&pages).iter().map(|span| span.id).collect();
        assert_eq!(ids, [id(SpanOf::State(0, 2)), id(SpanOf::Run(0))]);
    }
}

#[tokio::test]
async fn what_was_told_of_a_replayed_execution_is_told_again_with_the_same_ids() {
    const TWO: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":1,"Next":"B"},
        "B":{"Type":"Wait","Seconds":60,"End":true}}}"#;
    let (world, outlet) = world(0.0);
    let two = world.define(TWO).await;
    let shard = world.shard().await;
    shard.started(traced(batch(1, two, Mode::Standard, &["1"]))).await;
    let told = async |shard: &TestShard| {
        let told = async {
            loop {
                let pages = taken(shard, &outlet).await;
                if !pages.is_empty() {
                    return pages;
                }
            }
        };
        soon("a span", ticking(shard, told)).await.remove(0).spans.remove(0)
    };
    world.clock.advance(Duration::from_secs(1));
    let first = told(&shard).await;
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(told(&shard).await, first);
    assert_eq!((first.name.as_str(), first.id), ("A", id(SpanOf::State(0, 2))));
}

#[tokio::test]
async fn a_redriven_run_is_a_span_of_the_same_trace_that_links_to_the_one_before() {
    let (world, outlet) = world(0.0);
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    shard.started(traced(batch(1, task, Mode::Standard, &["1"]))).await;
    let given = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    fail(&shard, &given.token, "No").await;
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let redrive = |reply| Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply };
    ticking(&shard, shard.ask(redrive)).await.expect("redriven");
    let again = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    let parent = again.trace.as_ref().and_then(Option::<TraceContext>::from).expect("a context");
    shard.succeed(1, &again.token, "2").await;
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let pages = taken(&shard, &outlet).await;
    let spans = spans(&pages);
    let [failed, first, state, run] = spans[..] else { panic!("{spans:?}") };
    assert_eq!([failed.parent, state.parent], [Some(first.id), Some(run.id)]);
    assert_eq!((first.id, run.id, run.link), (id(SpanOf::Run(0)), id(SpanOf::Run(1)), Some(first.id)));
    assert_eq!((run.parent, run.status, run.of), (Some(CALLER), "SUCCEEDED", SpanKind::Run { redrives: 1 }));
    assert_eq!(state.id, parent.span_id);
    assert!(state.id != failed.id && run.since > first.since && state.since >= run.since);
}

#[tokio::test]
async fn an_execution_without_a_context_has_a_trace_of_its_own_if_it_is_sampled_and_else_none() {
    for ratio in [1.0, 0.0] {
        let (world, outlet) = world(ratio);
        let task = world.define(TASK).await;
        let shard = world.shard().await;
        let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
        let starts = batch(1, task, Mode::Express, &["1"]);
        // What cannot be read is as if it had not come.
        shard.started(v1::StartBatch { trace: vec![context("what")], ..starts }).await;
        let given = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        shard.succeed(1, &given.token, "2").await;
        ticking(&shard, outcomes(&mut watcher, 1)).await;
        let pages = taken(&shard, &outlet).await;
        let spans = spans(&pages);
        if ratio == 0.0 {
            assert!(given.trace.is_none() && spans.is_empty());
            continue;
        }
        let run = spans.last().expect("told");
        let own = TraceIds::default().trace_of(batch_id(1).execution(0));
        assert_eq!((run.parent, pages[0].trace_id), (None, own));
        let parent = given.trace.as_ref().and_then(Option::<TraceContext>::from).expect("a context");
        assert_eq!((parent.trace_id, parent.span_id), (pages[0].trace_id, spans[0].id));
    }
}

#[tokio::test]
async fn a_context_goes_on_as_it_came_where_no_spans_are_told() {
    let (exporting, outlet) = world(1.0);
    for (world, parent) in [(World::new(), PARENT.to_owned()), (exporting, PARENT.replace("-01", "-00"))] {
        let task = world.define(TASK).await;
        let shard = world.shard().await;
        let mut worker = shard.worker(1, 10).await;
        let trace = vec![context(&parent)];
        shard.started(v1::StartBatch { trace, ..batch(1, task, Mode::Standard, &["1"]) }).await;
        let given = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        assert_eq!(given.trace, Some(context(&parent)));
        assert!(taken(&shard, &outlet).await.is_empty());
    }
}

#[tokio::test]
async fn an_execution_that_may_not_go_on_ends_its_span_with_the_error() {
    let (world, outlet) = world(0.0);
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(traced(batch(1, wait, Mode::SyncExpress, &["1"]))).await;
    assert!(taken(&shard, &outlet).await.is_empty());
    drop(shard);
    let shard = world.shard().await;
    let told = async {
        loop {
            let pages = taken(&shard, &outlet).await;
            if !pages.is_empty() {
                return pages;
            }
        }
    };
    let pages = soon("the end", ticking(&shard, told)).await;
    let spans = spans(&pages);
    let [run] = spans[..] else { panic!("{spans:?}") };
    assert_eq!((run.id, run.parent, run.status), (id(SpanOf::Run(0)), Some(CALLER), "FAILED"));
    assert!(run.error.is_some() && run.cause.is_none());
}

#[tokio::test]
async fn no_span_leaves_before_the_block_with_its_cause_is_confirmed() {
    let (world, outlet) = world(1.0);
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    world.store.hold_appends();
    let mut answers = shard.start(batch(1, task, Mode::Express, &["1"])).await;
    let given = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &given.token, "2").await;
    shard.settled().await;
    assert!(taken(&shard, &outlet).await.is_empty());
    world.store.release_appends();
    ticking(&shard, next(&mut answers)).await;
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    assert_eq!(spans(&taken(&shard, &outlet).await).len(), 2);
}

#[tokio::test]
async fn spans_that_do_not_fit_are_dropped_and_counted_and_the_execution_goes_on() {
    let cells = Arc::<telemetry::IntakeMetrics>::default();
    let (spans, outlet) = export::intake(IntakeBounds { items: 1, bytes: 1 << 20 }, Arc::clone(&cells));
    let spans = Some((spans, Sampling { ratio: 1.0, followed_per_s: 0.0 }));
    let world = World { outside: Outside { history: None, spans }, ..World::new() };
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Express, &["1", "2", "3"])).await;
    shard.settled().await;
    assert_eq!((cells.offered.get(), cells.dropped.get(), cells.dropped_records.get()), (3, 2, 4));
    assert_eq!(taken(&shard, &outlet).await.len(), 1);
}

#[tokio::test]
async fn the_end_of_a_redriven_execution_that_may_not_go_on_is_of_its_last_run() {
    let (world, outlet) = world(0.0);
    let caught = world.define(TASK).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    shard.started(traced(batch(1, caught, Mode::Standard, &["1"]))).await;
    let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    fail(&shard, &task.token, "E").await;
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    world.clock.advance(TICK);
    let redrive = |reply| Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply };
    let redriven_ms = ticking(&shard, shard.ask(redrive)).await.expect("redriven");
    drop(shard);
    let store = world.store.connect().await.expect("a connection");
    for life in 1..=u64::from(limits::NODE_DEATHS_MAX) {
        let id = batch_id(1).execution(0);
        super::super::suspects::accuse(&*store, id, life, redriven_ms).await.expect("counted");
    }
    while outlet.take().is_some() {}
    let shard = world.shard().await;
    let told = async {
        loop {
            let pages = taken(&shard, &outlet).await;
            if !pages.is_empty() {
                return pages;
            }
        }
    };
    let pages = soon("the end", ticking(&shard, told)).await;
    let spans = spans(&pages);
    let [run] = spans[..] else { panic!("{spans:?}") };
    assert_eq!((run.id, run.link), (id(SpanOf::Run(1)), Some(id(SpanOf::Run(0)))));
    assert_eq!(run.since, Timestamp(redriven_ms as i64));
}

#[tokio::test]
async fn sampled_callers_beyond_what_is_followed_are_counted() {
    let (world, outlet) = world(0.0);
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(traced(batch(1, pass, Mode::Express, &["1"; 150]))).await;
    let starts = batch(2, pass, Mode::Express, &["1"]);
    let trace = vec![context(&PARENT.replace("-01", "-00"))];
    shard.started(v1::StartBatch { trace, ..starts }).await;
    let told = taken(&shard, &outlet).await.len() as u64;
    assert_eq!(told + shard.metrics.traces_not_followed.get(), 150);
    assert!((100..150).contains(&told), "{told}");
}
