//! Activities in Step Functions' API: their names, and workers that poll for their tasks.
//!
//! Invariants: of one name there is one activity, whoever creates it; deleting one that is not there is no error; a poll
//! that its worker has left takes no task any more, and one that was taken for it times out. What may fail: names, ARNs, the store, too many workers.

use std::time::Duration;

use front::{Answer, Call, Fault, Kind};
use serde::{Deserialize, Serialize};

use super::answer::{page, seconds, text, token};
use super::fault::fault;
use super::machines::{EncryptionConfiguration, Tag, check_encryption};
use super::{Doors, unserved};
use crate::activities::{Activity, Full};
use crate::error::Error;

/// How long a worker waits for a task: less than its connection does, which botocore reads for 60 seconds.
const POLL_PATIENCE: Duration = Duration::from_secs(55);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    encryption_configuration: Option<EncryptionConfiguration>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    activity_arn: String,
    creation_date: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    activity_arn: String,
    name: String,
    creation_date: f64,
}

impl From<Activity> for Described {
    fn from(activity: Activity) -> Self {
        let Activity { arn: activity_arn, name, created_ms, .. } = activity;
        Self { activity_arn, name, creation_date: seconds(created_ms) }
    }
}

async fn create(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let CreateInput { name, tags, encryption_configuration } = call.read()?;
    check_encryption(encryption_configuration).map_err(|error| fault(&call, error))?;
    let created = doors.activities.create_tagged(&name, Tag::map(tags)).await;
    let Activity { arn, created_ms, .. } = created.map_err(|error| fault(&call, error))?;
    Answer::of(&Created { activity_arn: arn, creation_date: seconds(created_ms) })
}

async fn describe(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        #[serde(flatten)]
        activity: Described,
        encryption_configuration: EncryptionConfiguration,
    }
    let described = doors.activities.describe(call.text("activityArn").unwrap_or_default()).await;
    let activity = described.map_err(|error| fault(&call, error))?.into();
    Answer::of(&Output { activity, encryption_configuration: EncryptionConfiguration::OWNED })
}

async fn list(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        max_results: Option<u32>,
        next_token: Option<String>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        activities: Vec<Described>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    let Input { max_results, next_token } = call.read()?;
    let listed = doors.activities.list(page(max_results), &next_token.unwrap_or_default()).await;
    let (activities, next) = listed.map_err(|error| fault(&call, error))?;
    let activities = activities.into_iter().map(Described::from).collect();
    Answer::of(&Output { activities, next_token: token(next) })
}

async fn delete(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match doors.activities.delete(call.text("activityArn").unwrap_or_default()).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(Answer::empty()),
        Err(error) => Err(fault(&call, error)),
    }
}

async fn get_task(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Task<'a> {
        task_token: &'a str,
        input: &'a str,
    }
    let activity = call.text("activityArn").unwrap_or_default();
    doors.activities.check(activity).await.map_err(|error| fault(&call, error))?;
    let worker = call.text("workerName").unwrap_or_default().to_owned();
    let task = match doors.polls.get_within(activity, worker, POLL_PATIENCE).await {
        Ok(task) => task,
        Err(Full::Workers) => {
            let message = Error::from(Full::Workers).to_string();
            return Err(Fault::new(Kind::ActivityWorkerLimitExceeded, message));
        }
        Err(full) => return Err(fault(&call, Error::from(full))),
    };
    if task.task_token.is_empty() {
        return Ok(Answer::empty());
    }
    Answer::of(&Task { task_token: &task.task_token, input: text(&task.input)? })
}

/// Serves the operations of this module.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "CreateActivity" => create(doors, call).await,
        "DescribeActivity" => describe(doors, call).await,
        "ListActivities" => list(doors, call).await,
        "DeleteActivity" => delete(doors, call).await,
        "GetActivityTask" => get_task(doors, call).await,
        _ => Err(unserved(&call)),
    }
}
