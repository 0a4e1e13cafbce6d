//! What is asked of the door around a run: the machine is made before, and a sample is looked up after.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::connection::{Answer, Connection};
use super::request::Requests;
use super::{CALL_WITHIN, Mode, definition};
use crate::error::Error;

/// How long an execution that was acknowledged may take to be found ended.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Before it is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the machine, or takes the one that is there; its ARN.
///
/// # Errors
/// The door refuses it.
pub(super) async fn machine(
    connection: &mut Connection,
    requests: &Requests,
    mode: Mode,
) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Created {
        state_machine_arn: String,
    }
    let kind = mode.machine_type();
    let input = json!({
        "name": format!("bench-http-{}", kind.to_lowercase()),
        "definition": definition(),
        "roleArn": "arn:aws:iam::000000000000:role/bench",
        "type": kind,
    });
    let created: Created = call(connection, requests, "CreateStateMachine", &input).await?;
    Ok(created.state_machine_arn)
}

/// Looks executions up that were acknowledged; how many. Each must have succeeded.
///
/// # Errors
/// [`Error::Void`]: one is not there, or has not succeeded in time.
pub(super) async fn sample(
    connection: &mut Connection,
    requests: &Requests,
    arns: &[String],
) -> Result<usize, Error> {
    #[derive(Deserialize)]
    struct Described {
        status: String,
    }
    for arn in arns {
        let begun = Instant::now();
        loop {
            let input = json!({ "executionArn": arn });
            let described: Described = call(connection, requests, "DescribeExecution", &input).await?;
            match described.status.as_str() {
                "SUCCEEDED" => break,
                "RUNNING" if begun.elapsed() < ENDED_WITHIN => tokio::time::sleep(PAUSE).await,
                status => return Err(Error::Void(format!("{arn} was acknowledged and is {status}"))),
            }
        }
    }
    Ok(arns.len())
}

async fn call<T: serde::de::DeserializeOwned>(
    connection: &mut Connection,
    requests: &Requests,
    operation: &str,
    input: &serde_json::Value,
) -> Result<T, Error> {
    let failed = |why: String| Error::Void(format!("{operation}: {why}"));
    if !connection.is_open() {
        *connection = Connection::open(requests.address()).await?;
    }
    let request = requests.write(operation, input.to_string().as_bytes())?;
    let answer = tokio::time::timeout(CALL_WITHIN, connection.call(&request)).await;
    let answer = answer.map_err(|_| failed(format!("no answer within {CALL_WITHIN:?}")))?.map_err(failed)?;
    if answer.status != 200 {
        return Err(failed(format!("{} ({})", named(&answer), message(&answer))));
    }
    serde_json::from_slice(answer.body).map_err(|error| failed(error.to_string()))
}

/// A refusal's members.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refused {
    __type: String,
    message: String,
}

fn refused(answer: &Answer<'_>) -> Refused {
    serde_json::from_slice(answer.body).unwrap_or_default()
}

/// What an error is called, without its namespace, and the HTTP status.
pub(super) fn named(answer: &Answer<'_>) -> String {
    let refused = refused(answer);
    let name = refused.__type.rsplit('#').next().unwrap_or_default().to_owned();
    if name.is_empty() { format!("HTTP {}", answer.status) } else { name }
}

fn message(answer: &Answer<'_>) -> String {
    refused(answer).message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_their_names_without_namespace() {
        let body = br#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"later"}"#;
        let answer = Answer { status: 400, body };
        assert_eq!((named(&answer).as_str(), message(&answer).as_str()), ("ThrottlingException", "later"));
        assert_eq!(named(&Answer { status: 502, body: b"<html>" }), "HTTP 502");
    }
}
