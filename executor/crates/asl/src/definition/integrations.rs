//! Names of service integrations that are nearly those of Step Functions.
//!
//! Step Functions refuses an integration that it does not have; here it is a task like any other. So only a name that
//! differs from a known one by a slip is remarked upon: a list of all that there are would be wrong after each of their
//! releases. `aws-sdk:` integrations have too many names to be looked at.

use super::code;
use super::compile::Compiler;
use super::findings::Place;

/// How a task may wait, behind the name.
const PATTERNS: [&str; 3] = [".waitForTaskToken", ".sync:2", ".sync"];

/// How the calls may wait that a node makes itself; of others only their services know.
const FORMS: [(&str, &[&str]); 3] = [
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

impl Compiler<'_> {
    /// Warns of a Task's `Resource` that is nearly a known integration.
    pub(super) fn remark_misspelt_integration(&mut self, resource: &str, place: &Place<'_>) {
        let mut parts = resource.splitn(6, ':');
        let (service, region, call) = (parts.nth(2), parts.next(), parts.nth(1).unwrap_or_default());
        if (service, region) != (Some("states"), Some("")) || call.starts_with("aws-sdk:") {
            return;
        }
        let form = PATTERNS.iter().find(|pattern| call.ends_with(*pattern));
        let name = form.and_then(|form| call.strip_suffix(form)).unwrap_or(call);
        if let (Some((_, forms)), Some(form)) = (FORMS.iter().find(|known| known.0 == name), form)
            && !forms.contains(form)
        {
            let message = format!(
                "{name} has no form {form}; here such a task goes to a worker pool that is bound to the text"
            );
            let note = match forms {
                [] => "It waits for its answer alone.".to_owned(),
                forms => format!("It has {}.", forms.join(", ")),
            };
            return self.findings.warning_noted(code::MISSPELT_INTEGRATION, place, message, note);
        }
        if KNOWN.contains(&name) {
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
