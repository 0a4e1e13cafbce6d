//! What states do around their data: variables, branches, tasks, waits, errors; and TCSL.

use std::sync::Arc;

use asl::Dialect;
use asl::execution::Machine;
use asl::history::NoObserver;
use asl::simulate::Answer;
use asl::{Outcome, Str};
use criterion::{Criterion, Throughput};

use super::support::{FUNCTION, ORDER, machine, machine_in, one_state, parsed, run, served, succeeds};

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state");
    let input = parsed(ORDER);
    let mut bench = |name: &str, machine: &Arc<Machine>| {
        succeeds(machine, &input);
        group.bench_function(name, |b| b.iter(|| run(machine, input.clone())));
    };
    bench("Pass", &one_state(r#"{"Type":"Pass","End":true}"#));
    bench(
        "Pass with Result",
        &one_state(r#"{"Type":"Pass","Result":{"a":1},"ResultPath":"$.r","End":true}"#),
    );
    bench("Wait", &one_state(r#"{"Type":"Wait","Seconds":1,"End":true}"#));
    bench("Task", &one_state(&format!(r#"{{"Type":"Task","Resource":"{FUNCTION}","End":true}}"#)));
    bench(
        "Task with its times",
        &one_state(&format!(
            r#"{{"Type":"Task","Resource":"{FUNCTION}","TimeoutSeconds":9,"HeartbeatSeconds":3,"End":true}}"#
        )),
    );
    bench(
        "Task by QRN, in TCSL",
        &machine_in(
            r#"{"StartAt":"S","States":{"S":{"Type":"Task","End":true,
                "Resource":"qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:cvm:DescribeZones"}}}"#,
            Dialect::Tcsl,
        ),
    );
    bench(
        "Pass, in TCSL",
        &machine_in(r#"{"StartAt":"S","States":{"S":{"Type":"Pass","End":true}}}"#, Dialect::Tcsl),
    );
    bench("Assign", &assigning(r#""Assign":{"total.$":"$.total"},"#, r#"{"it.$":"$.total"}"#));
    bench("Assign, and read", &assigning(r#""Assign":{"total.$":"$.total"},"#, r#"{"it.$":"$total"}"#));
    bench("without Assign", &assigning("", r#"{"it.$":"$.total"}"#));
    group.finish();
    branches(criterion);
    errors(criterion);
}

/// A state that assigns, and one that reads.
fn assigning(assign: &str, parameters: &str) -> Arc<Machine> {
    machine(&format!(
        r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass",{assign}"Next":"B"}},
            "B":{{"Type":"Pass","Parameters":{parameters},"End":true}}}}}}"#
    ))
}

/// Parallel, for each branch.
fn branches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parallel");
    let input = parsed(ORDER);
    for count in [1, 2, 10] {
        let branch =
            |at| format!(r#"{{"StartAt":"P{at}","States":{{"P{at}":{{"Type":"Pass","End":true}}}}}}"#);
        let branches = (0..count).map(branch).collect::<Vec<_>>().join(",");
        let machine = one_state(&format!(r#"{{"Type":"Parallel","Branches":[{branches}],"End":true}}"#));
        succeeds(&machine, &input);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} branches"), |b| b.iter(|| run(&machine, input.clone())));
    }
    group.finish();
}

/// Retry and Catch: the function fails with an error that one of them takes.
fn errors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("error");
    let input = parsed(ORDER);
    let task = |field: &str| {
        machine(&format!(
            r#"{{"StartAt":"T","States":{{"T":{{"Type":"Task","Resource":"{FUNCTION}",{field},"Next":"End"}},
                "End":{{"Type":"Succeed"}}}}}}"#
        ))
    };
    let retry = task(r#""Retry":[{"ErrorEquals":["Busy"],"MaxAttempts":3}]"#);
    let catch = task(r#""Catch":[{"ErrorEquals":["Busy"],"ResultPath":"$.error","Next":"End"}]"#);
    for (name, machine, failures) in [("Retry, three times", &retry, 3), ("Catch", &catch, 1)] {
        let run = || {
            let mut left = failures;
            let mut answer = |request: &asl::simulate::Request<'_>| {
                left -= 1;
                if left < 0 {
                    return Answer::Succeeds(request.input.clone());
                }
                Answer::Fails(Str::from("Busy"), Str::from("come again"))
            };
            served(machine, input.clone(), &mut answer, &mut NoObserver)
        };
        assert!(matches!(run(), Outcome::Succeeded(_)), "{name}");
        group.bench_function(name, |b| b.iter(run));
    }
    group.finish();
}
