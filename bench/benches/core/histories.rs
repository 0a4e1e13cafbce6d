//! What it costs to look: the same executions with nobody looking, with a history collected as Step Functions has it, and as
//! ASW has it.

use asl::history::{AswHistory, Collector, NoObserver};
use bench::profile::Profile;
use criterion::{BenchmarkId, Criterion};

use super::executions::input;
use super::support::{machine, observed, payload};

/// More than any of the executions has.
const EVENTS: usize = 10_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("history");
    for profile in [Profile::Pass, Profile::FiveState, Profile::ThreeTasks, Profile::Map100] {
        let machine = machine(&profile.definition());
        let input = payload(std::str::from_utf8(&input(profile, 200)).expect("UTF-8"));
        group.bench_function(BenchmarkId::new("off", profile.name()), |b| {
            b.iter(|| observed(&machine, input.clone(), &mut NoObserver));
        });
        group.bench_function(BenchmarkId::new("Step Functions", profile.name()), |b| {
            b.iter(|| {
                let mut history = Collector::new(EVENTS);
                observed(&machine, input.clone(), &mut history);
                history.events().len()
            });
        });
        group.bench_function(BenchmarkId::new("ASW", profile.name()), |b| {
            b.iter(|| {
                let mut history = AswHistory::new(EVENTS);
                observed(&machine, input.clone(), &mut history);
                history.events().len()
            });
        });
    }
    group.finish();
}
