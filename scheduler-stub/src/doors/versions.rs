//! Published versions and aliases of machines in Step Functions' API.
//!
//! What may fail: whatever the core refuses.

use front::{Answer, Call, Fault};
use serde::{Deserialize, Serialize};

use super::answer::{page, seconds, token};
use super::fault::fault;
use super::machines::{Asked, check_unlabelled, version_arn};
use super::{Doors, unserved};
use crate::error::Error;
use crate::templates::{Alias, Qualified, parse};

/// One of `routingConfiguration`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    state_machine_version_arn: String,
    weight: u8,
}

fn routing(ways: Vec<Way>) -> Vec<(String, u8)> {
    ways.into_iter().map(|way| (way.state_machine_version_arn, way.weight)).collect()
}

/// A fault of an alias, with the reason that the API has for some.
fn fault_of_alias(call: &Call, error: Error) -> Fault {
    let reason = match error.code() {
        "InvalidRoutingConfiguration" => Some("INVALID_ROUTING_CONFIGURATION"),
        "MissingRequiredParameter" => Some("MISSING_REQUIRED_PARAMETER"),
        _ => None,
    };
    let fault = fault(call, error);
    match reason {
        Some(reason) => fault.with_detail("reason", reason),
        None => fault,
    }
}

async fn publish(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        creation_date: f64,
        state_machine_version_arn: String,
    }
    let arn = call.text("stateMachineArn").unwrap_or_default();
    check_unlabelled(arn)?;
    let published = doors.templates.publish(arn, call.text("revisionId"), call.text("description")).await;
    let (number, created_ms) = published.map_err(|error| fault(&call, error))?;
    Answer::of(&Output {
        creation_date: seconds(created_ms),
        state_machine_version_arn: version_arn(arn, number),
    })
}

async fn list_versions(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        state_machine_version_arn: String,
        creation_date: f64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        state_machine_versions: Vec<Line>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    let arn = call.text("stateMachineArn").unwrap_or_default();
    check_unlabelled(arn)?;
    let asked: Asked = call.read()?;
    let listed = doors.templates.versions(arn, page(asked.max_results), asked.token()).await;
    let (versions, next) = listed.map_err(|error| fault(&call, error))?;
    let lines = versions.into_iter().map(|(number, version)| Line {
        state_machine_version_arn: version_arn(arn, number),
        creation_date: seconds(version.created_ms),
    });
    Answer::of(&Output { state_machine_versions: lines.collect(), next_token: token(next) })
}

/// One that does not exist is as good as deleted.
async fn delete_version(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match doors.templates.delete_version(call.text("stateMachineVersionArn").unwrap_or_default()).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(Answer::empty()),
        Err(error) => Err(fault(&call, error)),
    }
}

async fn create_alias(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        name: String,
        #[serde(default)]
        description: String,
        routing_configuration: Vec<Way>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        state_machine_alias_arn: String,
        creation_date: f64,
    }
    let Input { name, description, routing_configuration } = call.read()?;
    let made = doors.templates.create_alias(&name, &routing(routing_configuration), &description).await;
    let (arn, created_ms) = made.map_err(|error| fault_of_alias(&call, error))?;
    Answer::of(&Output { state_machine_alias_arn: arn, creation_date: seconds(created_ms) })
}

async fn update_alias(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        state_machine_alias_arn: String,
        description: Option<String>,
        routing_configuration: Option<Vec<Way>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        update_date: f64,
    }
    let Input { state_machine_alias_arn: arn, description, routing_configuration } = call.read()?;
    let ways = routing_configuration.map(routing);
    let updated = doors.templates.update_alias(&arn, description.as_deref(), ways.as_deref()).await;
    let updated_ms = updated.map_err(|error| fault_of_alias(&call, error))?;
    Answer::of(&Output { update_date: seconds(updated_ms) })
}

async fn describe_alias(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        state_machine_alias_arn: &'a str,
        name: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        description: String,
        routing_configuration: Vec<Way>,
        creation_date: f64,
        update_date: f64,
    }
    let arn = call.text("stateMachineAliasArn").unwrap_or_default();
    let described = doors.templates.describe_alias(arn).await;
    let (name, alias) = described.map_err(|error| fault(&call, error))?;
    let Qualified { machine, .. } = parse(arn).map_err(|error| fault(&call, error))?;
    let Alias { routes, description, created_ms, updated_ms } = alias;
    let ways = routes.iter().map(|route| Way {
        state_machine_version_arn: version_arn(machine, route.version),
        weight: route.weight,
    });
    Answer::of(&Output {
        state_machine_alias_arn: arn,
        name,
        description,
        routing_configuration: ways.collect(),
        creation_date: seconds(created_ms),
        update_date: seconds(updated_ms),
    })
}

async fn delete_alias(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let arn = call.text("stateMachineAliasArn").unwrap_or_default();
    doors.templates.delete_alias(arn).await.map_err(|error| fault(&call, error))?;
    Ok(Answer::empty())
}

async fn list_aliases(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        state_machine_alias_arn: String,
        creation_date: f64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        state_machine_aliases: Vec<Line>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    let arn = call.text("stateMachineArn").unwrap_or_default();
    let asked: Asked = call.read()?;
    let listed = doors.templates.aliases(arn, page(asked.max_results), asked.token()).await;
    let (aliases, next) = listed.map_err(|error| fault(&call, error))?;
    let Qualified { machine, .. } = parse(arn).map_err(|error| fault(&call, error))?;
    let lines = aliases.into_iter().map(|(name, alias)| Line {
        state_machine_alias_arn: format!("{machine}:{name}"),
        creation_date: seconds(alias.created_ms),
    });
    Answer::of(&Output { state_machine_aliases: lines.collect(), next_token: token(next) })
}

/// Versions and aliases.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "PublishStateMachineVersion" => publish(doors, call).await,
        "ListStateMachineVersions" => list_versions(doors, call).await,
        "DeleteStateMachineVersion" => delete_version(doors, call).await,
        "CreateStateMachineAlias" => create_alias(doors, call).await,
        "UpdateStateMachineAlias" => update_alias(doors, call).await,
        "DescribeStateMachineAlias" => describe_alias(doors, call).await,
        "DeleteStateMachineAlias" => delete_alias(doors, call).await,
        "ListStateMachineAliases" => list_aliases(doors, call).await,
        _ => Err(unserved(&call)),
    }
}
