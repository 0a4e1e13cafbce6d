//! The shapes of Step Functions' members, as its model names and bounds them.
//!
//! Nothing here fails. Source: botocore's model, API version 2016-11-23.

use super::{Pattern, Shape, optional, required};

/// A text of so many characters.
pub(super) const fn text(min: u32, max: u32) -> Shape {
    Shape::Text { min, max, pattern: None, sensitive: false }
}

/// The same, which no message may show.
pub(super) const fn secret(min: u32, max: u32) -> Shape {
    Shape::Text { min, max, pattern: None, sensitive: true }
}

pub(super) static NAME: Shape = text(1, 80);
pub(super) static TAG_LIST: Shape = Shape::List { item: &TAG, min: 0, max: u32::MAX };
pub(super) static TAG: Shape = Shape::Structure(&[optional("key", &TAG_KEY), optional("value", &TAG_VALUE)]);
pub(super) static TAG_KEY: Shape = text(1, 128);
pub(super) static TAG_VALUE: Shape = text(0, 256);
pub(super) static ENCRYPTION_CONFIGURATION: Shape = Shape::Structure(&[
    optional("kmsKeyId", &KMS_KEY_ID),
    optional("kmsDataKeyReusePeriodSeconds", &KMS_DATA_KEY_REUSE_PERIOD_SECONDS),
    required("type", &ENCRYPTION_TYPE),
]);
pub(super) static KMS_KEY_ID: Shape = text(1, 2048);
pub(super) static KMS_DATA_KEY_REUSE_PERIOD_SECONDS: Shape = Shape::Integer { min: 60, max: 900 };
pub(super) static ENCRYPTION_TYPE: Shape = Shape::OneOf(&["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"]);
pub(super) static DEFINITION: Shape = secret(1, 1_048_576);
pub(super) static ARN: Shape = text(1, 256);
pub(super) static STATE_MACHINE_TYPE: Shape = Shape::OneOf(&["STANDARD", "EXPRESS"]);
pub(super) static LOGGING_CONFIGURATION: Shape = Shape::Structure(&[
    optional("level", &LOG_LEVEL),
    optional("includeExecutionData", &BOOLEAN),
    optional("destinations", &LOG_DESTINATION_LIST),
]);
pub(super) static LOG_LEVEL: Shape = Shape::OneOf(&["ALL", "ERROR", "FATAL", "OFF"]);
pub(super) static BOOLEAN: Shape = Shape::Boolean;
pub(super) static LOG_DESTINATION_LIST: Shape = Shape::List { item: &LOG_DESTINATION, min: 0, max: u32::MAX };
pub(super) static LOG_DESTINATION: Shape =
    Shape::Structure(&[optional("cloudWatchLogsLogGroup", &CLOUD_WATCH_LOGS_LOG_GROUP)]);
pub(super) static CLOUD_WATCH_LOGS_LOG_GROUP: Shape = Shape::Structure(&[optional("logGroupArn", &ARN)]);
pub(super) static TRACING_CONFIGURATION: Shape = Shape::Structure(&[optional("enabled", &BOOLEAN)]);
pub(super) static VERSION_DESCRIPTION: Shape = secret(0, 256);
pub(super) static ALIAS_DESCRIPTION: Shape = secret(0, 256);
pub(super) static ALIAS_NAME: Shape =
    Shape::Text { min: 1, max: 80, pattern: Some(Pattern::AliasName), sensitive: false };
pub(super) static ROUTING_CONFIGURATION: Shape = Shape::List { item: &ROUTE, min: 1, max: 2 };
pub(super) static ROUTE: Shape =
    Shape::Structure(&[required("stateMachineVersionArn", &ARN), required("weight", &VERSION_WEIGHT)]);
pub(super) static VERSION_WEIGHT: Shape = Shape::Integer { min: 0, max: 100 };
pub(super) static LONG_ARN: Shape = text(1, 2000);
pub(super) static INCLUDED_DATA: Shape = Shape::OneOf(&["ALL_DATA", "METADATA_ONLY"]);
pub(super) static PAGE_SIZE: Shape = Shape::Integer { min: 0, max: 1000 };
pub(super) static PAGE_TOKEN: Shape = text(1, 1024);
pub(super) static EXECUTION_STATUS: Shape =
    Shape::OneOf(&["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"]);
pub(super) static EXECUTIONS_PAGE_TOKEN: Shape = text(1, 3096);
pub(super) static REDRIVE_FILTER: Shape = Shape::OneOf(&["REDRIVEN", "NOT_REDRIVEN"]);
pub(super) static REVISION_ID: Shape = text(0, u32::MAX);
pub(super) static CLIENT_TOKEN: Shape =
    Shape::Text { min: 1, max: 64, pattern: Some(Pattern::Visible), sensitive: false };
pub(super) static TASK_TOKEN: Shape = secret(1, 2048);
pub(super) static ERROR: Shape = secret(0, 256);
pub(super) static CAUSE: Shape = secret(0, 32_768);
pub(super) static DATA: Shape = secret(0, 262_144);
pub(super) static TRACE_HEADER: Shape =
    Shape::Text { min: 0, max: 256, pattern: Some(Pattern::Ascii), sensitive: false };
pub(super) static INSPECTION_LEVEL: Shape = Shape::OneOf(&["INFO", "DEBUG", "TRACE"]);
pub(super) static STATE_NAME: Shape = secret(1, 80);
pub(super) static MOCK_INPUT: Shape = Shape::Structure(&[
    optional("result", &DATA),
    optional("errorOutput", &MOCK_ERROR_OUTPUT),
    optional("fieldValidationMode", &MOCK_VALIDATION_MODE),
]);
pub(super) static MOCK_ERROR_OUTPUT: Shape =
    Shape::Structure(&[optional("error", &ERROR), optional("cause", &CAUSE)]);
pub(super) static MOCK_VALIDATION_MODE: Shape = Shape::OneOf(&["STRICT", "PRESENT", "NONE"]);
pub(super) static TEST_STATE_CONFIGURATION: Shape = Shape::Structure(&[
    optional("retrierRetryCount", &RETRIER_RETRY_COUNT),
    optional("errorCausedByState", &STATE_NAME),
    optional("mapIterationFailureCount", &MAP_ITERATION_FAILURE_COUNT),
    optional("mapItemReaderData", &DATA),
]);
pub(super) static RETRIER_RETRY_COUNT: Shape = Shape::Integer { min: 0, max: i32::MAX as i64 };
pub(super) static MAP_ITERATION_FAILURE_COUNT: Shape = Shape::Integer { min: 0, max: i32::MAX as i64 };
pub(super) static TAG_KEY_LIST: Shape = Shape::List { item: &TAG_KEY, min: 0, max: u32::MAX };
pub(super) static MAX_CONCURRENCY: Shape = Shape::Integer { min: 0, max: i32::MAX as i64 };
pub(super) static TOLERATED_FAILURE_PERCENTAGE: Shape = Shape::Number { min: 0.0, max: 100.0 };
pub(super) static TOLERATED_FAILURE_COUNT: Shape = Shape::Integer { min: 0, max: i64::MAX };
pub(super) static SEVERITY: Shape = Shape::OneOf(&["ERROR", "WARNING"]);
pub(super) static DIAGNOSTICS_MAX: Shape = Shape::Integer { min: 0, max: 100 };
