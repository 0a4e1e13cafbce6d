//! From the errors of the scheduler and its nodes to the faults of both APIs: one table.
//!
//! Invariants: Step Functions' API answers with an error that the operation's model names, or one that every operation has;
//! a call whose repetition could do its work twice is never answered with what clients repeat by themselves (HTTP 5xx,
//! throttling) unless it has certainly begun nothing; the inner words of a store reach no caller. Nothing here fails.

use front::{Api, Call, Fault, Kind, Right};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What is not there, in the words of the operations that name one of them.
const ABSENT: [Kind; 4] = [
    Kind::ResourceNotFound,
    Kind::StateMachineDoesNotExist,
    Kind::ActivityDoesNotExist,
    Kind::ExecutionDoesNotExist,
];

/// Members that name what a call is about.
const RESOURCES: [&str; 7] = [
    "resourceArn",
    "stateMachineVersionArn",
    "stateMachineAliasArn",
    "stateMachineArn",
    "mapRunArn",
    "activityArn",
    "executionArn",
];

/// The fault of a call. See [`fault_of_start`] for starts.
pub(super) fn fault(call: &Call, error: impl Into<Status>) -> Fault {
    let repeatable = match (call.operation.right, call.operation.name) {
        // Each update is a revision, and may publish a version.
        (Right::Manage, "UpdateStateMachine" | "ModifyFlowService") => false,
        (Right::Read | Right::Manage, _) => true,
        (Right::Start, "RedriveExecution") => call.text("clientToken").is_some(),
        (Right::Start, name) => !matches!(name, "StartExecution" | "StartSyncExecution"),
    };
    fault_of_start(call, error, repeatable)
}

/// The fault of a call of which its caller knows whether it may be `repeatable`: made twice, it does its work once. A start is,
/// where the machine is STANDARD and the execution has a name.
pub(super) fn fault_of_start(call: &Call, error: impl Into<Status>, repeatable: bool) -> Fault {
    let status = error.into();
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    if let Some(kind) = named(call, reason) {
        return of_kind(call, kind, status.message());
    }
    match reason {
        "HistoryNotKept" => return not_kept(call, status.message()),
        "Overloaded" | "ExecutionEnding" | "Recovering" => {
            return Fault::new(Kind::Throttling, status.message());
        }
        "StoreUnavailable" | "StoreWentBack" if details.retry_info().is_some() => {
            let message = "the store does not answer as it should now: ask again in a moment";
            return Fault::new(Kind::ServiceUnavailable, message);
        }
        // Whatever is said of a time to come again: it may have been done.
        "StoreOutcomeUnknown" => {
            let kind = if repeatable { Kind::Internal } else { Kind::OutcomeUnknown };
            return Fault::new(kind, "the store did not say whether it was done: see before you try again");
        }
        "NotOwner" => return Fault::new(Kind::ServiceUnavailable, status.message()),
        _ if details.retry_info().is_some() => {
            return Fault::new(Kind::ServiceUnavailable, status.message());
        }
        _ => {}
    }
    let code = status.code();
    let unknown = matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
        || reason == "BatchExpired";
    match (unknown, repeatable) {
        (true, true) => Fault::new(Kind::Internal, status.message()),
        (true, false) => Fault::new(Kind::OutcomeUnknown, status.message()),
        (false, _) => {
            let (operation, request) = (call.operation.name, &call.request_id);
            tracing::error!(operation, %request, ?code, reason, "a call failed: {}", status.message());
            Fault::new(
                Kind::Internal,
                "the scheduler could not answer; its log says why, by this request's id",
            )
        }
    }
}

/// The kind that a reason names, in the words that the operation's model has for it; `None` where the reason is no API's.
fn named(call: &Call, reason: &str) -> Option<Kind> {
    let exact = Kind::ALL.iter().copied().find(|kind| kind.sfn() == reason);
    let kind = match exact {
        // Its own rules, below.
        Some(Kind::OutcomeUnknown | Kind::Internal | Kind::ServiceUnavailable) => return None,
        Some(kind) => kind,
        None if reason.starts_with("Invalid") => Kind::Validation,
        None => return None,
    };
    Some(match kind {
        kind if is_modelled(call, kind) => kind,
        kind if ABSENT.contains(&kind) => absent(call),
        // Somebody else was quicker; the same again goes well, as a rule.
        Kind::Conflict => Kind::ServiceUnavailable,
        // Whatever else is wrong with a request, AWS says of any operation.
        _ => Kind::Validation,
    })
}

/// Whether the operation's model names it.
fn is_modelled(call: &Call, kind: Kind) -> bool {
    call.api == Api::Asw || kind.is_common() || call.operation.errors.contains(&kind)
}

/// What is not there, in the words of the operation's model.
fn absent(call: &Call) -> Kind {
    let modelled = |kind: &Kind| is_modelled(call, *kind);
    let kinds = ABSENT.into_iter().chain([Kind::Validation]);
    kinds.into_iter().find(modelled).unwrap_or(Kind::InvalidArn)
}

fn of_kind(call: &Call, kind: Kind, message: &str) -> Fault {
    let code = format!("{}: ", kind.sfn());
    let fault = Fault::new(kind, message.strip_prefix(&code).unwrap_or(message));
    let about = || RESOURCES.iter().find_map(|member| call.text(member));
    match (kind, about()) {
        (Kind::ResourceNotFound | Kind::TooManyTags, Some(resource)) => {
            fault.with_detail("resourceName", resource)
        }
        _ => fault,
    }
}

/// An execution without a history: AWS has none of any EXPRESS one.
fn not_kept(call: &Call, why: &str) -> Fault {
    let express = call.text("executionArn").is_some_and(|arn| arn.split(':').nth(5) == Some("express"));
    match (call.api, express) {
        (Api::Sfn, true) => {
            let message = format!("Resource type not valid in this context: express: {why}");
            Fault::new(Kind::InvalidArn, message)
        }
        (Api::Sfn, false) if is_modelled(call, Kind::ExecutionDoesNotExist) => {
            Fault::new(Kind::ExecutionDoesNotExist, why)
        }
        // Of a Map Run, which is told by its execution's history.
        (Api::Sfn, false) => of_kind(call, absent(call), why),
        (Api::Asw, _) => Fault::new(Kind::FailedOperation, why),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use front::Caller;
    use serde_json::json;

    use super::*;
    use crate::error::Error;

    fn call(api: Api, operation: &str, input: serde_json::Value) -> Call {
        Call {
            api,
            operation: api.operation(operation).expect("an operation"),
            input,
            caller: Caller::anonymous(),
            request_id: "r".into(),
            region: None,
        }
    }

    fn of(operation: &str, error: Error) -> Kind {
        fault(&call(Api::Sfn, operation, json!({})), error).kind()
    }

    #[test]
    fn what_is_not_there_is_said_in_the_words_of_the_operations_model() {
        let unknown = || Error::not_found("StateMachineDoesNotExist", "m does not exist");
        assert_eq!(of("StartExecution", unknown()), Kind::StateMachineDoesNotExist);
        assert_eq!(of("TagResource", unknown()), Kind::ResourceNotFound);
        assert_eq!(of("ListStateMachineVersions", unknown()), Kind::Validation);
        assert_eq!(of("DeleteActivity", unknown()), Kind::InvalidArn);
        let asw = call(Api::Asw, "StartExecution", json!({}));
        assert_eq!(fault(&asw, unknown()).kind().asw(), "ResourceNotFound");
    }

    #[test]
    fn only_what_has_begun_nothing_or_does_its_work_once_is_answered_with_what_clients_repeat() {
        let unknown = || Error::start_unknown("nothing was heard");
        let start = call(Api::Sfn, "StartExecution", json!({}));
        assert_eq!(fault(&start, unknown()).kind(), Kind::OutcomeUnknown);
        assert_eq!(fault_of_start(&start, unknown(), true).kind(), Kind::Internal);
        assert_eq!(of("StopExecution", unknown()), Kind::Internal);
        assert_eq!(of("RedriveExecution", unknown()), Kind::OutcomeUnknown);
        let named = call(Api::Sfn, "RedriveExecution", json!({"clientToken": "t"}));
        assert_eq!(fault(&named, unknown()).kind(), Kind::Internal);
        let lost = Status::deadline_exceeded("late");
        assert_eq!(fault(&start, lost).kind(), Kind::OutcomeUnknown);
        assert_eq!(Kind::OutcomeUnknown.status(), 400);
        assert_eq!(fault(&start, Error::unavailable("nobody")).kind(), Kind::ServiceUnavailable);
        let full = Error::Overloaded { message: "full".into(), retry_after: Duration::from_millis(1) };
        assert_eq!(fault(&start, full).kind(), Kind::Throttling);
    }

    #[test]
    fn what_the_store_has_not_confirmed_is_never_told_as_not_done() {
        let lost = || Error::Store(journal::StoreError::Unknown("words".into()));
        assert_eq!(of("UpdateStateMachine", lost()), Kind::OutcomeUnknown, "it may publish twice");
        assert_eq!(of("TagResource", lost()), Kind::Internal, "the same again does no harm");
        let mut of_a_node = tonic_types::ErrorDetails::new();
        of_a_node.set_error_info("StoreOutcomeUnknown", "d", std::collections::HashMap::new());
        of_a_node.set_retry_info(Some(Duration::from_millis(1)));
        let status = Status::with_error_details(Code::Unavailable, "words", of_a_node);
        let start = call(Api::Sfn, "StartExecution", json!({}));
        assert_eq!(fault(&start, status).kind(), Kind::OutcomeUnknown);
    }

    #[test]
    fn the_inner_words_of_a_store_reach_no_caller() {
        use journal::StoreError;
        for store in [StoreError::Corrupt("words".into()), StoreError::Unavailable("words".into())] {
            let fault = fault(&call(Api::Sfn, "DescribeStateMachine", json!({})), Error::Store(store));
            assert!(!fault.message().contains("words"), "{fault}");
        }
    }

    #[test]
    fn other_things_wrong_with_a_request_are_validation_errors() {
        assert_eq!(of("GetActivityTask", Error::invalid("InvalidName", "w")), Kind::Validation);
        assert_eq!(of("CreateActivity", Error::invalid("InvalidName", "w")), Kind::InvalidName);
        assert_eq!(of("StartExecution", Error::invalid("InvalidBatch", "w")), Kind::Validation);
        let fault =
            fault(&call(Api::Sfn, "CreateActivity", json!({})), Error::invalid("InvalidName", "what"));
        assert_eq!(fault.message(), "what");
    }

    #[test]
    fn an_express_execution_without_a_history_is_none_of_the_operations() {
        let not_kept = || Error::conflict("HistoryNotKept", "it waited");
        let express = json!({"executionArn": "arn:aws:states:r:a:express:m:n:i"});
        let express = call(Api::Sfn, "GetExecutionHistory", express);
        assert_eq!(fault(&express, not_kept()).kind(), Kind::InvalidArn);
        assert_eq!(of("GetExecutionHistory", not_kept()), Kind::ExecutionDoesNotExist);
        assert_eq!(of("DescribeMapRun", not_kept()), Kind::ResourceNotFound, "the model names no other");
    }

    #[test]
    fn what_is_not_found_is_named() {
        let arn = "arn:aws:states:r:a:stateMachine:m";
        let call = call(Api::Sfn, "TagResource", json!({"resourceArn": arn}));
        let named = Fault::new(Kind::ResourceNotFound, "none").with_detail("resourceName", arn);
        assert_eq!(fault(&call, Error::not_found("ResourceNotFound", "none")), named);
    }
}
