//! Names of failures: what `Retry` and `Catch` match.
//!
//! Invariants: integrations call failures of their own by these names alone, which are the vendors'; what a peer calls its errors
//! and a function its own is passed on as it is. `docs/tasks.md` says of each what it means, and a test holds the two together.

use telemetry::CallKind;

/// What was asked for makes no sense or is not allowed, and stays so.
pub const RUNTIME: &str = "States.Runtime";
/// Nobody gives the role's credentials, whenever they are asked for.
pub const PERMISSIONS: &str = "States.Permissions";
/// An answer is too long.
pub const DATA_LIMIT: &str = "States.DataLimitExceeded";
/// An execution that was started has not succeeded.
pub const TASK_FAILED: &str = "States.TaskFailed";

/// No answer of an HTTP API.
pub const HTTP_SOCKET: &str = "States.Http.Socket";
/// Begins the name of a status that is no success.
pub const HTTP_STATUS: &str = "States.Http.StatusCode.";
/// A connection that the node does not know.
pub const CONNECTION_UNKNOWN: &str = "Events.ConnectionResource.ResourceNotFound";
/// A connection that is not for this host or role.
pub const CONNECTION_DENIED: &str = "Events.ConnectionResource.AccessDenied";
/// A connection that its authorization server gives no token.
pub const CONNECTION_STATE: &str = "Events.ConnectionResource.InvalidConnectionState";
/// A connection whose authorization server is away.
pub const CONNECTION_AWAY: &str = "Events.ConnectionResource.InternalError";

/// Begins the names of Lambda's own errors.
pub const LAMBDA: &str = "Lambda.";
/// No answer of Lambda, or of whoever gives the keys that it is called with: as AWS's client calls both.
pub const LAMBDA_AWAY: &str = "Lambda.SdkClientException";
/// An error of Lambda that Invoke is not documented to have.
pub const LAMBDA_OTHER: &str = "Lambda.AWSLambdaException";
/// Arguments that name no function.
pub const LAMBDA_ARGUMENTS: &str = "Lambda.ValidationException";
/// A function that has failed without a name for it.
pub const LAMBDA_UNKNOWN: &str = "Lambda.Unknown";

/// Begins the name of what refuses a start of the integration.
pub const STEP_FUNCTIONS: &str = "StepFunctions.";
/// Nobody has answered to it.
pub const STEP_FUNCTIONS_AWAY: &str = "StepFunctions.SdkClientException";
/// Begins the name of what refuses a start of the SDK's.
pub const SFN: &str = "Sfn.";
/// Nobody has answered to it.
pub const SFN_AWAY: &str = "Sfn.SdkClientException";

/// No answer of Tencent Cloud, or of whoever gives the keys that it is called with: as Tencent's SDKs call both.
pub const TENCENT_AWAY: &str = "ClientError.NetworkError";
/// What comes is no envelope, or has not in it what it must.
pub const TENCENT_UNREADABLE: &str = "ClientError.ParseResponseError";
/// A cloud function has failed.
pub const TENCENT_FUNCTION: &str = "FunctionError";

/// What each integration's tasks fail with, beside what peers call their errors; those that end in a dot begin such names.
pub const ALL: [(CallKind, &[&str]); 4] = [
    (
        CallKind::Http,
        &[
            RUNTIME,
            DATA_LIMIT,
            HTTP_SOCKET,
            HTTP_STATUS,
            CONNECTION_UNKNOWN,
            CONNECTION_DENIED,
            CONNECTION_STATE,
            CONNECTION_AWAY,
        ],
    ),
    (
        CallKind::Lambda,
        &[
            RUNTIME,
            PERMISSIONS,
            DATA_LIMIT,
            LAMBDA,
            LAMBDA_AWAY,
            LAMBDA_OTHER,
            LAMBDA_ARGUMENTS,
            LAMBDA_UNKNOWN,
        ],
    ),
    (
        CallKind::Execution,
        &[RUNTIME, TASK_FAILED, STEP_FUNCTIONS, SFN, STEP_FUNCTIONS_AWAY, SFN_AWAY, TENCENT_AWAY],
    ),
    (
        CallKind::Tencent,
        &[RUNTIME, PERMISSIONS, DATA_LIMIT, TENCENT_AWAY, TENCENT_UNREADABLE, TENCENT_FUNCTION],
    ),
];
