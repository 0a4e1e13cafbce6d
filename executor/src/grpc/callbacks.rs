//! Callbacks: a token and how its task went, checked, and brought to the shard that has the partition.
//!
//! What is wrong in itself (a token that no node of the cluster has sealed, an output that is no JSON, a text that is too long)
//! is refused by whichever node hears it, and costs no shard anything.

use asl::Payload;
use asl::value::JsonLimits;
use proto::executor::v1;

use super::status::invalid;
use super::{NodeContext, ask};
use crate::error::Error;
use crate::limits;
use crate::shard::{self, Callback, Command, TaskToken};

pub(super) async fn success(
    node: &NodeContext,
    request: v1::SendTaskSuccessRequest,
) -> Result<v1::SendTaskSuccessResponse, Error> {
    let v1::SendTaskSuccessRequest { task_token, output } = request;
    let token = open(node, &task_token)?;
    let limits = JsonLimits { bytes: limits::CALLBACK_OUTPUT_BYTES_MAX, ..JsonLimits::default() };
    let output = Payload::check(output, limits)
        .map_err(|problem| invalid("InvalidOutput", format!("`output` is not taken: {problem}")))?;
    // It outlives its frame.
    send(node, token, Callback::Succeeded(output.detach())).await?;
    Ok(v1::SendTaskSuccessResponse {})
}

pub(super) async fn failure(
    node: &NodeContext,
    request: v1::SendTaskFailureRequest,
) -> Result<v1::SendTaskFailureResponse, Error> {
    let v1::SendTaskFailureRequest { task_token, error, cause } = request;
    let token = open(node, &task_token)?;
    for (field, text, max) in [
        ("error", &error, limits::CALLBACK_ERROR_CHARS_MAX),
        ("cause", &cause, limits::CALLBACK_CAUSE_CHARS_MAX),
    ] {
        let count = text.chars().count();
        if count > max {
            let message = format!("`{field}` has {count} characters; at most {max} are allowed");
            return Err(invalid("InvalidRequest", message));
        }
    }
    send(node, token, Callback::Failed { error: error.into(), cause: cause.into() }).await?;
    Ok(v1::SendTaskFailureResponse {})
}

pub(super) async fn heartbeat(
    node: &NodeContext,
    request: v1::SendTaskHeartbeatRequest,
) -> Result<v1::SendTaskHeartbeatResponse, Error> {
    let token = open(node, &request.task_token)?;
    send(node, token, Callback::Heartbeat).await?;
    Ok(v1::SendTaskHeartbeatResponse {})
}

/// What a token says.
fn open(node: &NodeContext, text: &str) -> Result<TaskToken, Error> {
    let secret = node.secret.get()?;
    TaskToken::open_text(&secret, text).ok_or_else(|| {
        // The text is not repeated: it may be the token of another cluster.
        let message = "`task_token` is none that this cluster has given: send it as the task was given it, to the cluster \
                       that runs the task";
        invalid("InvalidToken", message)
    })
}

async fn send(node: &NodeContext, token: TaskToken, callback: Callback) -> Result<(), Error> {
    let partition = token.execution.batch.partition;
    if partition.get() >= node.partitions {
        return Err(shard::no_task());
    }
    ask(node.owner(partition)?, |reply| Command::Callback { token, callback, reply }).await
}
