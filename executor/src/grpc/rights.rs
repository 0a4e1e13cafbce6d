//! Who may call what on a node, where TLS tells who calls.
//!
//! Operators may everything but work. Batches carry ids that their dispatcher has made: who starts executions for itself lets
//! the node make them. What no line names is refused; a test holds the lines to the services.

use trust::{Role, Roles};

/// Whether a peer with these roles may make this call.
pub(super) fn may_call(path: &str, roles: &Roles) -> bool {
    let any = |wanted: &[Role]| roles.has(&Role::Operator) || wanted.iter().any(|role| roles.has(role));
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return false };
    match (service, method) {
        ("grpc.health.v1.Health", _) => true,
        ("executor.v1.Worker", "Work") => roles.is_worker(),
        ("executor.v1.Executor", "Drain") => any(&[]),
        ("executor.v1.Executor", "DescribeNode") => {
            roles.is_worker() || any(&[Role::Scheduler, Role::Node, Role::Caller])
        }
        ("executor.v1.Executor", "RegisterDispatcher" | "StartExecutions") => any(&[Role::Scheduler]),
        ("executor.v1.Executor", _) => any(&[Role::Scheduler, Role::Caller]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use trust::Allow;

    use super::*;

    fn may(role: &str, path: &str) -> bool {
        let entry = format!("{role}=x");
        let roles = Allow::parse([entry.as_str()]).expect("an entry").roles(["x"].into_iter());
        may_call(path, &roles)
    }

    #[test]
    fn each_role_may_do_its_own_work_and_nothing_else() {
        for (path, allowed) in [
            ("/executor.v1.Executor/StartExecutions", &["scheduler", "operator"][..]),
            ("/executor.v1.Executor/StartExecution", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/StopExecution", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/RegisterDispatcher", &["scheduler", "operator"]),
            ("/executor.v1.Executor/Drain", &["operator"]),
            ("/executor.v1.Worker/Work", &["worker", "worker:ocr"]),
            ("/executor.v1.Other/Call", &[]),
            ("nonsense", &[]),
        ] {
            for role in ["node", "scheduler", "caller", "operator", "worker", "worker:ocr"] {
                assert_eq!(may(role, path), allowed.contains(&role), "{role} {path}");
            }
        }
        assert!(may("node", "/grpc.health.v1.Health/Check"));
    }
}
