//! Callbacks in Step Functions' API: how a task went that waits for its token.
//!
//! Invariant: whoever has a token was given its task, so the token alone is the right to speak for it. What may fail: the token,
//! the output, and that the task waits no more; of one that may have been taken, the same again is answered with
//! `TaskTimedOut`.

use bytes::Bytes;
use front::{Answer, Call, Fault};
use proto::executor::v1;

use super::fault::fault;
use super::{Doors, unserved};

/// Serves the operations of this module.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let member = |name: &str| call.text(name).unwrap_or_default().to_owned();
    let (executions, task_token) = (&doors.executions, member("taskToken"));
    let taken = match call.operation.name {
        "SendTaskSuccess" => {
            let output = Bytes::from(member("output"));
            executions.task_success(v1::SendTaskSuccessRequest { task_token, output }).await.map(drop)
        }
        "SendTaskFailure" => {
            let (error, cause) = (member("error"), member("cause"));
            executions.task_failure(v1::SendTaskFailureRequest { task_token, error, cause }).await.map(drop)
        }
        "SendTaskHeartbeat" => {
            executions.task_heartbeat(v1::SendTaskHeartbeatRequest { task_token }).await.map(drop)
        }
        _ => return Err(unserved(&call)),
    };
    taken.map(|()| Answer::empty()).map_err(|status| fault(&call, status))
}
