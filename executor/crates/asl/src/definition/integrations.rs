//! Names of service integrations that are nearly those of Step Functions.
//!
//! Step Functions refuses an integration that it does not have; here it is a task like any other. So only a name that
//! differs from a known one by a slip is remarked upon: a list of all that there are would be wrong after each of their
//! releases. `aws-sdk:` integrations have too many names to be looked at.

use super::code;
use super::compile::Compiler;
use super::findings::Place;
use crate::history::TaskResource;
use crate::qrn::{Qrn, QrnError};

/// How a task may wait, behind the name.
const PATTERNS: [&str; 3] = [".waitForTaskToken", ".sync:2", ".sync"];

/// How the calls may wait that a node makes itself; of others only their services know.
const FORMS: [(&str, &[&str]); 4] = [
    ("aws-sdk:sfn:startExecution", &[".waitForTaskToken"]),
    ("http:invoke", &[]),
    ("lambda:invoke", &[".waitForTaskToken"]),
    ("states:startExecution", &[".sync", ".sync:2", ".waitForTaskToken"]),
];

/// The integrations of the developer guide.
const KNOWN: &[&str] = &[
    "apigateway:invoke",
    "athena:getQueryExecution",
    "athena:getQueryResults",
    "athena:startQueryExecution",
    "athena:stopQueryExecution",
    "batch:submitJob",
    "bedrock:createModelCustomizationJob",
    "bedrock:invokeModel",
    "codebuild:batchDeleteBuilds",
    "codebuild:batchGetReports",
    "codebuild:startBuild",
    "codebuild:startBuildBatch",
    "codebuild:stopBuild",
    "codebuild:stopBuildBatch",
    "databrew:startJobRun",
    "dynamodb:deleteItem",
    "dynamodb:getItem",
    "dynamodb:putItem",
    "dynamodb:updateItem",
    "ecs:runTask",
    "eks:call",
    "eks:createCluster",
    "eks:createFargateProfile",
    "eks:createNodegroup",
    "eks:deleteCluster",
    "eks:deleteFargateProfile",
    "eks:deleteNodegroup",
    "eks:runJob",
    "elasticmapreduce:addStep",
    "elasticmapreduce:cancelStep",
    "elasticmapreduce:createCluster",
    "elasticmapreduce:modifyInstanceFleetByName",
    "elasticmapreduce:modifyInstanceGroupByName",
    "elasticmapreduce:setClusterTerminationProtection",
    "elasticmapreduce:terminateCluster",
    "emr-containers:createVirtualCluster",
    "emr-containers:deleteVirtualCluster",
    "emr-containers:startJobRun",
    "emr-serverless:cancelJobRun",
    "emr-serverless:createApplication",
    "emr-serverless:deleteApplication",
    "emr-serverless:startApplication",
    "emr-serverless:startJobRun",
    "emr-serverless:stopApplication",
    "events:putEvents",
    "glue:startJobRun",
    "http:invoke",
    "lambda:invoke",
    "mediaconvert:createJob",
    "sagemaker:createEndpoint",
    "sagemaker:createEndpointConfig",
    "sagemaker:createHyperParameterTuningJob",
    "sagemaker:createLabelingJob",
    "sagemaker:createModel",
    "sagemaker:createProcessingJob",
    "sagemaker:createTrainingJob",
    "sagemaker:createTransformJob",
    "sagemaker:updateEndpoint",
    "sns:publish",
    "sqs:sendMessage",
    "states:startExecution",
];

/// A form in which a node does not make a call, and those in which it does.
struct NoForm<'a> {
    name: &'a str,
    form: &'static str,
    has: &'static [&'static str],
}

impl<'a> NoForm<'a> {
    /// Of a call such as `lambda:invoke.sync`; `None` where there is such a form, or only others know.
    fn of(call: &'a str) -> Option<Self> {
        let form = PATTERNS.into_iter().find(|pattern| call.ends_with(pattern))?;
        let name = call.strip_suffix(form)?;
        let (_, has) = FORMS.into_iter().find(|(known, _)| *known == name)?;
        (!has.contains(&form)).then_some(Self { name, form, has })
    }
}

/// What to say of a task that asks for a form which its integration does not have; `None`: it has it, or only others know.
#[must_use]
pub fn no_such_form(resource: &str) -> Option<String> {
    if let Err(problem @ (QrnError::Sync | QrnError::Token)) = Qrn::parse(resource) {
        return Some(problem.to_string());
    }
    let TaskResource { service, call, .. } = TaskResource::parse(resource);
    let call = format!("{service}:{call}");
    let NoForm { name, form, has } = NoForm::of(&call)?;
    let has: String = has.iter().map(|form| format!(", {name}{form}")).collect();
    Some(format!("{name} has no form {form}; there is {name}{has}"))
}

impl Compiler<'_> {
    /// Warns of a Task's `Resource` that is nearly a known integration.
    pub(super) fn remark_misspelt_integration(&mut self, resource: &str, place: &Place<'_>) {
        let mut parts = resource.splitn(6, ':');
        let (service, region, call) = (parts.nth(2), parts.next(), parts.nth(1).unwrap_or_default());
        if (service, region) != (Some("states"), Some("")) {
            return;
        }
        if let Some(NoForm { name, form, has }) = NoForm::of(call) {
            let message = format!(
                "{name} has no form {form}; here such a task goes to a worker pool that is bound to the text"
            );
            let note = match has {
                [] => "It waits for its answer alone.".to_owned(),
                forms => format!("It has {}.", forms.join(", ")),
            };
            return self.findings.warning_noted(code::MISSPELT_INTEGRATION, place, message, note);
        }
        let form = PATTERNS.iter().find(|pattern| call.ends_with(*pattern));
        let name = form.and_then(|form| call.strip_suffix(form)).unwrap_or(call);
        if call.starts_with("aws-sdk:") || KNOWN.contains(&name) {
            return;
        }
        let note = self.suggestion(name, KNOWN.iter().copied());
        if !note.is_empty() {
            let message =
                format!("Step Functions has no integration '{name}'; here it is a task like any other");
            self.findings.warning_noted(code::MISSPELT_INTEGRATION, place, message, note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::no_such_form;

    #[test]
    fn a_form_that_an_integration_does_not_have_is_told_with_those_that_it_has() {
        for (call, has) in [
            ("lambda:invoke.sync", "there is lambda:invoke, lambda:invoke.waitForTaskToken"),
            ("http:invoke.waitForTaskToken", "there is http:invoke"),
            (
                "aws-sdk:sfn:startExecution.sync:2",
                "there is aws-sdk:sfn:startExecution, aws-sdk:sfn:startExecution.waitForTaskToken",
            ),
        ] {
            let told = no_such_form(&format!("arn:aws:states:::{call}")).expect(call);
            assert!(told.contains("has no form .") && told.ends_with(has), "{told}");
        }
        let told = no_such_form("qrn:qcs:asw:gz:1:sdk:json:qcloud:asr:CreateRecTask.sync").expect("a form");
        assert!(told.contains(".sync"), "{told}");
        for has in ["states:startExecution.sync:2", "lambda:invoke", "sqs:sendMessage.sync"] {
            assert_eq!(no_such_form(&format!("arn:aws:states:::{has}")), None);
        }
        assert_eq!(no_such_form("arn:aws:lambda:r:1:function:f.sync"), None);
    }
}
