//! Who may call what on a scheduler, where TLS tells who calls.
//!
//! Operators may everything but report as a node. What no line names is refused.

use trust::{Role, Roles};

/// Whether a peer with these roles may make this call.
pub(crate) fn may_call(path: &str, roles: &Roles) -> bool {
    let operator = roles.has(&Role::Operator);
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return false };
    match (service, method) {
        ("grpc.health.v1.Health", _) => true,
        ("scheduler.v1.Nodes", "Heartbeat") => roles.has(&Role::Node),
        // The token says for which task: whoever works may be given one.
        ("scheduler.v1.Executions", "SendTaskSuccess" | "SendTaskFailure" | "SendTaskHeartbeat") => {
            operator || roles.has(&Role::Caller) || roles.is_worker()
        }
        // Executions that tasks start.
        ("scheduler.v1.Executions", "StartExecution" | "DescribeExecution" | "StopExecution") => {
            operator || roles.has(&Role::Caller) || roles.has(&Role::Node)
        }
        // Whether what they start may be started again.
        ("scheduler.v1.Templates", "DescribeStateMachine") => {
            operator || roles.has(&Role::Caller) || roles.has(&Role::Node)
        }
        ("scheduler.v1.Executions", _) => operator || roles.has(&Role::Caller),
        ("scheduler.v1.Templates", "ListStateMachines")
        | ("scheduler.v1.Activities", "DescribeActivity" | "ListActivities") => {
            operator || roles.has(&Role::Caller)
        }
        // Which activity's, the call looks at.
        ("scheduler.v1.Activities", "GetActivityTask") => {
            operator || roles.has(&Role::Caller) || roles.is_worker()
        }
        ("scheduler.v1.Activities" | "scheduler.v1.Templates" | "scheduler.v1.Cluster", _) => operator,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use trust::Allow;

    use super::*;

    #[test]
    fn each_role_may_do_its_own_work_and_nothing_else() {
        for (path, allowed) in [
            ("/scheduler.v1.Nodes/Heartbeat", &["node"][..]),
            ("/scheduler.v1.Executions/StartExecution", &["node", "caller", "operator"]),
            ("/scheduler.v1.Executions/StopExecution", &["node", "caller", "operator"]),
            ("/scheduler.v1.Executions/RedriveExecution", &["caller", "operator"]),
            ("/scheduler.v1.Executions/SendTaskSuccess", &["caller", "operator", "worker"]),
            ("/scheduler.v1.Executions/SendTaskFailure", &["caller", "operator", "worker"]),
            ("/scheduler.v1.Executions/SendTaskHeartbeat", &["caller", "operator", "worker"]),
            ("/scheduler.v1.Templates/DescribeStateMachine", &["node", "caller", "operator"]),
            ("/scheduler.v1.Templates/ListStateMachines", &["caller", "operator"]),
            ("/scheduler.v1.Templates/CreateStateMachine", &["operator"]),
            ("/scheduler.v1.Activities/CreateActivity", &["operator"]),
            ("/scheduler.v1.Activities/ListActivities", &["caller", "operator"]),
            ("/scheduler.v1.Activities/GetActivityTask", &["caller", "operator", "worker"]),
            ("/scheduler.v1.Cluster/DescribeCluster", &["operator"]),
            ("/scheduler.v1.Other/Call", &[]),
            ("nonsense", &[]),
        ] {
            for role in ["node", "scheduler", "caller", "operator", "worker"] {
                let entry = format!("{role}=x");
                let roles = Allow::parse([entry.as_str()]).expect("an entry").roles(["x"].into_iter());
                assert_eq!(may_call(path, &roles), allowed.contains(&role), "{role} {path}");
            }
        }
    }
}
