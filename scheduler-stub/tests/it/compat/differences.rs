//! Where an operation does something else than at AWS or Tencent, or where what those do is not known.

/// API, operation, text. `*` stands for each operation of the API.
pub(super) const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "sfn",
        "*",
        "Keys of the caller (KMS) are refused with `InvalidEncryptionConfiguration`: what is stored is as safe as the store.",
    ),
    (
        "sfn",
        "*",
        "Quotas are those of this page alone: 1,000 versions and 100 aliases of a machine, 50 tags of a resource.",
    ),
    ("sfn", "*", "Tags whose keys begin with `aws:` are taken."),
    (
        "sfn",
        "CreateStateMachine",
        "ARNs have at most 220 bytes. A destination of logs is kept and told; where histories go, the nodes' configuration says.",
    ),
    (
        "sfn",
        "DescribeExecution",
        "EXPRESS executions are described, too; AWS answers `InvalidArn`. `traceHeader` is not told: a start's header leads its spans, and is not kept as it was written.",
    ),
    (
        "sfn",
        "DescribeMapRun",
        "A Map Run is known to this scheduler once `ListMapRuns` or a history has told it, until it restarts or has been told of 10,000 others; else the answer is `ResourceNotFound`. `pending` is 0, for items are not read ahead.",
    ),
    (
        "sfn",
        "DescribeStateMachine",
        "By an alias: the version that has the greater weight. `includedData: METADATA_ONLY` leaves the definition in, which the model requires. `variableReferences` is not told.",
    ),
    ("sfn", "DescribeStateMachineForExecution", "`variableReferences` is not told."),
    (
        "sfn",
        "GetActivityTask",
        "Waits 55 seconds. A task whose worker went away while it was handed over is lost until its timeout, as at AWS.",
    ),
    (
        "sfn",
        "GetExecutionHistory",
        "EXPRESS executions have one as long as they are kept, if they have ended of themselves and have not waited for anything. A page ends at 1 MiB of details, too. With `includeExecutionData: false` `parameters` is an empty text, for the model requires it.",
    ),
    (
        "sfn",
        "ListExecutions",
        "`PENDING_REDRIVE` finds nothing. `redriveFilter` goes with a machine, too. Redrives, versions and aliases are told where the machine has versions, or a filter asks for them. Of 1,000 executions that are not the version's, the alias' or the filter's, the page is empty and has a token. By `mapRunArn`: of a Map Run that is known here, see `DescribeMapRun`; its executions are listed, and are not described one by one.",
    ),
    ("sfn", "RedriveExecution", "A distributed Map that is redriven begins another Map Run."),
    ("sfn", "StartExecution", "`OutcomeUnknown`, see above."),
    (
        "sfn",
        "StartSyncExecution",
        "`OutcomeUnknown`, see above. Billing details are counted as AWS does, with 64 MB; nobody is billed.",
    ),
    ("sfn", "StopExecution", "EXPRESS executions are stopped, too."),
    (
        "sfn",
        "TestState",
        "Nothing is called from here: a Task needs a `mock`, with a `roleArn`, too; without one the answer is `ValidationException`.",
    ),
    (
        "sfn",
        "UpdateMapRun",
        "Refused with `ValidationException`: what a Map begins with stays until it ends.",
    ),
    (
        "sfn",
        "ValidateStateMachineDefinition",
        "Codes and messages of what AWS does not know are ours: docs/diagnostics.md.",
    ),
    (
        "asw",
        "*",
        "`X-TC-Region` is not compared with the region of a QRN. QRNs of any spelling of a region, and ARNs, are taken.",
    ),
    ("asw", "*", "`Creator` and `Modifier` are empty. Machines are always `Online`."),
    ("asw", "CreateFlowService", "`Input` has at most 64 KiB, `Description` 4,096 bytes."),
    ("asw", "DeleteFlowService", "Not published; as Tencent's own tools call it."),
    ("asw", "DescribeExecution", "Executions that have timed out are `FAILED`."),
    ("asw", "DescribeExecutionHistory", "Histories of more than 8 MiB are refused with `FailedOperation`."),
    (
        "asw",
        "DescribeExecutions",
        "Looks at the newest 10,000 executions; the SDK's model has none of its members, older examples show them.",
    ),
    ("asw", "DescribeFlowServices", "Looks at 10,000 machines."),
    (
        "asw",
        "StartExecution",
        "The QRN of an EXPRESS execution ends with its id, for others may have its name; `Name` is the caller's.",
    ),
    (
        "asw",
        "ModifyFlowService",
        "Name and type stay: others are refused with `InvalidParameterValue`. Without a `Description` the one stays that there is.",
    ),
];
