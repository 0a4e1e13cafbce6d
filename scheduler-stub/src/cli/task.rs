//! `scheduler-stub task`: how a task went, by its token.
//!
//! What may fail: a token that is none, or whose task is over; and the scheduler.

use std::path::Path;

use bytes::Bytes;
use clap::{Args, Subcommand};
use tonic::Status;

use super::client::{Connection, ended};
use super::files::read;
use super::{Exit, say};

const TOKENS: &str = "\
A token is what `$$.Task.Token` was where a task with `.waitForTaskToken` began. It is good until
the task is over, and with every scheduler and node of its cluster. An outcome is taken once: exit
code 0 says that it is durable. Whoever comes later is refused with TaskTimedOut, as after a
time-out or the execution's end; so is a second call after one that was not answered, if that was
taken.

EXAMPLES
  scheduler-stub task success \"$TOKEN\" --output '{\"approved\": true}'
  echo \"$TOKEN\" | scheduler-stub task failure - --error Refused --cause 'by the reviewer'
  scheduler-stub task heartbeat \"$TOKEN\"";

/// `task …`
#[derive(Debug, Args)]
#[command(after_help = TOKENS)]
pub(super) struct TaskOptions {
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// The task is done, with this output
    #[command(after_help = TOKENS)]
    Success {
        /// The task's token; `-` reads stdin
        token: String,
        /// JSON, at most 262,144 bytes; `@FILE` reads a file, `-` reads stdin
        #[arg(long, default_value = "{}")]
        output: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// The task has failed; the machine may retry or catch it
    #[command(after_help = TOKENS)]
    Failure {
        /// The task's token; `-` reads stdin
        token: String,
        /// Error name, as `Retry` and `Catch` match it: at most 256 characters
        #[arg(long, default_value = "", hide_default_value = true)]
        error: String,
        /// Cause: at most 32,768 characters
        #[arg(long, default_value = "", hide_default_value = true)]
        cause: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// The task is being worked at: what is left of its HeartbeatSeconds begins anew
    #[command(after_help = TOKENS)]
    Heartbeat {
        /// The task's token; `-` reads stdin
        token: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// `task success|failure|heartbeat`
pub(super) async fn run(options: TaskOptions) -> Exit {
    ended(send(options.command).await)
}

async fn send(command: TaskCommand) -> Result<Exit, Status> {
    match command {
        TaskCommand::Success { token, output, connection } => {
            if token == "-" && output == "-" {
                let message = "stdin is either the token or the output: give the other one as an argument";
                return Err(Status::invalid_argument(message));
            }
            let (token, output) = (given(token)?, json(&output)?);
            connection.client().await?.task_success(token, output).await?;
            say("taken: the task has succeeded");
        }
        TaskCommand::Failure { token, error, cause, connection } => {
            connection.client().await?.task_failure(given(token)?, error, cause).await?;
            say("taken: the task has failed");
        }
        TaskCommand::Heartbeat { token, connection } => {
            connection.client().await?.task_heartbeat(given(token)?).await?;
            say("taken: the task is waited for");
        }
    }
    Ok(Exit::Ok)
}

/// A token as it was given, or from stdin, where it may end with a line's end.
fn given(token: String) -> Result<String, Status> {
    if token != "-" {
        return Ok(token);
    }
    let text = read(Path::new("-"))?;
    let token = std::str::from_utf8(&text)
        .map_err(|_| Status::invalid_argument("stdin is no token: it is no text"))?;
    match token.trim() {
        "" => Err(Status::invalid_argument("stdin holds no token")),
        token => Ok(token.to_owned()),
    }
}

fn json(output: &str) -> Result<Bytes, Status> {
    match output.strip_prefix('@') {
        Some(file) => read(Path::new(file)),
        None if output == "-" => read(Path::new("-")),
        None => Ok(Bytes::copy_from_slice(output.as_bytes())),
    }
}
