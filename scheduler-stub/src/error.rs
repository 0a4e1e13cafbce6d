//! Everything that the scheduler refuses, with a stable code, and the one table to gRPC status.

use std::time::Duration;

use proto::executor::v1::StartRefusal;
use proto::executor::v1::start_refusal::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "scheduler.myriad";

/// The code of [`Error::OutcomeUnknown`].
pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";

/// Why the scheduler did not do it. Messages say what, where, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is wrong; resending will not help.
    #[error("{code}: {message}")]
    Invalid {
        /// Stable code in the API's words, for example `InvalidName`.
        code: String,
        /// What, where, and what to do.
        message: String,
    },
    /// There is no such thing.
    #[error("{code}: {message}")]
    NotFound {
        /// Stable code, for example `StateMachineDoesNotExist`.
        code: String,
        /// What, where, and what to do.
        message: String,
    },
    /// It exists, with other content or in another state.
    #[error("{code}: {message}")]
    Conflict {
        /// Stable code, for example `StateMachineAlreadyExists`.
        code: String,
        /// What, where, and what to do.
        message: String,
    },
    /// There are as many as there may be.
    #[error("{code}: {message}")]
    Limit {
        /// Stable code in the API's words, for example `ActivityLimitExceeded`.
        code: String,
        /// Which limit, and what to do.
        message: String,
    },
    /// Too much work: refused before it cost anything.
    #[error("{message}")]
    Overloaded {
        /// Which limit, and its value.
        message: String,
        /// With jitter where it comes from a node.
        retry_after: Duration,
    },
    /// Nobody can do it now.
    #[error("{message}")]
    Unavailable {
        /// What, where, and what to do.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A node was given it and did not answer: it may have been done. There is no time to try again, for that could do it
    /// twice.
    #[error("{message}")]
    OutcomeUnknown {
        /// What was heard last, and what to do.
        message: String,
    },
    /// The scheduler's own store.
    #[error("the scheduler's store: {0}")]
    Store(#[from] journal::StoreError),
}

impl Error {
    pub(crate) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::Invalid { code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::NotFound { code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::Conflict { code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after: Duration::from_millis(500) }
    }

    pub(crate) fn start_unknown(said: &str) -> Self {
        Self::OutcomeUnknown {
            message: format!(
                "not acknowledged in time, it may have been started or not ({said}): a start of a STANDARD machine may be \
                 repeated if it has a name, and then starts nothing twice; look up any other one (ListExecutions) before \
                 it is started anew"
            ),
        }
    }

    /// The stable code of `google.rpc.ErrorInfo`.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Invalid { code, .. }
            | Self::NotFound { code, .. }
            | Self::Conflict { code, .. }
            | Self::Limit { code, .. } => code,
            Self::Overloaded { .. } => "Overloaded",
            Self::Unavailable { .. } => "Unavailable",
            Self::OutcomeUnknown { .. } => OUTCOME_UNKNOWN,
            Self::Store(journal::StoreError::Unknown(_)) => "StoreOutcomeUnknown",
            Self::Store(_) => "StoreUnavailable",
        }
    }

    /// The same as a refusal within a batch stream.
    #[must_use]
    pub fn refusal(&self) -> StartRefusal {
        let (reason, retry_after) = match self {
            Self::Invalid { .. } | Self::NotFound { .. } | Self::Limit { .. } => {
                (Reason::Invalid, Duration::ZERO)
            }
            Self::Conflict { .. } => (Reason::Conflict, Duration::ZERO),
            Self::Overloaded { retry_after, .. } => (Reason::Overloaded, *retry_after),
            Self::Unavailable { retry_after, .. } => (Reason::StoreUnavailable, *retry_after),
            Self::OutcomeUnknown { .. } => (Reason::OutcomeUnknown, Duration::ZERO),
            Self::Store(_) => (Reason::StoreUnavailable, Duration::from_millis(500)),
        };
        StartRefusal {
            reason: reason.into(),
            code: self.code().to_owned(),
            message: self.to_string(),
            retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
            missing_definitions: Vec::new(),
        }
    }
}

/// A node's refusal of a start, for a caller that made one start.
impl From<StartRefusal> for Error {
    fn from(refusal: StartRefusal) -> Self {
        let retry_after = Duration::from_millis(u64::from(refusal.retry_after_ms.max(1)));
        let StartRefusal { code, message, .. } = refusal;
        match Reason::try_from(refusal.reason).unwrap_or_default() {
            Reason::Invalid => Self::Invalid { code, message },
            Reason::Conflict | Reason::Expired => Self::Conflict { code, message },
            Reason::Overloaded => Self::Overloaded { message, retry_after },
            Reason::OutcomeUnknown => Self::OutcomeUnknown { message },
            Reason::Unspecified
            | Reason::DefinitionMissing
            | Reason::NotOwner
            | Reason::Draining
            | Reason::StoreUnavailable => Self::Unavailable { message, retry_after },
        }
    }
}

/// The one table from errors to gRPC.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, retry_after) = match &error {
            Error::Invalid { .. } => (Code::InvalidArgument, None),
            Error::NotFound { .. } => (Code::NotFound, None),
            Error::Conflict { .. } => (Code::AlreadyExists, None),
            Error::Limit { .. } => (Code::ResourceExhausted, None),
            Error::Overloaded { retry_after, .. } => (Code::ResourceExhausted, Some(*retry_after)),
            Error::Unavailable { retry_after, .. } => (Code::Unavailable, Some(*retry_after)),
            Error::OutcomeUnknown { .. } => (Code::Unavailable, None),
            Error::Store(journal::StoreError::Unknown(_)) => (Code::Unavailable, None),
            Error::Store(store) if store.is_retryable() => {
                (Code::Unavailable, Some(Duration::from_millis(500)))
            }
            Error::Store(_) => (Code::Internal, None),
        };
        let mut details = ErrorDetails::new();
        details.set_error_info(error.code(), ERROR_DOMAIN, std::collections::HashMap::new());
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        Status::with_error_details(code, error.to_string(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_scheduler_says_when_to_come_back() {
        let retry_after = Duration::from_millis(250);
        let status: Status = Error::Overloaded { message: "full".into(), retry_after }.into();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(retry_after));
    }

    #[test]
    fn an_unknown_outcome_never_says_when_to_come_back() {
        let refusal = Error::start_unknown("nothing was heard of it").refusal();
        assert_eq!((refusal.reason(), refusal.retry_after_ms), (Reason::OutcomeUnknown, 0));
        let status: Status = Error::from(refusal).into();
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        assert_eq!((status.code(), reason), (Code::Unavailable, Some(OUTCOME_UNKNOWN)));
        assert!(details.retry_info().is_none() && status.message().contains("nothing was heard"), "{status}");
    }

    #[test]
    fn a_refusal_keeps_its_code_on_the_way_to_the_caller() {
        let error = Error::invalid("InvalidExecutionInput", "not JSON");
        let status: Status = Error::from(error.refusal()).into();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("InvalidExecutionInput"));
    }
}
