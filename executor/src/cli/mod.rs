//! The command line: one file for each subcommand, thin shells over the library.
//!
//! Each subcommand has its options (clap derive, whose doc comments are the manual) and one function that
//! takes them and says how the process exits. Exit codes are a promise, see [`Exit`]. Nothing here is needed
//! by who embeds a node.

mod conform;
mod dialect;
mod files;
mod inspect;
mod run;
mod serve;
mod test_state;
mod top;
mod validate;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// How the process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// The command worked, and found what it looks for: an invalid definition, a failed run.
    Finding = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// A file cannot be read; the store, the network or the node itself failed; a drain was cut short.
    Internal = 3,
}

/// Why nothing was done.
type Refusal = (Exit, String);

/// Shows what a command found on standard output, or why it did nothing on standard error.
fn show(outcome: Result<(String, Exit), Refusal>) -> Exit {
    match outcome {
        Ok((shown, exit)) => {
            let mut out = io::stdout().lock();
            match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => exit,
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
                Err(error) => show(Err((Exit::Internal, format!("error: standard output: {error}")))),
            }
        }
        Err((exit, message)) => {
            let _ = writeln!(io::stderr().lock(), "{}", message.trim_end());
            exit
        }
    }
}

const MANUAL: &str = "\
EXIT CODES
  0  done    1  a finding: an invalid definition, a failed run
  2  the command line or the configuration is wrong
  3  a file cannot be read; the store, the network or the node failed; a drain was cut short

EXAMPLES
  executor validate order.asl.json            every problem, with line, column and a caret
  executor run order.asl.json --input '{}'    one execution in virtual time, every event shown
  executor test-state order.asl.json --state Pay --mock '{\"result\": {}}'
                                              one state alone, and its data between its fields
  executor serve                              a node on this machine, executions kept in memory
  executor serve --store-dir /var/lib/myriad  the same, durable
  executor inspect partitions --redis-url redis://10.0.0.5:6379
                                              what the store holds, beside running nodes
  executor top 10.0.0.6 10.0.0.7              rates, latencies, hottest machines of two nodes
  executor serve --redis-url redis://10.0.0.5:6379 --listen 0.0.0.0:7400 --allow-plaintext

UNITS
  Durations are written 500ms, 30s, 5m, 1h, 7d; sizes 64KiB, 4MiB, 1GiB, or a number of bytes.

Each command has its own manual: `executor serve --help`.";

/// Runs state machines in the Amazon States Language and TCSL.
#[derive(Debug, Parser)]
#[command(name = "executor", version, after_help = MANUAL, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node: accepts executions over gRPC and drives them to their end
    Serve(Box<serve::ServeOptions>),
    /// Check definitions, and show every problem with its place
    Validate(validate::ValidateOptions),
    /// Run one execution here, in virtual time, and show every event
    Run(run::RunOptions),
    /// Test one state alone, with a mock of its work, and show its data between its fields
    TestState(Box<test_state::TestStateOptions>),
    /// Read a store beside its nodes: partitions, blocks, one execution's journal
    Inspect(inspect::InspectOptions),
    /// Show what nodes do now: rates, latencies, hottest machines, shards, targets of tasks
    Top(top::TopOptions),
    /// Answer conformance cases: one JSON object a line in, one reply a line out
    Conform(conform::ConformOptions),
}

/// The whole program: arguments in, exit code out.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = match Cli::try_parse_from(arguments) {
        Ok(cli) => match cli.command {
            Command::Serve(options) => serve::run(*options),
            Command::Validate(options) => validate::run(&options),
            Command::Run(options) => run::run(&options),
            Command::TestState(options) => test_state::run(&options),
            Command::Inspect(options) => inspect::run(&options),
            Command::Top(options) => top::run(&options),
            Command::Conform(options) => conform::run(&options),
        },
        Err(error) => {
            // A closed pipe is no reason to fail: `executor --help | head`.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Ok }
        }
    };
    ExitCode::from(exit as u8)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_manual_complete_in_lines_that_fit() {
        let faults = testkit::manual::faults(&Cli::command());
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
