//! `bench observed`, `bench outage` and `bench collector` on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::error::Error;
use bench::payload::Entropy;
use bench::suite::StoreKind;
use bench::{collector, observed, outage, suite};
use clap::Args;
use proto::executor::v1::Mode;

use crate::{binaries, duration};

#[derive(Debug, Args)]
pub struct Options {
    /// Executions a second, fixed in advance
    #[arg(long, default_value_t = 115_741, conflicts_with = "max")]
    rate: u64,
    /// Closed loop: as fast as acknowledgements come back
    #[arg(long)]
    max: bool,
    /// How long starts are made in each period, for example 15s
    #[arg(long, default_value = "15s", value_parser = duration)]
    duration: Duration,
    /// Pairs of periods, one without and one with everything
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Which store
    #[arg(long, value_enum, default_value_t = StoreKind::Redis)]
    store: StoreKind,
    /// Where the stores' directories are made; must be on a real disk
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Also append the figures to perf/observed.jsonl, if there was no error and no shortfall, whatever the cost
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Args)]
pub struct Outage {
    /// Executions a second, each told in full
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How long each of the four periods is, for example 30s
    #[arg(long, default_value = "12s", value_parser = duration)]
    each: Duration,
    /// Bytes of each input
    #[arg(long, default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    payload: u32,
    /// Which store
    #[arg(long, value_enum, default_value_t = StoreKind::Redis)]
    store: StoreKind,
    /// Where the store's directory is made
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Also append the figures to perf/outage.jsonl, if there was no fault
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Args)]
pub struct Collector {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:4318")]
    listen: SocketAddr,
}

/// Clusters without anything of their own.
pub(crate) fn settings(store: StoreKind, dir: PathBuf) -> Result<suite::Settings, Error> {
    Ok(suite::Settings {
        profiles: Vec::new(),
        mode: Mode::Express,
        rate: None,
        max: false,
        duration: Duration::ZERO,
        store,
        appendfsync: testkit::AppendFsync::Always,
        dir,
        payload_bytes: 200,
        entropy: Entropy::Templated,
        machines: 1,
        observed: None,
        node_flags: Vec::new(),
        scheduler_flags: Vec::new(),
        shards: None,
        max_open: None,
        window: None,
        hung: 0,
        through_scheduler: false,
        binaries: binaries()?,
    })
}

pub async fn run(options: Options) -> Result<ExitCode, Error> {
    let Options { rate, max, duration, rounds, store, dir, record } = options;
    let settings = suite::Settings { rate: Some(rate), max, duration, ..settings(store, dir)? };
    let found = observed::run(rounds, &settings, |observed, report| {
        println!("{:>14}  {}\n{}", "observed", format!("{observed:?}").to_lowercase(), report.table());
    });
    let found = found.await?;
    print!("{}", found.table());
    let (shortcomings, excess) = (found.shortcomings(), found.excess());
    for told in shortcomings.iter().chain(&excess) {
        eprintln!("bench: {told}");
    }
    if record && shortcomings.is_empty() {
        suite::write_json(&PathBuf::from("perf/observed.jsonl"), &[found], true)?;
    }
    let good = shortcomings.is_empty() && excess.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub async fn outage(options: Outage) -> Result<ExitCode, Error> {
    let Outage { rate, each, payload, store, dir, record } = options;
    let load = outage::Settings { rate, each, payload_bytes: payload as usize };
    let found = outage::run(&load, &settings(store, dir)?).await?;
    print!("{}", found.table());
    if !found.faults.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if record {
        suite::write_json(&PathBuf::from("perf/outage.jsonl"), &[found], true)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn collect(options: Collector) -> Result<ExitCode, Error> {
    let ready = |address| println!("collecting at http://{address}");
    collector::serve(options.listen, ready).await?;
    Ok(ExitCode::SUCCESS)
}
