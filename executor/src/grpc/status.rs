//! The one table from [`Error`] to gRPC status.
//!
//! Every status carries `google.rpc.ErrorInfo` with a stable reason in our [`DOMAIN`]; whatever may be sent
//! again later carries `google.rpc.RetryInfo`, and `grpc-retry-pushback-ms` for clients that know only that.
//! A client retries RESOURCE_EXHAUSTED and UNAVAILABLE only where RetryInfo is present.

use std::collections::HashMap;
use std::time::Duration;

use journal::StoreError;
use proto::executor::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::Error;
use crate::shard::OWNER_CHANGED;

/// `ErrorInfo.domain` of every status.
pub const DOMAIN: &str = "executor.myriad";

/// When to come back where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What one kind of error is to a client.
struct Row {
    code: Code,
    reason: &'static str,
    retry_after: Option<Duration>,
}

/// The table.
fn row(error: &Error) -> Row {
    let row = |code, reason| Row { code, reason, retry_after: None };
    let later = |code, reason, after| Row { code, reason, retry_after: Some(after) };
    match error {
        Error::Invalid { code, .. } => row(Code::InvalidArgument, code),
        Error::InvalidDefinition { .. } => row(Code::InvalidArgument, "InvalidDefinition"),
        Error::NotFound { code, .. } => row(Code::NotFound, code),
        Error::Conflict { code, .. } if code.ends_with("AlreadyExists") => row(Code::AlreadyExists, code),
        Error::Conflict { code, .. } => row(Code::FailedPrecondition, code),
        Error::Overloaded { retry_after, .. } => later(Code::ResourceExhausted, "Overloaded", *retry_after),
        Error::Shed { retry_after, .. } => later(Code::ResourceExhausted, "Overloaded", *retry_after),
        Error::NotDurable { retry_after, .. } => later(Code::Unavailable, "StoreUnavailable", *retry_after),
        Error::Draining => later(Code::Unavailable, "Draining", RETRY_AFTER),
        Error::NotOwner { .. } => row(Code::FailedPrecondition, "NotOwner"),
        Error::Recovering { retry_after, .. } => later(Code::Unavailable, "Recovering", *retry_after),
        Error::NothingServed { retry_after } => later(Code::Unavailable, "NothingServed", *retry_after),
        Error::OwnerChanged { .. } => row(Code::Unavailable, "OwnerChanged"),
        Error::EndUnknown { .. } => row(Code::Unavailable, "EndUnknown"),
        Error::ShardGone => row(Code::Unavailable, "ShardGone"),
        Error::Starting { retry_after } => later(Code::Unavailable, "Starting", *retry_after),
        Error::Store(store) => match store {
            StoreError::Unavailable(_) => later(Code::Unavailable, "StoreUnavailable", RETRY_AFTER),
            StoreError::Unknown(_) => later(Code::Unavailable, "StoreOutcomeUnknown", RETRY_AFTER),
            StoreError::Fenced { .. } => row(Code::FailedPrecondition, "NotOwner"),
            StoreError::WentBack { .. } => later(Code::Unavailable, "StoreWentBack", RETRY_AFTER),
            StoreError::Corrupt(_) => row(Code::DataLoss, "StoreCorrupt"),
            StoreError::Refused(_) => row(Code::FailedPrecondition, "StoreRefused"),
        },
    }
}

/// More for the client than the message: which partition, which limit, which problems.
fn details(error: &Error, row: &Row) -> ErrorDetails {
    let mut metadata = HashMap::new();
    let mut details = ErrorDetails::new();
    match error {
        Error::NotOwner { partition }
        | Error::OwnerChanged { partition }
        | Error::Recovering { partition, .. } => {
            metadata.insert("partition".to_owned(), partition.to_string());
        }
        Error::Overloaded { what, limit, .. } => {
            metadata.insert("limit".to_owned(), limit.to_string());
            details.add_quota_failure_violation(*what, error.to_string());
        }
        Error::InvalidDefinition { diagnostics } => {
            // A status travels in one header: a hopeless definition must not overflow it.
            for problem in diagnostics.iter().take(VIOLATIONS_MAX) {
                details.add_bad_request_violation(cut(&problem.location), cut(&problem.message));
            }
        }
        _ => {}
    }
    details.set_error_info(row.reason, DOMAIN, metadata);
    if let Some(after) = row.retry_after {
        details.set_retry_info(Some(after));
    }
    details
}

/// Diagnostics that a status lists one by one.
const VIOLATIONS_MAX: usize = 16;
/// Bytes of one text of a status.
const TEXT_BYTES_MAX: usize = 2_048;

/// The text, shortened at a character where it is too long for a header.
fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    format!("{} … (shortened)", &text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let row = row(&error);
        let mut status = Status::with_error_details(row.code, cut(&error.to_string()), details(&error, &row));
        if let Some(after) = row.retry_after {
            let text = after.as_millis().to_string();
            if let Ok(value) = text.parse() {
                status.metadata_mut().insert("grpc-retry-pushback-ms", value);
            }
        }
        status
    }
}

/// A refusal of the batch stream as the error that a plain call would have had.
pub(super) fn from_refusal(refusal: v1::StartRefusal, partition: u16) -> Error {
    use v1::start_refusal::Reason;
    let retry_after = match refusal.retry_after_ms {
        0 => RETRY_AFTER,
        ms => Duration::from_millis(u64::from(ms)),
    };
    let message = refusal.message.clone();
    match refusal.reason() {
        Reason::DefinitionMissing => Error::NotFound {
            code: "DefinitionDoesNotExist",
            message: format!(
                "{message}; send the definition with PutDefinition, or in the request's `definition`"
            ),
        },
        Reason::Overloaded => Error::Shed { message, retry_after },
        // A plain start has no id of its own by which it could be sent again.
        Reason::OutcomeUnknown => Error::OwnerChanged { partition },
        Reason::NotOwner if refusal.code == OWNER_CHANGED => Error::OwnerChanged { partition },
        Reason::NotOwner => Error::NotOwner { partition },
        Reason::Draining => Error::Draining,
        Reason::StoreUnavailable => Error::NotDurable { message, retry_after },
        Reason::Conflict => Error::Conflict { code: conflict_code(&refusal.code), message },
        Reason::Expired => Error::Conflict { code: "BatchExpired", message },
        Reason::Unspecified | Reason::Invalid => {
            Error::Invalid { code: invalid_code(&refusal.code), message }
        }
    }
}

/// The codes that a start may be refused with are a closed set, for clients compare them.
fn invalid_code(code: &str) -> &'static str {
    const KNOWN: [&str; 5] =
        ["InvalidExecutionInput", "InvalidName", "InvalidArn", "InvalidDefinition", "InvalidBatch"];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("InvalidRequest")
}

fn conflict_code(code: &str) -> &'static str {
    if code == "ExecutionAlreadyExists" { "ExecutionAlreadyExists" } else { "BatchConflict" }
}

/// An [`Error::Invalid`].
pub(super) fn invalid(code: &'static str, message: impl Into<String>) -> Error {
    Error::Invalid { code, message: message.into() }
}

#[cfg(test)]
mod tests {
    use ids::PartitionId;
    use journal::BlockId;

    use super::*;

    fn every_error() -> Vec<(Error, Code, &'static str, bool)> {
        let after = Duration::from_millis(70);
        let partition = PartitionId::new(1).expect("in range");
        let (attempted, last) = (BlockId::default(), BlockId::default());
        let text = || "why".to_owned();
        let conflict = |code| Error::Conflict { code, message: text() };
        let diagnostics = vec![];
        vec![
            (invalid("InvalidName", "why"), Code::InvalidArgument, "InvalidName", false),
            (Error::InvalidDefinition { diagnostics }, Code::InvalidArgument, "InvalidDefinition", false),
            (
                Error::NotFound { code: "ExecutionDoesNotExist", message: text() },
                Code::NotFound,
                "ExecutionDoesNotExist",
                false,
            ),
            (conflict("ExecutionAlreadyExists"), Code::AlreadyExists, "ExecutionAlreadyExists", false),
            (conflict("HistoryUnavailable"), Code::FailedPrecondition, "HistoryUnavailable", false),
            (
                Error::Overloaded { what: "w", limit: 1, retry_after: after },
                Code::ResourceExhausted,
                "Overloaded",
                true,
            ),
            (
                Error::Shed { message: text(), retry_after: after },
                Code::ResourceExhausted,
                "Overloaded",
                true,
            ),
            (
                Error::NotDurable { message: text(), retry_after: after },
                Code::Unavailable,
                "StoreUnavailable",
                true,
            ),
            (Error::Draining, Code::Unavailable, "Draining", true),
            (Error::NotOwner { partition: 1 }, Code::FailedPrecondition, "NotOwner", false),
            (Error::OwnerChanged { partition: 1 }, Code::Unavailable, "OwnerChanged", false),
            (Error::Recovering { partition: 1, retry_after: after }, Code::Unavailable, "Recovering", true),
            (Error::NothingServed { retry_after: after }, Code::Unavailable, "NothingServed", true),
            (Error::EndUnknown { execution: text(), why: text() }, Code::Unavailable, "EndUnknown", false),
            (Error::ShardGone, Code::Unavailable, "ShardGone", false),
            (Error::Starting { retry_after: after }, Code::Unavailable, "Starting", true),
            (StoreError::Unavailable(text()).into(), Code::Unavailable, "StoreUnavailable", true),
            (StoreError::Unknown(text()).into(), Code::Unavailable, "StoreOutcomeUnknown", true),
            (
                StoreError::Fenced { partition, attempted, last }.into(),
                Code::FailedPrecondition,
                "NotOwner",
                false,
            ),
            (
                StoreError::WentBack { partition, confirmed: last, top: None }.into(),
                Code::Unavailable,
                "StoreWentBack",
                true,
            ),
            (StoreError::Corrupt(text()).into(), Code::DataLoss, "StoreCorrupt", false),
            (StoreError::Refused(text()).into(), Code::FailedPrecondition, "StoreRefused", false),
        ]
    }

    #[test]
    fn every_error_has_its_code_its_reason_and_says_whether_to_come_back() {
        for (error, code, reason, retry) in every_error() {
            let text = error.to_string();
            let status = Status::from(error);
            assert_eq!((status.code(), status.message()), (code, text.as_str()));
            let details = status.get_error_details();
            let info = details.error_info().expect("an ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, DOMAIN), "{text}");
            assert_eq!(details.retry_info().is_some(), retry, "{text}");
            assert_eq!(status.metadata().contains_key("grpc-retry-pushback-ms"), retry, "{text}");
        }
    }

    #[test]
    fn a_refused_definition_lists_its_problems_and_still_fits_in_a_header() {
        let problem = |number: usize| asl::Diagnostic {
            severity: asl::Severity::Error,
            code: "MISSING_TRANSITION_TARGET",
            message: format!("é{number}").repeat(500),
            location: format!("/States/{number}/Next"),
            pointer: format!("/States/{number}/Next"),
            line: 1,
            column: 2,
            note: String::new(),
            length: 1,
        };
        let status = Status::from(Error::InvalidDefinition { diagnostics: (0..500).map(problem).collect() });
        assert!(status.message().contains("shortened"));
        let details = status.get_error_details();
        let listed = &details.bad_request().expect("a BadRequest").field_violations;
        assert_eq!((listed.len(), listed[3].field.as_str()), (VIOLATIONS_MAX, "/States/3/Next"));
    }

    #[test]
    fn a_refusal_of_the_stream_becomes_the_error_of_a_plain_call() {
        use v1::start_refusal::Reason;
        let status = |reason: Reason, code: &str| {
            let refusal = v1::StartRefusal { reason: reason.into(), code: code.into(), ..Default::default() };
            Status::from(from_refusal(refusal, 3)).code()
        };
        assert_eq!(status(Reason::Invalid, "InvalidExecutionInput"), Code::InvalidArgument);
        assert_eq!(status(Reason::DefinitionMissing, ""), Code::NotFound);
        assert_eq!(status(Reason::Overloaded, ""), Code::ResourceExhausted);
        assert_eq!(status(Reason::NotOwner, ""), Code::FailedPrecondition);
        assert_eq!(status(Reason::NotOwner, OWNER_CHANGED), Code::Unavailable);
        assert_eq!(status(Reason::Draining, ""), Code::Unavailable);
        assert_eq!(status(Reason::StoreUnavailable, ""), Code::Unavailable);
        assert_eq!(status(Reason::Conflict, "ExecutionAlreadyExists"), Code::AlreadyExists);
        assert_eq!(status(Reason::Conflict, "BatchConflict"), Code::FailedPrecondition);
    }
}
