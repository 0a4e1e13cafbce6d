//! `scheduler-stub activity`: activities, and a worker's poll by hand.
//!
//! What may fail: a name, an ARN, and the scheduler.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tonic::Status;

use super::client::{Connection, ended, time};
use super::{Exit, say};
use crate::client::Client;

const MANUAL: &str = "\
A Task whose `Resource` is the ARN of an activity waits until a worker polls for it, and goes on
with what the worker says by the task's token. ACTIVITY is an ARN or a bare name.

EXAMPLES
  scheduler-stub activity create review
  scheduler-stub activity poll review --worker anna
  scheduler-stub task success \"$TOKEN\" --output '{\"approved\": true}'";

/// `activity …`
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct ActivityOptions {
    #[command(subcommand)]
    command: ActivityCommand,
}

#[derive(Debug, Subcommand)]
enum ActivityCommand {
    /// Create an activity, and print its ARN; one that exists stays as it is
    #[command(after_help = MANUAL)]
    Create {
        /// Its name: 1 to 80 characters
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show an activity, as JSON
    #[command(after_help = MANUAL)]
    Describe {
        /// ARN or name
        activity: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// List all activities
    #[command(after_help = MANUAL)]
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete an activity; tasks that wait for it go on waiting
    #[command(after_help = MANUAL)]
    Delete {
        /// ARN or name
        activity: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Wait for a task for up to a minute, take it, and print its token and input as JSON; exit code 1: there was none
    #[command(after_help = MANUAL)]
    Poll {
        /// ARN or name
        activity: String,
        /// What the worker calls itself in histories: at most 80 characters
        #[arg(long, default_value = "", hide_default_value = true)]
        worker: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// `activity create|describe|list|delete|poll`
pub(super) async fn run(options: ActivityOptions) -> Exit {
    ended(execute(options.command).await)
}

async fn execute(command: ActivityCommand) -> Result<Exit, Status> {
    match command {
        ActivityCommand::Create { name, connection } => {
            say(&connection.client().await?.create_activity(&name).await?.activity_arn);
        }
        ActivityCommand::Describe { activity, connection } => {
            let mut client = connection.client().await?;
            let arn = arn_of(&mut client, &activity).await?;
            let activity = client.activity(&arn).await?;
            let described = json!({
                "activityArn": activity.activity_arn,
                "name": activity.name,
                "creationDate": time(activity.creation_time_ms),
            });
            say(&format!("{described:#}"));
        }
        ActivityCommand::List { connection } => {
            let activities = connection.client().await?.activities().await?;
            if activities.is_empty() {
                say("no activities yet: `scheduler-stub activity create NAME` makes one");
            }
            for activity in activities {
                let created = time(activity.creation_time_ms);
                say(&format!("{:<24} {created}  {}", activity.name, activity.activity_arn));
            }
        }
        ActivityCommand::Delete { activity, connection } => {
            let mut client = connection.client().await?;
            let arn = arn_of(&mut client, &activity).await?;
            client.delete_activity(&arn).await?;
            say(&format!("{arn} is deleted"));
        }
        ActivityCommand::Poll { activity, worker, connection } => {
            let mut client = connection.client().await?;
            let arn = arn_of(&mut client, &activity).await?;
            let task = client.activity_task(&arn, &worker).await?;
            if task.task_token.is_empty() {
                say("no task");
                return Ok(Exit::Finding);
            }
            let input: Value = serde_json::from_slice(&task.input).unwrap_or_default();
            say(&format!("{:#}", json!({ "taskToken": task.task_token, "input": input })));
        }
    }
    Ok(Exit::Ok)
}

/// The ARN of an activity that is given by it, or by its name.
async fn arn_of(client: &mut Client, text: &str) -> Result<String, Status> {
    if text.contains(':') {
        return Ok(text.to_owned());
    }
    let found = client.activities().await?.into_iter().find(|activity| activity.name == text);
    found.map(|activity| activity.activity_arn).ok_or_else(|| {
        Status::not_found(format!("no activity is called {text:?}: `activity list` shows those that exist"))
    })
}
