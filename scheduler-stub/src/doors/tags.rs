//! Tags of machines and activities in Step Functions' API.
//!
//! What may fail: ARNs of anything else, and whatever the core refuses.

use std::collections::BTreeMap;

use executor::shard::is_activity;
use front::{Answer, Call, Fault};
use serde::{Deserialize, Serialize};

use super::fault::fault;
use super::machines::Tag;
use super::{Doors, unserved};
use crate::error::Error;
use crate::templates::parse;

/// What has tags.
enum Resource<'a> {
    Machine(&'a str),
    Activity(&'a str),
}

impl<'a> Resource<'a> {
    fn of(arn: &'a str) -> Result<Self, Error> {
        if is_activity(arn) {
            return Ok(Self::Activity(arn));
        }
        match parse(arn) {
            Ok(parsed) if parsed.qualifier.is_none() => Ok(Self::Machine(arn)),
            _ => {
                let message = "resourceArn names neither a state machine, as a whole, nor an activity: nothing else has tags";
                Err(Error::invalid("InvalidArn", message))
            }
        }
    }
}

async fn tag(doors: &Doors, arn: &str, tags: BTreeMap<String, String>) -> Result<(), Error> {
    match Resource::of(arn)? {
        Resource::Machine(arn) => doors.templates.tag(arn, &tags).await,
        Resource::Activity(arn) => doors.activities.tag(arn, &tags).await,
    }
}

async fn untag(doors: &Doors, arn: &str, keys: &[String]) -> Result<(), Error> {
    match Resource::of(arn)? {
        Resource::Machine(arn) => doors.templates.untag(arn, keys).await,
        Resource::Activity(arn) => doors.activities.untag(arn, keys).await,
    }
}

async fn list(doors: &Doors, arn: &str) -> Result<BTreeMap<String, String>, Error> {
    match Resource::of(arn)? {
        Resource::Machine(arn) => doors.templates.tags(arn).await,
        Resource::Activity(arn) => Ok(doors.activities.describe(arn).await?.tags),
    }
}

async fn tag_resource(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        resource_arn: String,
        tags: Vec<Tag>,
    }
    let Input { resource_arn, tags } = call.read()?;
    tag(doors, &resource_arn, Tag::map(tags)).await.map_err(|error| fault(&call, error))?;
    Ok(Answer::empty())
}

async fn untag_resource(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        resource_arn: String,
        tag_keys: Vec<String>,
    }
    let Input { resource_arn, tag_keys } = call.read()?;
    untag(doors, &resource_arn, &tag_keys).await.map_err(|error| fault(&call, error))?;
    Ok(Answer::empty())
}

async fn list_tags_for_resource(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    struct Output {
        tags: Vec<Tag>,
    }
    let tags = list(doors, call.text("resourceArn").unwrap_or_default()).await;
    Answer::of(&Output { tags: Tag::list(tags.map_err(|error| fault(&call, error))?) })
}

/// Tags.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "TagResource" => tag_resource(doors, call).await,
        "UntagResource" => untag_resource(doors, call).await,
        "ListTagsForResource" => list_tags_for_resource(doors, call).await,
        _ => Err(unserved(&call)),
    }
}
