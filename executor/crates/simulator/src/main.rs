//! Runs many seeds and says what they came to.
//!
//! `cargo run --release -p simulator -- --seeds 100000`

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use simulator::machines::Catalogue;
use simulator::{Mutations, Report, points, run};

/// Simulate clusters, one for each seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print what happens.
    #[arg(long)]
    trace: bool,
}

/// Time that this process has had of a CPU.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn add(sum: &mut Report, one: Report) {
    sum.steps += one.steps;
    sum.process_us += one.process_us;
    sum.acknowledged += one.acknowledged;
    sum.crashes += one.crashes;
    sum.fenced += one.fenced;
    sum.stale_tasks += one.stale_tasks;
    (0..3).for_each(|at| sum.went_back[at] += one.went_back[at]);
    sum.answered_again += one.answered_again;
    sum.refused_early += one.refused_early;
    sum.carried += one.carried;
    sum.from_checkpoints += one.from_checkpoints;
    for (point, count) in one.hits {
        *sum.hits.entry(point).or_default() += count;
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let catalogue = match Catalogue::compile() {
        Ok(catalogue) => catalogue,
        Err(error) => {
            eprintln!("the machines do not compile: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (begun, mut sum, mut broken) = (cpu(), Report::default(), 0);
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        match run(seed, &catalogue, Mutations::default(), arguments.trace) {
            Ok(report) => add(&mut sum, report),
            Err(violation) => {
                broken += 1;
                println!("{violation}");
            }
        }
    }
    let minutes = (cpu() - begun).as_secs_f64() / 60.0;
    let hours = sum.process_us as f64 / 3.6e9;
    let missed = points::all().filter(|point| !sum.hits.contains_key(point)).count();
    println!("seeds            {:>12}", arguments.seeds);
    println!("violations       {broken:>12}");
    println!("steps            {:>12}", sum.steps);
    println!("acknowledged     {:>12} executions", sum.acknowledged);
    println!("crashes          {:>12}", sum.crashes);
    println!("crash points     {:>12} of {} hit", points::all().count() - missed, points::all().count());
    println!("answered again   {:>12} entries of batches that were answered before", sum.answered_again);
    println!("refused early    {:>12} starts, for a name whose holder was not durable", sum.refused_early);
    println!("carried          {:>12} executions into later blocks", sum.carried);
    println!("from checkpoints {:>12} recoveries", sum.from_checkpoints);
    println!("fenced           {:>12} calls of owners whom others had followed", sum.fenced);
    println!(
        "stale tasks      {:>12} given out by such owners after their outcome was in the log",
        sum.stale_tasks
    );
    let [lacked, lost, with_owner] = sum.went_back;
    println!(
        "went back        {lacked:>12} blocks that replicas lacked: {lost} counted as lost, {with_owner} lost with their owner"
    );
    println!(
        "simulated        {hours:>12.1} node-hours in {minutes:.2} minutes of CPU: {:.0} a minute",
        hours / minutes
    );
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
