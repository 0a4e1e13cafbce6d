//! `bench crash`: its options and its manual.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench::crash::cluster::ClusterSettings;
use bench::crash::plan::Blow;
use bench::crash::report::CrashReport;
use bench::crash::{self, CrashStore};
use bench::error::Error;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::duration;

const MANUAL: &str = "\
WHAT IT DOES
  Starts a store, a scheduler and nodes, all from the directory of this program and on free ports, and loads them
  with thirteen machines mixed (Pass, five states, Wait, Tasks, Parallel and Map, Retry, Catch, Fail, names, redrives;
  EXPRESS, STANDARD, synchronous). A plan drawn from --seed hits scheduler, nodes, Redis and the ways between them:
  first one strike of each of --strikes on each class of targets that the store allows, kills before others; then one
  that is drawn after the other, now and then two processes at once, now and then in the middle of the recovery from
  the last. What was hit is started again (or goes on), and once each partition acknowledges again, the next strike
  comes. In the end everything is killed and started anew, and read once more. Proxies on the ways between the processes are there when strikes need them: all but the way to a Redis
  Cluster, whose masters tell their own addresses.

STRIKES
  kill          SIGKILL                              lost-replies  given, and lost on the way with the connection
  stop          SIGSTOP for longer than --lease      cut           connections reset, none accepted for a while
  restart       SIGTERM: of one, or all in turn      partition     nothing passes, and comes later
  slow-store    Redis stops for 100 to 900 ms        delay         20 to 200 ms more each way
  oom           Redis under maxmemory                disk-full     files may grow no further (RLIMIT_FSIZE)

WHAT MUST HOLD
  Each acknowledgement is written to a ledger and synced before it counts. Everything on it is read back before it
  expires: the logs hold one terminal record of it, with the outcome that its machine must give (Redis is read beside
  the nodes, files at the end), and hold it still when everything was started anew; Describe finds it with its input
  and the same outcome: every one of a sample that the seed draws (25 a second, and each that is redriven), once more
  when 0.7 of the retention has passed, and as many others as can be asked for in time. What somebody says is not there
  is lost. Only who is away (UNAVAILABLE and the like) is asked again. No node counts a block that its store lost.
  Histories of STANDARD executions have no gap (each eighth run). No start runs under two ids, no id is given to two
  starts, and what ended unacknowledged is a start without an answer. A name belongs to one execution, a batch sent
  again has no second effect, and a STANDARD task is not handed out again once its outcome is in the journal, or a later
  one of its execution was seen. A redrive that was acknowledged leads to one more end, and what had succeeded is not
  done again. No task of a synchronous execution comes twice, its answer is right, and one that ended with its node is
  closed by another owner. A drain ends with 0, and whatever is refused can be asked again. An execution that three
  kills met is closed as FAILED; such are counted, and three nodes were killed while each ran. Executions end, however
  often something is hit. Anything else is a fault, told with seed, strike and execution; logs, ledger, report and
  Redis's files are then kept. --redis-forgets shows what a loss looks like.
  A run falls short that makes no SIGKILL of scheduler, node or Redis, and one whose strikes out of memory, on a full
  disk or of lost replies never had their effect. The bound that is printed counts the strikes that were drawn.

SIGNALS
  SIGINT, SIGTERM: no further strikes; what was acknowledged is still checked and reported. A second one ends it at
  once. No process is left behind, however the bench ends.

EXIT STATUS
  0 all strikes were made and nothing was lost, 1 a fault or a shortcoming, 2 settings that do not go together,
  3 the run could not begin, 130 stopped early.

EXAMPLES
  bench crash --kills 30 --seed 7
  bench crash --kills 20 --strikes restart,kill --nodes 3
  bench crash --kills 300 --nodes 3 --rate 5000 --seed 1 --record";

/// The options of `bench crash`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Crash {
    /// How many strikes, of all kinds
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    kills: u64,
    /// Which strikes, separated by commas [default: all that the store allows]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STRIKE")]
    strikes: Vec<Blow>,
    /// Of the strikes and of the inputs [default: drawn, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Where executions are kept
    #[arg(long, value_enum, default_value_t = CrashStore::Redis)]
    store: CrashStore,
    /// Nodes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Shards of each node
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    shards: u16,
    /// Partitions of the cluster
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    partitions: u16,
    /// Starts a second, fixed in advance
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// How long closed executions are kept
    #[arg(long, default_value = "60s", value_parser = duration)]
    retention: Duration,
    /// A process that is stopped stands still for 1.2 to 2 times as long; longer than the nodes' lease
    #[arg(long, default_value = "3s", value_parser = duration)]
    lease: Duration,
    /// Let Redis lose everything when it is killed, to see that this test finds it
    #[arg(long)]
    redis_forgets: bool,
    /// Go on with the strikes after a fault
    #[arg(long)]
    keep_going: bool,
    /// Where directories are made; must be on a real disk
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Write the report here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also append the report to perf/crash.jsonl, if nothing was lost
    #[arg(long)]
    record: bool,
}

/// Seconds make a good seed: it is printed, and given back with --seed.
#[allow(
    clippy::disallowed_methods,
    reason = "a seed that differs from run to run; nothing here runs in virtual time"
)]
fn drawn_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() % 1_000_000
}

/// The command line that draws the same strikes and inputs.
fn reproduce(seed: u64) -> String {
    let given: Vec<String> = std::env::args().collect();
    let named = given.iter().any(|argument| argument == "--seed" || argument.starts_with("--seed="));
    let given = given.join(" ");
    if named { given } else { format!("{given} --seed {seed}") }
}

/// Runs it.
///
/// # Errors
/// Processes that do not start.
pub(crate) async fn run(arguments: Crash) -> Result<ExitCode, Error> {
    let here =
        std::env::current_exe().map_err(|source| Error::File { path: "this program".to_owned(), source })?;
    let stop = Arc::new(AtomicBool::new(false));
    let settings = crash::Settings {
        kills: arguments.kills,
        blows: arguments.strikes,
        seed: arguments.seed.unwrap_or_else(drawn_seed),
        cluster: ClusterSettings {
            store: arguments.store,
            nodes: arguments.nodes,
            shards: arguments.shards,
            partitions: arguments.partitions,
            retention: arguments.retention,
            redis_forgets: arguments.redis_forgets,
            links: false,
            dir: arguments.dir,
            binaries: here.parent().map(PathBuf::from).unwrap_or_default(),
        },
        rate: arguments.rate,
        lease: arguments.lease,
        keep_going: arguments.keep_going,
        stop: Arc::clone(&stop),
    };
    eprintln!("bench crash: seed {}", settings.seed);
    let again = reproduce(settings.seed);
    let kept = |directory: &std::path::Path| {
        eprintln!(
            "logs, ledger and report are kept in {}\nthe same strikes again: {again}",
            directory.display()
        );
    };
    let mut signals = Signals::new()?;
    let work = crash::run(&settings, kept);
    tokio::pin!(work);
    let mut stopped = None;
    let report = loop {
        tokio::select! {
            biased;
            number = signals.next() => {
                if stopped.replace(number).is_some() {
                    return Ok(exit_code(number));
                }
                eprintln!("bench crash: stopped; checking what was acknowledged (once more to end at once)");
                stop.store(true, Relaxed);
            }
            report = &mut work => break report?,
        }
    };
    print!("{}", report.table());
    for path in arguments.json.iter() {
        write(path, &report, false)?;
    }
    let shortcomings = report.shortcomings(if stopped.is_some() { 0 } else { settings.kills });
    shortcomings.iter().for_each(|shortcoming| eprintln!("bench crash: {shortcoming}"));
    if !shortcomings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if let Some(number) = stopped {
        return Ok(exit_code(number));
    }
    if arguments.record {
        write(&PathBuf::from("perf/crash.jsonl"), &report, true)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn exit_code(signal: i32) -> ExitCode {
    ExitCode::from(128 + u8::try_from(signal).unwrap_or_default())
}

fn write(path: &std::path::Path, report: &CrashReport, append: bool) -> Result<(), Error> {
    bench::suite::write_json(path, std::slice::from_ref(report), append)
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let watched = |kind| {
            signal(kind).map_err(|error| Error::Process(format!("signals cannot be watched: {error}")))
        };
        Ok(Self {
            interrupt: watched(SignalKind::interrupt())?,
            terminate: watched(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}
