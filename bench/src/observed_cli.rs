//! `bench observed` and `bench collector` on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bench::error::Error;
use bench::payload::Entropy;
use bench::suite::StoreKind;
use bench::{collector, observed, suite};
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
    /// Also append the figures to perf/observed.jsonl, if there was no error and no shortfall
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Args)]
pub struct Collector {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:4318")]
    listen: SocketAddr,
}

pub async fn run(options: Options) -> Result<ExitCode, Error> {
    let settings = suite::Settings {
        profiles: Vec::new(),
        mode: Mode::Express,
        rate: Some(options.rate),
        max: options.max,
        duration: options.duration,
        store: options.store,
        appendfsync: testkit::AppendFsync::Always,
        dir: options.dir,
        payload_bytes: 200,
        entropy: Entropy::Templated,
        machines: 1,
        observed: None,
        shards: None,
        max_open: None,
        window: None,
        hung: 0,
        through_scheduler: false,
        binaries: binaries()?,
    };
    let found = observed::run(options.rounds, &settings, |observed, report| {
        println!("{:>14}  {}\n{}", "observed", format!("{observed:?}").to_lowercase(), report.table());
    });
    let found = found.await?;
    print!("{}", found.table());
    let shortcomings = found.shortcomings();
    for shortcoming in &shortcomings {
        eprintln!("bench: {shortcoming}");
    }
    if !shortcomings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if options.record {
        suite::write_json(&PathBuf::from("perf/observed.jsonl"), &[found], true)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn collect(options: Collector) -> Result<ExitCode, Error> {
    let ready = |address| println!("collecting at http://{address}");
    collector::serve(options.listen, Arc::default(), ready).await?;
    Ok(ExitCode::SUCCESS)
}
