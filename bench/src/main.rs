//! `bench`: load, suite, recovery, observed, http, worker, crash.

mod crash_cli;
mod http_cli;
mod observed_cli;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::error::Error;
use bench::machine::Machine;
use bench::payload::Entropy;
use bench::profile::{ECHO_POOL, Profile};
use bench::report::Report;
use bench::suite::{self, StoreKind};
use bench::{load, peer, recovery, worker};
use clap::{Args, Parser, Subcommand, ValueEnum};
use proto::executor::v1::Mode;
use tokio::signal::unix::{SignalKind, signal};
use trust::TlsFlags;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that an input may have: the quota of Step Functions, which the node enforces.
const PAYLOAD_BYTES_MAX: i64 = 262_144;

/// Honest figures for Myriad: an open-loop load generator, and a suite that starts everything it measures.
///
/// Exit status: 0 good, 1 a run had errors or fell short of its offered rate, 2 wrong usage, 3 a run is void or could
/// not begin, 130 and 143 the suite was stopped by SIGINT or SIGTERM.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    tls: TlsFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a running node (or scheduler), and print what came back.
    ///
    /// Open loop: when each execution starts is fixed in advance, and latencies count from that instant. With --max the
    /// loop is closed: a fixed number of executions is kept on its way, which finds the highest rate; its latencies say
    /// nothing about a user's.
    Load(Load),
    /// Start a Redis on a free port and all processes, run the profiles, read the store back, print and record.
    Suite(Suite),
    /// Kill a node with so many executions open, start it again, and say how long it took to serve (T12). In the end a worker
    /// does what is left, and each execution must have ended once.
    Recovery(Recovery),
    /// Compare a node that is scraped and exports metrics, histories and logs with one that nobody looks at, in turns; one start
    /// in a hundred fails, one is exported in full.
    Observed(observed_cli::Options),
    /// Let those who look at a node hang, refuse and come back under load, and see that executions know nothing of it, that its
    /// memory stays bounded and that every drop is counted.
    Outage(observed_cli::Outage),
    /// Start executions one by one through the front door, by signed HTTP/1.1 calls on connections that are kept, and look a sample
    /// of them up.
    Http(http_cli::Options),
    /// Serve a worker pool that answers every task with its input.
    Worker(Worker),
    /// Answer every HTTP request with its body, for Tasks that call over HTTP.
    Peer(PeerOptions),
    /// Take what nodes export by OTLP over HTTP, and look at nothing.
    Collector(observed_cli::Collector),
    /// Kill every process at random under load, and read back everything that was acknowledged.
    Crash(crash_cli::Crash),
}

#[derive(Debug, Args)]
struct Common {
    /// Executions a second, fixed in advance [default: 115741; map-100 and three-calls 5000; three-tasks 30000, with standard 20000]
    #[arg(long, conflicts_with = "max")]
    rate: Option<u64>,
    /// Closed loop: as fast as acknowledgements come back
    #[arg(long)]
    max: bool,
    /// How long starts are made, for example 20s or 1m
    #[arg(long, default_value = "20s", value_parser = duration)]
    duration: Duration,
    /// How executions are kept
    #[arg(long, value_enum, default_value_t = Kept::Express)]
    mode: Kept,
    /// Bytes of each input
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=PAYLOAD_BYTES_MAX))]
    payload: u32,
    /// How predictable the inputs are
    #[arg(long, value_enum, default_value_t = Entropy::Templated)]
    entropy: Entropy,
    /// Different machines mixed in each batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    machines: u16,
    /// With --max: executions on their way for each shard [default: 32768; three-calls 2048]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// Write the figures here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Load {
    /// The node's public address
    #[arg(long, default_value = "127.0.0.1:7400")]
    node: String,
    /// Send the batches through the scheduler at this address
    #[arg(long)]
    scheduler: Option<String>,
    /// What to run
    #[arg(long, value_enum, default_value_t = Profile::Pass)]
    profile: Profile,
    /// The HTTP peer that three-calls calls (`bench peer`)
    #[arg(long, value_name = "URL", required_if_eq("profile", "three-calls"))]
    peer: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Suite {
    /// Only this profile (may be given several times) [default: all]
    #[arg(long, value_enum)]
    only: Vec<Profile>,
    /// Which store
    #[arg(long, value_enum, default_value_t = StoreKind::Redis)]
    store: StoreKind,
    /// When Redis writes its log through to the disk
    #[arg(long, value_enum, default_value_t = Fsync::Always)]
    appendfsync: Fsync,
    /// Where the store's directory is made; must be on a real disk
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Shards of the node [default: the node's own]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(suite::SHARDS_MAX)))]
    shards: Option<u16>,
    /// Send the batches through the scheduler
    #[arg(long)]
    through_scheduler: bool,
    /// With three-calls: leave the node with so many calls to a second peer, which never answers. Runs of at most 50s: then
    /// calls are given up
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=8_000))]
    hung: u32,
    /// Also append the figures to perf/baseline.jsonl, if no run had errors or fell short
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Recovery {
    /// Executions that are open when the node is killed
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(256..=4_000_000))]
    open: u64,
    /// For each of them, executions that were logged and have ended
    #[arg(long, default_value_t = 10)]
    closed: u64,
    /// Starts a second of those that end
    #[arg(long, default_value_t = 115_741, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How often the node is killed
    #[arg(long, default_value_t = 3)]
    kills: u32,
    /// How the open ones are kept; STANDARD ones have the outcome of a task in their journal
    #[arg(long, value_enum, default_value_t = Kept::Express)]
    mode: Kept,
    /// Which store
    #[arg(long, value_enum, default_value_t = StoreKind::Redis)]
    store: StoreKind,
    /// Where the store's directory is made; must be on a real disk
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Also append the figures to perf/recovery.jsonl
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Args)]
struct PeerOptions {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7800")]
    listen: std::net::SocketAddr,
    /// Take requests and never answer
    #[arg(long)]
    hang: bool,
}

#[derive(Debug, Args)]
struct Worker {
    /// The node's public address
    #[arg(long, default_value = "127.0.0.1:7400")]
    node: String,
    /// Which pool to serve
    #[arg(long, default_value = ECHO_POOL)]
    pool: String,
    /// How long each task takes, for example 5ms
    #[arg(long, default_value = "0ms", value_parser = duration)]
    delay: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kept {
    /// At least once, restarts from its input
    Express,
    /// Continues from its last journalled result
    Standard,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fsync {
    /// Before each reply
    Always,
    /// Once a second
    Everysec,
    /// When the system likes
    No,
}

fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} does not begin with a number: write 20s"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("{text:?} has no known unit: write ms, s or m")),
    }
}

impl Common {
    fn mode(&self) -> Mode {
        self.mode.into()
    }
}

impl From<Kept> for Mode {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Express => Self::Express,
            Kept::Standard => Self::Standard,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = bench::tls::set(&cli.tls) {
        eprintln!("bench: {error}");
        return ExitCode::from(3);
    }
    let outcome = match cli.command {
        Command::Load(load) => run_load(load).await,
        Command::Suite(suite) => until_stopped(run_suite(suite)).await,
        Command::Recovery(recovery) => until_stopped(run_recovery(recovery)).await,
        Command::Observed(options) => until_stopped(observed_cli::run(options)).await,
        Command::Outage(options) => until_stopped(observed_cli::outage(options)).await,
        Command::Http(options) => until_stopped(http_cli::run(options)).await,
        Command::Worker(worker) => run_worker(worker).await,
        Command::Peer(options) => run_peer(options).await,
        Command::Collector(options) => observed_cli::collect(options).await,
        Command::Crash(crash) => crash_cli::run(crash).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::from(if matches!(error, Error::Settings(_)) { 2 } else { 3 })
    })
}

/// The figures stand, and a run with shortcomings is no success.
fn verdict(reports: &[Report]) -> ExitCode {
    let shortcomings: Vec<String> = reports.iter().flat_map(Report::shortcomings).collect();
    for shortcoming in &shortcomings {
        eprintln!("bench: {shortcoming}");
    }
    if shortcomings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `work`; SIGINT and SIGTERM drop it, which stops its processes and removes its files, and give the exit code that
/// a shell gives.
async fn until_stopped(work: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    let watched =
        |kind| signal(kind).map_err(|error| Error::Process(format!("signals cannot be watched: {error}")));
    let mut interrupt = watched(SignalKind::interrupt())?;
    let mut terminate = watched(SignalKind::terminate())?;
    // Ctrl-C reaches the processes as well: what they then fail with comes second.
    let stopped = tokio::select! {
        biased;
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        outcome = work => return outcome,
    };
    let number = stopped.as_raw_value();
    eprintln!("bench: stopped by signal {number}");
    Ok(ExitCode::from(128 + u8::try_from(number).unwrap_or_default()))
}

async fn run_load(arguments: Load) -> Result<ExitCode, Error> {
    let Load { node, scheduler, profile, peer, common } = arguments;
    let mode = common.mode();
    let settings = load::Settings {
        address: node,
        scheduler,
        profile,
        mode,
        rate: (!common.max).then(|| common.rate.unwrap_or_else(|| profile.floor_per_s(mode))),
        duration: common.duration,
        payload_bytes: common.payload as usize,
        entropy: common.entropy,
        machines: usize::from(common.machines),
        observed: None,
        window: common.window.map_or_else(|| profile.window(), |window| window as usize),
        seed: 0x5EED,
        progress: true,
        peer,
    };
    let machine = Machine::look();
    let report = suite::report_of(&settings, load::run(&settings).await?, machine);
    print!("{}", report.table());
    let reports = [report];
    if let Some(path) = &common.json {
        suite::write_json(path, &reports, false)?;
    }
    Ok(verdict(&reports))
}

async fn run_suite(arguments: Suite) -> Result<ExitCode, Error> {
    let Suite { only, store, appendfsync, dir, shards, through_scheduler, hung, record, common } = arguments;
    let settings = suite::Settings {
        profiles: if only.is_empty() { Profile::ALL.to_vec() } else { only },
        mode: common.mode(),
        rate: common.rate,
        max: common.max,
        duration: common.duration,
        store,
        appendfsync: match appendfsync {
            Fsync::Always => testkit::AppendFsync::Always,
            Fsync::Everysec => testkit::AppendFsync::Everysec,
            Fsync::No => testkit::AppendFsync::No,
        },
        dir,
        payload_bytes: common.payload as usize,
        entropy: common.entropy,
        machines: usize::from(common.machines),
        observed: None,
        node_flags: Vec::new(),
        scheduler_flags: Vec::new(),
        shards,
        max_open: None,
        window: common.window.map(|window| window as usize),
        hung,
        through_scheduler,
        binaries: binaries()?,
    };
    let reports = suite::run(&settings, |report| println!("{}", report.table())).await?;
    if let Some(path) = &common.json {
        suite::write_json(path, &reports, false)?;
    }
    let verdict = verdict(&reports);
    if record {
        if verdict == ExitCode::SUCCESS {
            suite::write_json(&PathBuf::from("perf/baseline.jsonl"), &reports, true)?;
        } else {
            eprintln!("bench: nothing was recorded: a baseline has no errors and no shortfall");
        }
    }
    Ok(verdict)
}

/// Where the other programs are: beside this one.
fn binaries() -> Result<PathBuf, Error> {
    let here =
        std::env::current_exe().map_err(|source| Error::File { path: "this program".to_owned(), source })?;
    Ok(here.parent().map(PathBuf::from).unwrap_or_default())
}

async fn run_recovery(arguments: Recovery) -> Result<ExitCode, Error> {
    let Recovery { open, closed, rate, kills, mode, store, dir, record } = arguments;
    let suite = suite::Settings {
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
        max_open: Some(open * 2 + 65_536),
        window: None,
        hung: 0,
        through_scheduler: false,
        binaries: binaries()?,
    };
    let settings = recovery::Settings { open, closed_per_open: closed, rate, kills, mode: mode.into() };
    let found = recovery::run(&settings, &suite).await?;
    print!("{}", found.table());
    if record {
        suite::write_json(&PathBuf::from("perf/recovery.jsonl"), &[found], true)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_peer(options: PeerOptions) -> Result<ExitCode, Error> {
    let PeerOptions { listen, hang } = options;
    peer::serve(listen, hang, || println!("answering at http://{listen}")).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_worker(arguments: Worker) -> Result<ExitCode, Error> {
    let settings = worker::Settings { address: arguments.node, pool: arguments.pool, delay: arguments.delay };
    worker::serve(settings, |shards| println!("serving {shards} shards")).await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_that_cannot_be_run_are_refused_by_the_parser() {
        let refused =
            |arguments: &[&str]| Cli::try_parse_from([&["bench", "suite"], arguments].concat()).is_err();
        for wrong in [["--payload", "262145"], ["--shards", "0"], ["--window", "0"], ["--shards", "38"]] {
            assert!(refused(&wrong), "{wrong:?}");
        }
        for right in [["--payload", "262144"], ["--shards", "37"], ["--window", "1"]] {
            assert!(!refused(&right), "{right:?}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert!(duration("20").is_err_and(|text| text.contains("unit")));
        assert!(duration("fast").is_err());
    }
}
