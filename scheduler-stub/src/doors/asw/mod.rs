//! ASW's API (2020-07-22): its ten actions, over the same core as Step Functions'.
//!
//! Invariants: machines and executions of either dialect are served, by QRN or by ARN; the region of a QRN may be spelt as the caller
//! likes, for one scheduler has one region; times are texts, in milliseconds of Unix time. What may fail: whatever the core
//! refuses.
//! Source: asw (docs of the actions and data types of `asw.tencentcloudapi.com`, and the models of Tencent's SDK for Python).

mod executions;
mod history;
mod machines;

use std::sync::Arc;

use front::{Answer, Call, Fault};
use ids::MachineName;

use super::fault::fault;
use super::{Doors, unserved};
use crate::error::Error;
use crate::templates::{Template, Templates};

pub(super) use executions::start_execution;

/// Serves the actions.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "CreateFlowService" => machines::create_flow_service(doors, call).await,
        "ModifyFlowService" => machines::modify_flow_service(doors, call).await,
        "DescribeFlowServices" => machines::describe_flow_services(doors, call).await,
        "DescribeFlowServiceDetail" => machines::describe_flow_service_detail(doors, call).await,
        "DeleteFlowService" => machines::delete_flow_service(doors, call).await,
        "StartExecution" => executions::start_execution(doors, call).await,
        "StopExecution" => executions::stop_execution(doors, call).await,
        "DescribeExecution" => executions::describe_execution(doors, call).await,
        "DescribeExecutions" => executions::describe_executions(doors, call).await,
        "DescribeExecutionHistory" => history::describe_execution_history(doors, call).await,
        _ => Err(unserved(&call)),
    }
}

/// The machine that the call's member names, be it with this scheduler's region or as the caller spells it. A machine of the very region
/// that is named comes first.
///
/// # Errors
/// What is no QRN or ARN, what names no machine, and the store.
async fn find(templates: &Templates, given: &str, region: &str) -> Result<Arc<Template>, Error> {
    let here = in_region(given, region);
    match templates.target(given).await {
        Err(Error::NotFound { .. }) if here != given => templates.target(&here).await,
        found => found,
    }
}

/// The same, of a call that is made on the scheduler's runtime.
async fn found(doors: &Doors, call: &Call, member: &str) -> Result<Arc<Template>, Fault> {
    let given = call.text(member).unwrap_or_default();
    find(&doors.templates, given, &doors.naming.region).await.map_err(|error| fault(call, error))
}

/// How the machine of a call is spelt here, with whatever version or alias stands behind it.
async fn spelt_here(doors: &Doors, call: &Call, member: &str) -> Result<String, Fault> {
    let given = call.text(member).unwrap_or_default();
    let found = found(doors, call, member).await?;
    if given.starts_with(&found.arn) {
        return Ok(given.to_owned());
    }
    Ok(in_region(given, &doors.naming.region))
}

/// A QRN with another region; anything else as it is.
fn in_region(qrn: &str, region: &str) -> String {
    let mut segments: Vec<&str> = qrn.split(':').collect();
    match segments.as_mut_slice() {
        ["qrn", "qcs", "asw", spelt, ..] => *spelt = region,
        _ => return qrn.to_owned(),
    }
    segments.join(":")
}

/// How a machine is called inside the QRNs of its executions.
fn short_id(machine: &str, name: &str) -> String {
    match MachineName::parse(machine) {
        Ok(parsed) if machine.starts_with("qrn:") => parsed.execution_segment().to_owned(),
        _ => crate::names::short_id(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_region_of_a_qrn_is_spelt_anew() {
        let qrn = |region: &str| format!("qrn:qcs:asw:{region}:1300:http:json:flowmachine:orders:abcd2345");
        assert_eq!(in_region(&qrn("sh"), "ap-shanghai"), qrn("ap-shanghai"));
        assert_eq!(in_region(&format!("{}:3", qrn("")), "local"), format!("{}:3", qrn("local")));
        for other in ["", "qrn:qcs:scf:sh:1", "arn:aws:states:sh:1:stateMachine:orders"] {
            assert_eq!(in_region(other, "local"), other);
        }
    }

    #[test]
    fn a_machines_short_id_is_that_of_its_qrn_and_arns_have_one_too() {
        let qrn = "qrn:qcs:asw:local:1:http:json:flowmachine:orders:zzzz9999";
        assert_eq!(short_id(qrn, "orders"), "zzzz9999");
        let arn = "arn:aws:states:local:1:stateMachine:orders";
        assert_eq!(short_id(arn, "orders").len(), 8);
    }
}
