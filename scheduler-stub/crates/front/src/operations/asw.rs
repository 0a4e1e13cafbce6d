//! The nine published actions of Tencent's ASW, and `DeleteFlowService`, which Tencent's own tools call.
//!
//! Invariant: sorted by name. Nothing here fails.
//! Source: the models of Tencent's SDK for Python (tencentcloud-sdk-python-asw), API version 2020-07-22; `DeleteFlowService` as
//! serverless-tencent's toolkit calls it. They name types, and few limits: those of texts are the door's own or, where there are
//! some, the documents'.

use super::shapes::{secret, text};
use super::{Operation, Right, Shape, Subject, optional, required};
use crate::fault::Kind;

/// Texts without a limit in the documents.
static TEXT: Shape = text(0, 32_768);
/// The QRN of a machine or an execution, or a role.
static QRN: Shape = text(1, 2_000);
/// The name of a machine or an execution: as Step Functions has it.
static NAME: Shape = text(1, 80);
/// An empty one is none.
static NAME_OR_NOTHING: Shape = text(0, 80);
/// A definition: as Step Functions has it.
static DEFINITION: Shape = secret(1, 1_048_576);
/// An execution's input: 524,288 characters.
static INPUT: Shape = secret(0, 524_288);
static BOOLEAN: Shape = Shape::Boolean;
static TYPE: Shape = Shape::OneOf(&["EXPRESS", "STANDARD"]);
static STATUS: Shape = Shape::OneOf(&["INIT", "RUNNING", "SUCCEED", "FAILED", "TERMINATED"]);
static OFFSET: Shape = Shape::Integer { min: 0, max: i64::MAX };
static LIMIT: Shape = Shape::Integer { min: 0, max: 100 };
static PAGE_SIZE: Shape = Shape::Integer { min: 1, max: 100 };
static PAGE_INDEX: Shape = Shape::Integer { min: 1, max: i64::MAX };
static FILTER: Shape = Shape::Structure(&[
    required("Name", &Shape::OneOf(&["FlowServiceName", "Status", "Type"])),
    required("Values", &Shape::List { item: &QRN, min: 1, max: 5 }),
]);
/// One for each name.
static FILTERS: Shape = Shape::List { item: &FILTER, min: 0, max: 3 };

/// What the SDK declares, for every action.
static ERRORS: &[Kind] =
    &[Kind::AccessDenied, Kind::Internal, Kind::InvalidParameter, Kind::Validation, Kind::ResourceNotFound];

/// See the module.
pub(super) static OPERATIONS: &[Operation] = &[
    Operation {
        name: "CreateFlowService",
        right: Right::Manage,
        subject: Subject::Name("FlowServiceName"),
        members: &[
            required("Definition", &DEFINITION),
            required("FlowServiceName", &NAME),
            required("IsNewRole", &BOOLEAN),
            required("Type", &TYPE),
            optional("FlowServiceChineseName", &TEXT),
            optional("RoleResource", &TEXT),
            optional("Description", &TEXT),
            optional("EnableCLS", &BOOLEAN),
            optional("Input", &INPUT),
        ],
        errors: ERRORS,
    },
    Operation {
        name: "DeleteFlowService",
        right: Right::Manage,
        subject: Subject::Members(&["FlowServiceResource"]),
        members: &[required("FlowServiceResource", &QRN)],
        errors: ERRORS,
    },
    Operation {
        name: "DescribeExecution",
        right: Right::Read,
        subject: Subject::Members(&["ExecutionResourceName"]),
        members: &[required("ExecutionResourceName", &QRN)],
        errors: ERRORS,
    },
    Operation {
        name: "DescribeExecutionHistory",
        right: Right::Read,
        subject: Subject::Members(&["ExecutionResourceName"]),
        members: &[required("ExecutionResourceName", &QRN)],
        errors: ERRORS,
    },
    Operation {
        name: "DescribeExecutions",
        right: Right::Read,
        subject: Subject::Members(&["StateMachineResourceName"]),
        members: &[
            required("StateMachineResourceName", &QRN),
            required("PageSize", &PAGE_SIZE),
            required("PageIndex", &PAGE_INDEX),
            optional("FilterExecutionStatus", &STATUS),
            optional("FilterExecutionResourceName", &QRN),
        ],
        errors: ERRORS,
    },
    Operation {
        name: "DescribeFlowServiceDetail",
        right: Right::Read,
        subject: Subject::Members(&["FlowServiceResource"]),
        members: &[required("FlowServiceResource", &QRN)],
        errors: ERRORS,
    },
    Operation {
        name: "DescribeFlowServices",
        right: Right::Read,
        subject: Subject::Nothing,
        members: &[optional("Offset", &OFFSET), optional("Limit", &LIMIT), optional("Filters", &FILTERS)],
        errors: ERRORS,
    },
    Operation {
        name: "ModifyFlowService",
        right: Right::Manage,
        subject: Subject::Members(&["FlowServiceResource"]),
        members: &[
            required("FlowServiceResource", &QRN),
            required("Definition", &DEFINITION),
            required("FlowServiceName", &NAME),
            required("FlowServiceChineseName", &TEXT),
            required("IsNewRole", &BOOLEAN),
            required("Type", &TYPE),
            required("RoleResource", &TEXT),
            optional("Description", &TEXT),
            optional("EnableCLS", &BOOLEAN),
        ],
        errors: ERRORS,
    },
    Operation {
        name: "StartExecution",
        right: Right::Start,
        subject: Subject::Members(&["StateMachineResourceName"]),
        members: &[
            required("StateMachineResourceName", &QRN),
            optional("Input", &INPUT),
            optional("Name", &NAME_OR_NOTHING),
        ],
        errors: ERRORS,
    },
    Operation {
        name: "StopExecution",
        right: Right::Start,
        subject: Subject::Members(&["ExecutionQrn"]),
        members: &[required("ExecutionQrn", &QRN)],
        errors: ERRORS,
    },
];
