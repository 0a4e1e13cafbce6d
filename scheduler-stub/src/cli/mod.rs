//! The command line: thin shells over the library. Exit codes are a promise, see [`Exit`].

mod about;
mod activity;
mod auth;
mod client;
mod cloud;
mod drain;
mod files;
mod http;
mod logging;
mod machine;
mod nodes;
mod serve;
mod start;
mod task;
mod trace;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tonic_types::StatusExt as _;
use trust::{TlsFlags, Trust};

use crate::error::Error;
use crate::signals::{Asked, Signals};

/// Reads the certificates; `None` where there is to be no TLS.
pub(crate) fn trust(flags: &TlsFlags) -> Result<Option<Trust>, Error> {
    flags.settings().trust().map_err(|error| Error::invalid("InvalidCertificate", error.to_string()))
}

/// Watches for the signals that end us; says so where that cannot be.
pub(crate) fn signals() -> Result<Signals, Exit> {
    Signals::watch().map_err(|error| {
        eprintln!("error: signals cannot be watched: {error}");
        Exit::Internal
    })
}

/// How the process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// The scheduler refused, or an execution that was waited for did not succeed.
    Finding = 1,
    /// The command line is wrong, or a file that it names cannot be read.
    Usage = 2,
    /// The network, the store or the scheduler failed.
    Internal = 3,
    /// SIGINT came before it was done: as shells tell it, 128 and the signal's number.
    Interrupted = 130,
    /// SIGTERM came before it was done.
    Terminated = 143,
}

impl From<Asked> for Exit {
    /// How a process ends that was asked to end before it was done.
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Interrupt => Self::Interrupted,
            Asked::Terminate => Self::Terminated,
        }
    }
}

const MANUAL: &str = "\
EXIT CODES
  0  done
  1  refused (bad definition, unknown machine, …), or an execution that --wait waited for did not
     succeed
  2  the command line is wrong, or a file that it names cannot be read
  3  the network, the store or the scheduler failed
  130, 143  SIGINT or SIGTERM ended it before it was done. Servers (serve, auth, cloud, and
     quickstart --serve once its run is over) end with 0: they are done when they are told to end

EXAMPLES
  scheduler-stub quickstart                      everything in one process: see real workflows run
  scheduler-stub serve --node 127.0.0.1:7400     a scheduler for the node that listens there
  scheduler-stub nodes                           who lives, and who has what
  scheduler-stub drain 127.0.0.1:7400            that node hands over what it has, and ends
  scheduler-stub machine create orders orders.asl.json
  scheduler-stub start orders --input '{\"orderId\": \"A-1\"}' --wait
  scheduler-stub history EXECUTION
  scheduler-stub list orders --status failed
  scheduler-stub task success TOKEN --output '{\"approved\": true}'

Commands for people take MACHINE as an ARN, a QRN or a bare name, and EXECUTION as an id, an ARN
or a QRN. They speak to the scheduler of --scheduler (environment: MYRIAD_SCHEDULER). Each command
has its own manual: `scheduler-stub start --help`.";

/// Schedules executions of state machines onto nodes: templates, placement, dispatch in batches.
#[derive(Debug, Parser)]
#[command(name = "scheduler-stub", version, about, after_help = MANUAL, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process: a store, a node, a scheduler, workers, and example workflows that run
    Quickstart(crate::quickstart::Options),
    /// Run a scheduler
    Serve(Box<serve::ServeOptions>),
    /// Run a stub of the authorization service: temporary keys of roles, and faults on demand
    Auth(Box<auth::AuthOptions>),
    /// Run a stub of the clouds that Tasks call: it verifies signatures, runs functions, and has jobs that take time
    Cloud(cloud::CloudOptions),
    /// Show the nodes, their shards, and which partitions they have
    Nodes(nodes::NodesOptions),
    /// Drain a node: its partitions go to others, and it ends
    Drain(drain::DrainOptions),
    /// Create, update, describe, list and delete state machines
    Machine(machine::MachineOptions),
    /// Create, describe, list and delete activities, and poll them
    Activity(activity::ActivityOptions),
    /// Start an execution
    Start(start::StartOptions),
    /// Stop an execution
    Stop(client::StopOptions),
    /// Have an execution that ended without success go on from where it failed
    Redrive(client::RedriveOptions),
    /// Describe an execution: status, input, output
    Describe(client::ExecutionOptions),
    /// List the executions of a machine, newest first
    List(client::ListOptions),
    /// Show an execution's history as a timeline, or as JSON
    History(client::HistoryOptions),
    /// Say how a task that waits for its token went
    Task(task::TaskOptions),
}

/// The whole program: arguments in, exit code out.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to fail: `scheduler-stub --help | head`.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Ok } as u8);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return ExitCode::from(Exit::Internal as u8);
        }
    };
    let exit = runtime.block_on(run(cli.command));
    // Tasks that still run hold nothing that must be kept.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

async fn run(command: Command) -> Exit {
    match command {
        Command::Quickstart(options) => crate::quickstart::run(options).await,
        Command::Serve(options) => serve::run(*options).await,
        Command::Auth(options) => auth::run(*options).await,
        Command::Cloud(options) => cloud::run(options).await,
        Command::Nodes(options) => nodes::run(options).await,
        Command::Drain(options) => drain::run(options).await,
        Command::Machine(options) => machine::machine(options).await,
        Command::Activity(options) => activity::run(options).await,
        Command::Start(options) => start::start(options).await,
        Command::Stop(options) => client::stop(options).await,
        Command::Redrive(options) => client::redrive(options).await,
        Command::Describe(options) => client::describe(options).await,
        Command::List(options) => client::list(options).await,
        Command::History(options) => client::history(options).await,
        Command::Task(options) => task::run(options).await,
    }
}

/// Prints a line. A reader that has gone away (`| head`) is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A scheduler's own words; where the transport failed, what to look at.
fn words(status: &tonic::Status) -> String {
    let transport = std::error::Error::source(status);
    let late = status.code() == tonic::Code::DeadlineExceeded
        || transport.is_some_and(|source| source.is::<tonic::TimeoutExpired>());
    match transport {
        _ if late => {
            "no answer came in time: it may have been done or not; look before you ask again, and see with \
                      `scheduler-stub nodes` whether every partition is served"
                .to_owned()
        }
        None => named(status),
        Some(_) => format!(
            "the connection broke ({}): see whether a scheduler runs there and still does, or give its address with \
             --scheduler",
            trust::with_causes(status.message(), status)
        ),
    }
}

/// The message after the reason by which programs know the refusal, and which the documentation explains.
fn named(status: &tonic::Status) -> String {
    let (message, details) = (status.message(), status.get_error_details());
    match details.error_info().map(|info| info.reason.as_str()).filter(|reason| !reason.is_empty()) {
        Some(reason) if !message.starts_with(&format!("{reason}: ")) => format!("{reason}: {message}"),
        _ => message.to_owned(),
    }
}

/// Says what went wrong, in the scheduler's words, and how the process exits.
pub(crate) fn complain(status: &tonic::Status) -> Exit {
    eprintln!("error: {}", words(status));
    let ours = status.get_error_details().error_info().is_none();
    match status.code() {
        // We have found it ourselves, before anybody was asked.
        tonic::Code::InvalidArgument if ours => Exit::Usage,
        tonic::Code::Unavailable
        | tonic::Code::Internal
        | tonic::Code::Unknown
        | tonic::Code::Cancelled
        | tonic::Code::DeadlineExceeded => Exit::Internal,
        _ => Exit::Finding,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_reason_once() {
        let reason = tonic_types::ErrorDetails::with_error_info("TaskTimedOut", "executor.myriad", []);
        let refused = |message: &str| {
            tonic::Status::with_error_details(tonic::Code::FailedPrecondition, message, reason.clone())
        };
        assert_eq!(words(&refused("the task is over")), "TaskTimedOut: the task is over");
        assert_eq!(words(&refused("TaskTimedOut: it is over")), "TaskTimedOut: it is over");
        assert_eq!(words(&tonic::Status::not_found("no such activity")), "no such activity");
    }

    #[test]
    fn what_is_wrong_with_the_command_line_is_no_refusal() {
        let reason = tonic_types::ErrorDetails::with_error_info("InvalidName", "scheduler.myriad", []);
        let refused = tonic::Status::with_error_details(tonic::Code::InvalidArgument, "no name", reason);
        assert_eq!(complain(&refused), Exit::Finding);
        assert_eq!(complain(&tonic::Status::invalid_argument("no such file")), Exit::Usage);
        assert_eq!(complain(&tonic::Status::not_found("no such machine")), Exit::Finding);
        assert_eq!(complain(&tonic::Status::unavailable("nobody listens")), Exit::Internal);
    }

    #[test]
    fn the_command_line_is_consistent_and_its_manual_complete_in_lines_that_fit() {
        let faults = testkit::manual::faults(&Cli::command());
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
