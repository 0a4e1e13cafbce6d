//! Mocked results against the shapes of what services give.
//!
//! The shapes stand beside this file, one file for each service, and are read only when a result of that service is
//! checked. Invariant: services, operations and fields that are not known there are not held to anything. What may fail:
//! a result, with the first field that does not conform.

use std::fmt;

use crate::value::{JsonLimits, Map, Value};

/// Depth to which a result is compared; shapes may refer to themselves, results are bounded anyway.
const DEPTH_MAX: usize = 200;

/// The files by the name of the service in SDK integrations.
const FILES: &[(&str, &str)] = &[
    ("athena", include_str!("results/athena.json")),
    ("batch", include_str!("results/batch.json")),
    ("bedrock", include_str!("results/bedrock.json")),
    ("bedrockruntime", include_str!("results/bedrockruntime.json")),
    ("cloudwatch", include_str!("results/cloudwatch.json")),
    ("codebuild", include_str!("results/codebuild.json")),
    ("databrew", include_str!("results/databrew.json")),
    ("dynamodb", include_str!("results/dynamodb.json")),
    ("ecs", include_str!("results/ecs.json")),
    ("eks", include_str!("results/eks.json")),
    ("emr", include_str!("results/emr.json")),
    ("emrcontainers", include_str!("results/emrcontainers.json")),
    ("emrserverless", include_str!("results/emrserverless.json")),
    ("eventbridge", include_str!("results/eventbridge.json")),
    ("firehose", include_str!("results/firehose.json")),
    ("glue", include_str!("results/glue.json")),
    ("kinesis", include_str!("results/kinesis.json")),
    ("kms", include_str!("results/kms.json")),
    ("lambda", include_str!("results/lambda.json")),
    ("s3", include_str!("results/s3.json")),
    ("sagemaker", include_str!("results/sagemaker.json")),
    ("scheduler", include_str!("results/scheduler.json")),
    ("secretsmanager", include_str!("results/secretsmanager.json")),
    ("ses", include_str!("results/ses.json")),
    ("sesv2", include_str!("results/sesv2.json")),
    ("sfn", include_str!("results/sfn.json")),
    ("sns", include_str!("results/sns.json")),
    ("sqs", include_str!("results/sqs.json")),
    ("ssm", include_str!("results/ssm.json")),
    ("sts", include_str!("results/sts.json")),
];

/// Optimised integrations whose name is not that of the SDK integration.
const OPTIMISED: &[(&str, &str)] = &[
    ("states", "sfn"),
    ("events", "eventbridge"),
    ("elasticmapreduce", "emr"),
    ("emr-containers", "emrcontainers"),
    ("emr-serverless", "emrserverless"),
];

/// What an operation gives.
#[derive(Debug)]
pub(super) struct Shapes {
    service: Value,
    operation: Value,
    /// An optimised integration gives the blobs of its service decoded, so they may be anything.
    optimised: bool,
}

/// The first field that does not conform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    field: String,
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Missing,
    /// Has to be of this kind.
    Kind(&'static str),
    Unexpected,
    TooSmall,
    TooLarge,
    TooShort,
    TooLong,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, rule } = self;
        match rule {
            Rule::Missing => write!(f, "Required field '{field}' is missing"),
            Rule::Kind(kind) => write!(f, "Field '{field}' must be {kind}"),
            Rule::Unexpected => write!(f, "Field '{field}' is not an expected value"),
            Rule::TooSmall => write!(f, "Field '{field}' is less than the minimum value"),
            Rule::TooLarge => write!(f, "Field '{field}' exceeds the maximum value"),
            Rule::TooShort => write!(f, "Field '{field}' is smaller than the minimum length"),
            Rule::TooLong => write!(f, "Field '{field}' exceeds the maximum length"),
        }
    }
}

/// The shape of what a service's call gives; `None` where it is not known, or the result is not the call's own.
pub(super) fn of(service: &str, call: &str) -> Option<Shapes> {
    let (sdk, optimised) = match service.strip_prefix("aws-sdk:") {
        Some(sdk) => (sdk, false),
        None => (renamed(service), true),
    };
    let operation = match call.split_once('.') {
        None => call,
        // The result is that of the last look at the execution.
        Some(("startExecution", "sync" | "sync:2")) if optimised && sdk == "sfn" => "describeExecution",
        // Given with the token, or put together by the integration.
        Some(_) => return None,
    };
    let (_, text) = FILES.iter().find(|(name, _)| *name == sdk)?;
    let service = Value::parse(text.as_bytes(), JsonLimits::default()).ok()?;
    let operation = service.get("operations")?.get(operation)?.clone();
    Some(Shapes { service, operation, optimised })
}

fn renamed(service: &str) -> &str {
    OPTIMISED.iter().find(|(name, _)| *name == service).map_or(service, |(_, sdk)| sdk)
}

impl Shapes {
    /// Holds a result to the shape; with `required`, fields that are required have to be there.
    pub fn check(&self, result: &Value, required: bool) -> Result<(), Violation> {
        self.conforms("", result, &self.operation, required, 0)
    }

    fn conforms(
        &self,
        field: &str,
        value: &Value,
        shape: &Value,
        required: bool,
        depth: usize,
    ) -> Result<(), Violation> {
        let violated = |rule| Err(Violation { field: field.to_owned(), rule });
        if let Some(text) = shape.as_str() {
            let Some(name) = text.strip_prefix('@') else { return self.scalar(field, value, text) };
            let shape = self.service.get("shapes").and_then(|shapes| shapes.get(name));
            return match shape.filter(|_| depth < DEPTH_MAX) {
                Some(shape) => self.conforms(field, value, shape, required, depth + 1),
                None => Ok(()),
            };
        }
        if let Some(expected) = shape.get("enum").and_then(Value::as_array) {
            return match value {
                Value::String(_) if expected.contains(value) => Ok(()),
                Value::String(_) => violated(Rule::Unexpected),
                _ => violated(Rule::Kind("a string")),
            };
        }
        if let Some(shape) = shape.get("list") {
            let Value::Array(items) = value else { return violated(Rule::Kind("an array")) };
            return items.iter().try_for_each(|item| self.conforms(field, item, shape, required, depth + 1));
        }
        let Value::Object(given) = value else { return violated(Rule::Kind("an object")) };
        if let Some(shape) = shape.get("map") {
            let mut values = given.values();
            return values.try_for_each(|value| self.conforms(field, value, shape, required, depth + 1));
        }
        self.structure(given, shape, required, depth)
    }

    fn structure(&self, given: &Map, shape: &Value, required: bool, depth: usize) -> Result<(), Violation> {
        let names = shape.get("required").and_then(Value::as_array).unwrap_or_default();
        let mut names = names.iter().filter_map(Value::as_str).filter(|_| required);
        if let Some(missing) = names.find(|name| !given.contains_key(name)) {
            return Err(Violation { field: missing.to_owned(), rule: Rule::Missing });
        }
        let members = shape.get("structure");
        let known = |name: &str| members.and_then(|members| members.get(name));
        given.iter().try_for_each(|(name, value)| match known(name) {
            Some(shape) => self.conforms(name, value, shape, required, depth + 1),
            None => Ok(()),
        })
    }

    /// `string 1..256` and the like.
    fn scalar(&self, field: &str, value: &Value, shape: &str) -> Result<(), Violation> {
        let violated = |rule| Err(Violation { field: field.to_owned(), rule });
        let (kind, bounds) = shape.split_once(' ').unwrap_or((shape, ""));
        let (least, most) = bounds.split_once("..").unwrap_or_default();
        let below = |size: f64| least.parse::<f64>().is_ok_and(|least| size < least);
        let above = |size: f64| most.parse::<f64>().is_ok_and(|most| size > most);
        match kind {
            "string" | "timestamp" | "blob" if kind != "blob" || !self.optimised => {
                let Some(text) = value.as_str() else { return violated(Rule::Kind("a string")) };
                #[allow(clippy::cast_precision_loss, reason = "a text is shorter than 2^53")]
                let length = text.chars().count() as f64;
                match () {
                    () if below(length) => violated(Rule::TooShort),
                    () if above(length) => violated(Rule::TooLong),
                    () => Ok(()),
                }
            }
            "number" => match value.as_number().map(|_| value.as_f64().unwrap_or_default()) {
                None => violated(Rule::Kind("a number")),
                Some(number) if below(number) => violated(Rule::TooSmall),
                Some(number) if above(number) => violated(Rule::TooLarge),
                Some(_) => Ok(()),
            },
            "boolean" if value.as_bool().is_none() => violated(Rule::Kind("a boolean")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(service: &str, call: &str, result: &str, required: bool) -> String {
        let result = Value::parse(result.as_bytes(), JsonLimits::default()).unwrap();
        let shapes = of(service, call).unwrap();
        shapes.check(&result, required).map_or_else(|violation| violation.to_string(), |()| String::new())
    }

    #[test]
    fn every_file_is_json_with_operations_whose_shapes_are_there() {
        fn referred(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::String(text) => found.extend(text.strip_prefix('@').map(str::to_owned)),
                Value::Array(items) => items.iter().for_each(|item| referred(item, found)),
                Value::Object(members) => members.values().for_each(|member| referred(member, found)),
                _ => {}
            }
        }
        for (name, text) in FILES {
            let file = Value::parse(text.as_bytes(), JsonLimits::default()).unwrap();
            let shapes = file.get("shapes").and_then(Value::as_object).unwrap();
            let mut names = Vec::new();
            referred(file.get("operations").unwrap(), &mut names);
            assert!(!names.is_empty(), "{name}");
            for shape in shapes.values().filter(|shape| shape.get("enum").is_none()) {
                referred(shape, &mut names);
            }
            for shape in names {
                assert!(shapes.contains_key(&shape), "{name}: {shape}");
            }
        }
    }

    #[test]
    fn the_first_field_that_does_not_conform_is_told() {
        for (result, expected) in [
            (r#"{"MemorySize": 127}"#, "Field 'MemorySize' is less than the minimum value"),
            (r#"{"MemorySize": 10241}"#, "Field 'MemorySize' exceeds the maximum value"),
            (r#"{"MemorySize": "128"}"#, "Field 'MemorySize' must be a number"),
            (r#"{"Runtime": "cobol"}"#, "Field 'Runtime' is not an expected value"),
            (r#"{"Runtime": 1}"#, "Field 'Runtime' must be a string"),
            (r#"{"Layers": {}}"#, "Field 'Layers' must be an array"),
            (r#"{"VpcConfig": []}"#, "Field 'VpcConfig' must be an object"),
            (
                r#"{"VpcConfig": {"Ipv6AllowedForDualStack": 1}}"#,
                "Field 'Ipv6AllowedForDualStack' must be a boolean",
            ),
            (r#"{"MemorySize": 128, "Whatever": 1}"#, ""),
        ] {
            let result = format!(r#"{{"Configuration": {result}}}"#);
            assert_eq!(told("aws-sdk:lambda", "getFunction", &result, true), expected, "{result}");
        }
        let key = "k".repeat(2049);
        let result = format!(r#"{{"KeyId": "{key}"}}"#);
        assert_eq!(told("aws-sdk:kms", "encrypt", &result, true), "Field 'KeyId' exceeds the maximum length");
    }

    #[test]
    fn required_fields_are_asked_for_only_where_wanted() {
        let missing = "Required field 'ExecutionArn' is missing";
        assert_eq!(told("states", "startExecution", "{}", true), missing);
        assert_eq!(told("states", "startExecution", "{}", false), "");
        assert_eq!(
            told("states", "startExecution.sync:2", r#"{"Output": 1}"#, false),
            "Field 'Output' must be a string"
        );
    }

    #[test]
    fn an_optimised_integration_gives_blobs_decoded() {
        let result = r#"{"Payload": {"any": "thing"}}"#;
        assert_eq!(told("lambda", "invoke", result, true), "");
        assert_eq!(told("aws-sdk:lambda", "invoke", result, true), "Field 'Payload' must be a string");
    }

    #[test]
    fn what_is_not_the_result_of_a_known_call_is_not_checked() {
        for (service, call) in [
            ("sqs", "sendMessage.waitForTaskToken"),
            ("glue", "startJobRun.sync"),
            ("apigateway", "invoke"),
            ("aws-sdk:lambda", "fly"),
            ("aws-sdk:unheardof", "get"),
        ] {
            assert!(of(service, call).is_none(), "{service}:{call}");
        }
    }
}
