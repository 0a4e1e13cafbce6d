//! What the door refuses, in the words of both APIs: one table of kinds.
//!
//! Invariants: a kind has one name in each API, and one HTTP status; the ASW API says everything in HTTP 200, for its SDKs take
//! any other status for a broken network. Messages say what, where, and what to do, and hold no secret: whoever makes a fault
//! sees to that. Nothing here fails.
//! Source: the errors of botocore's model of Step Functions and of AWS's "Common Error Types"
//! (docs.aws.amazon.com/step-functions/latest/apireference/CommonErrors.html); the error codes of Tencent's API 3.0.

use serde_json::{Map, Value};

use crate::operations::Api;
use crate::tell::Outcome;

/// AWS's namespace of errors that an operation's model names.
const MODELLED: &str = "com.amazonaws.swf.service.v2.model#";
/// AWS's namespace of errors that every service has.
const COMMON: &str = "com.amazon.coral.service#";

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {message}")]
pub struct Fault {
    kind: Kind,
    message: String,
    detail: Option<(&'static str, String)>,
}

impl Fault {
    /// A fault whose message says what, where, and what to do.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None }
    }

    /// With one more member of the error's shape beside the message: `resourceName`, `reason` or `kmsKeyState`. ASW's errors
    /// have none.
    #[must_use]
    pub fn with_detail(mut self, member: &'static str, value: impl Into<String>) -> Self {
        self.detail = Some((member, value.into()));
        self
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What, where, and what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status that says it.
    pub(crate) fn status(&self, api: Api) -> http::StatusCode {
        match api {
            Api::Sfn => http::StatusCode::from_u16(self.kind.status()).unwrap_or_default(),
            Api::Asw => http::StatusCode::OK,
        }
    }

    /// The answer's body.
    pub(crate) fn body(&self, api: Api, request_id: &str) -> Vec<u8> {
        let text = |text: &str| Value::from(text);
        let body = match api {
            Api::Sfn => {
                let mut body = Map::new();
                body.insert("__type".to_owned(), text(&self.kind.sfn_type()));
                body.insert("message".to_owned(), text(&self.message));
                if let Some((member, value)) = &self.detail {
                    body.insert((*member).to_owned(), text(value));
                }
                Value::Object(body)
            }
            Api::Asw => serde_json::json!({"Response": {
                "Error": {"Code": self.kind.asw(), "Message": self.message},
                "RequestId": request_id,
            }}),
        };
        body.to_string().into_bytes()
    }
}

/// The table: kind, whether an operation's model names it, its names in both APIs, its HTTP status for Step Functions.
macro_rules! kinds {
    ($($kind:ident: $space:ident $sfn:literal, $asw:literal, $status:literal;)*) => {
        /// What is wrong, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(
                #[doc = concat!("Step Functions: `", $sfn, "`; ASW: `", $asw, "`.")]
                $kind,
            )*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The name in Step Functions' API, as clients' exceptions have it.
            #[must_use]
            pub fn sfn(self) -> &'static str {
                match self { $(Self::$kind => $sfn,)* }
            }

            /// The code in ASW's API.
            #[must_use]
            pub fn asw(self) -> &'static str {
                match self { $(Self::$kind => $asw,)* }
            }

            /// The HTTP status in Step Functions' API; ASW's is 200.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            fn namespace(self) -> &'static str {
                match self { $(Self::$kind => $space,)* }
            }
        }
    };
}

kinds! {
    // What operations of Step Functions name.
    ActivityAlreadyExists: MODELLED "ActivityAlreadyExists", "ResourceInUse", 400;
    ActivityDoesNotExist: MODELLED "ActivityDoesNotExist", "ResourceNotFound", 400;
    ActivityLimitExceeded: MODELLED "ActivityLimitExceeded", "LimitExceeded", 400;
    ActivityWorkerLimitExceeded: MODELLED "ActivityWorkerLimitExceeded", "LimitExceeded", 400;
    Conflict: MODELLED "ConflictException", "ResourceInUse", 400;
    ExecutionAlreadyExists: MODELLED "ExecutionAlreadyExists", "ResourceInUse", 400;
    ExecutionDoesNotExist: MODELLED "ExecutionDoesNotExist", "ResourceNotFound", 400;
    ExecutionLimitExceeded: MODELLED "ExecutionLimitExceeded", "LimitExceeded", 400;
    ExecutionNotRedrivable: MODELLED "ExecutionNotRedrivable", "UnsupportedOperation", 400;
    InvalidArn: MODELLED "InvalidArn", "InvalidParameterValue", 400;
    InvalidDefinition: MODELLED "InvalidDefinition", "InvalidParameterValue", 400;
    InvalidEncryptionConfiguration: MODELLED "InvalidEncryptionConfiguration", "InvalidParameterValue", 400;
    InvalidExecutionInput: MODELLED "InvalidExecutionInput", "InvalidParameterValue", 400;
    InvalidLoggingConfiguration: MODELLED "InvalidLoggingConfiguration", "InvalidParameterValue", 400;
    InvalidName: MODELLED "InvalidName", "InvalidParameterValue", 400;
    InvalidOutput: MODELLED "InvalidOutput", "InvalidParameterValue", 400;
    InvalidToken: MODELLED "InvalidToken", "InvalidParameterValue", 400;
    InvalidTracingConfiguration: MODELLED "InvalidTracingConfiguration", "InvalidParameterValue", 400;
    KmsAccessDenied: MODELLED "KmsAccessDeniedException", "FailedOperation", 400;
    KmsInvalidState: MODELLED "KmsInvalidStateException", "FailedOperation", 400;
    KmsThrottling: MODELLED "KmsThrottlingException", "FailedOperation", 400;
    MissingRequiredParameter: MODELLED "MissingRequiredParameter", "MissingParameter", 400;
    ResourceNotFound: MODELLED "ResourceNotFound", "ResourceNotFound", 400;
    ServiceQuotaExceeded: MODELLED "ServiceQuotaExceededException", "LimitExceeded", 400;
    StateMachineAlreadyExists: MODELLED "StateMachineAlreadyExists", "ResourceInUse", 400;
    StateMachineDeleting: MODELLED "StateMachineDeleting", "ResourceUnavailable", 400;
    StateMachineDoesNotExist: MODELLED "StateMachineDoesNotExist", "ResourceNotFound", 400;
    StateMachineLimitExceeded: MODELLED "StateMachineLimitExceeded", "LimitExceeded", 400;
    StateMachineTypeNotSupported: MODELLED "StateMachineTypeNotSupported", "UnsupportedOperation", 400;
    TaskDoesNotExist: MODELLED "TaskDoesNotExist", "ResourceNotFound", 400;
    TaskTimedOut: MODELLED "TaskTimedOut", "FailedOperation", 400;
    TooManyTags: MODELLED "TooManyTags", "LimitExceeded", 400;
    Validation: MODELLED "ValidationException", "InvalidParameterValue", 400;

    // The same of ASW, where it tells them apart.
    MissingParameter: MODELLED "ValidationException", "MissingParameter", 400;
    UnknownParameter: MODELLED "ValidationException", "UnknownParameter", 400;
    InvalidParameter: MODELLED "ValidationException", "InvalidParameter", 400;
    UnsupportedRegion: MODELLED "ValidationException", "UnsupportedRegion", 400;
    UnsupportedOperation: MODELLED "ValidationException", "UnsupportedOperation", 400;
    FailedOperation: MODELLED "ConflictException", "FailedOperation", 400;

    // Who calls, and whether it may.
    MissingAuthentication: COMMON "MissingAuthenticationTokenException", "AuthFailure.InvalidAuthorization", 400;
    IncompleteSignature: COMMON "IncompleteSignatureException", "AuthFailure.InvalidAuthorization", 400;
    SignatureMismatch: COMMON "InvalidSignatureException", "AuthFailure.SignatureFailure", 400;
    SignatureExpired: COMMON "InvalidSignatureException", "AuthFailure.SignatureExpire", 400;
    UnknownKey: COMMON "UnrecognizedClientException", "AuthFailure.SecretIdNotFound", 400;
    InvalidSecurityToken: COMMON "UnrecognizedClientException", "AuthFailure.TokenFailure", 400;
    ExpiredSecurityToken: COMMON "ExpiredTokenException", "AuthFailure.TokenFailure", 400;
    AccessDenied: COMMON "AccessDeniedException", "UnauthorizedOperation", 400;

    // The request as HTTP, and what it asks for.
    UnknownOperation: COMMON "UnknownOperationException", "InvalidAction", 400;
    UnknownVersion: COMMON "UnknownOperationException", "NoSuchVersion", 400;
    MalformedRequest: COMMON "MalformedHttpRequestException", "InvalidRequest", 400;
    MethodNotAllowed: COMMON "MalformedHttpRequestException", "UnsupportedProtocol", 405;
    UnsupportedMediaType: COMMON "MalformedHttpRequestException", "UnsupportedProtocol", 415;
    LengthRequired: COMMON "MalformedHttpRequestException", "UnsupportedProtocol", 411;
    Serialization: COMMON "SerializationException", "InvalidParameter", 400;
    RequestTooLarge: COMMON "RequestEntityTooLargeException", "RequestSizeLimitExceeded", 413;
    RequestTimeout: COMMON "RequestTimeoutException", "InvalidRequest", 408;

    // It may have been done: no client may try it again by itself.
    OutcomeUnknown: COMMON "OutcomeUnknown", "FailedOperation", 400;

    // What the caller cannot change; clients try these again by themselves.
    Throttling: COMMON "ThrottlingException", "RequestLimitExceeded", 400;
    ServiceUnavailable: COMMON "ServiceUnavailableException", "ResourceUnavailable", 503;
    Internal: COMMON "InternalFailure", "InternalError", 500;
}

impl Kind {
    /// Whether every operation may answer it, whatever its model names.
    #[must_use]
    pub fn is_common(self) -> bool {
        self.namespace() == COMMON
    }

    /// Whose affair it is that a request ends so.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Throttling | Self::KmsThrottling => Outcome::Throttled,
            Self::OutcomeUnknown | Self::ServiceUnavailable | Self::Internal => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }

    /// The name as `__type` has it.
    fn sfn_type(self) -> String {
        format!("{}{}", self.namespace(), self.sfn())
    }

    /// The name in this API.
    #[must_use]
    pub fn code(self, api: Api) -> &'static str {
        match api {
            Api::Sfn => self.sfn(),
            Api::Asw => self.asw(),
        }
    }
}
