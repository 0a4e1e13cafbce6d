//! Who may call what on a node, where TLS tells who calls.
//!
//! Operators may everything but work. Batches carry ids that their dispatcher has made: who starts executions for itself lets
//! the node make them. What a machine does is for operators to say, who tell the scheduler: callers start what is there, and
//! turn pages by the tokens that they were given. What no line names is refused; a test holds the lines to the services.

use proto::executor::v1;
use tonic::{Request, Status};
use trust::{Peer, Role, Roles};

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
        (
            "executor.v1.Executor",
            "RegisterDispatcher" | "StartExecutions" | "PutDefinition" | "WatchCompletions"
            | "AwaitActivityTask" | "TakeActivityTask",
        ) => any(&[Role::Scheduler]),
        // Which activity's, `activities` looks at.
        ("executor.v1.Executor", "GetActivityTask") => {
            roles.is_worker() || any(&[Role::Scheduler, Role::Caller])
        }
        // The token says for which task: whoever works may be given one.
        ("executor.v1.Executor", "SendTaskSuccess" | "SendTaskFailure" | "SendTaskHeartbeat") => {
            roles.is_worker() || any(&[Role::Scheduler, Role::Caller])
        }
        (
            "executor.v1.Executor",
            "StartExecution"
            | "StartSyncExecution"
            | "StopExecution"
            | "RedriveExecution"
            | "DescribeExecution"
            | "GetExecutionHistory"
            | "ListMapRuns"
            | "ListMapRunExecutions"
            | "ListExecutions",
        ) => any(&[Role::Scheduler, Role::Caller]),
        _ => false,
    }
}

/// Refuses what a request holds that schedulers and operators alone may say, where it is known who says it.
fn may_say(peer: Option<&Peer>, field: &str) -> Result<(), Status> {
    let roles = peer.and_then(|peer| peer.roles.as_deref());
    if roles.is_none_or(|roles| roles.has(&Role::Scheduler) || roles.has(&Role::Operator)) {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "the certificate of this connection does not give the right to send `{field}`: ask whoever keeps the allow-list \
         (--tls-allow)"
    )))
}

/// Callers start machines whose definition is there.
pub(super) fn check_start(request: &Request<v1::StartExecutionRequest>) -> Result<(), Status> {
    match request.get_ref().definition.is_empty() {
        true => Ok(()),
        false => may_say(request.extensions().get(), "definition"),
    }
}

/// Callers go on where the token says that they were given.
pub(super) fn check_list(request: &Request<v1::ListExecutionsRequest>) -> Result<(), Status> {
    match request.get_ref().after.is_empty() {
        true => Ok(()),
        false => may_say(request.extensions().get(), "after"),
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
            ("/executor.v1.Executor/StartSyncExecution", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/RedriveExecution", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/DescribeExecution", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/GetExecutionHistory", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/ListMapRuns", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/ListMapRunExecutions", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/ListExecutions", &["scheduler", "caller", "operator"]),
            ("/executor.v1.Executor/WatchCompletions", &["scheduler", "operator"]),
            ("/executor.v1.Executor/PutDefinition", &["scheduler", "operator"]),
            (
                "/executor.v1.Executor/DescribeNode",
                &["node", "scheduler", "caller", "operator", "worker", "worker:ocr"],
            ),
            ("/executor.v1.Executor/AwaitActivityTask", &["scheduler", "operator"]),
            ("/executor.v1.Executor/TakeActivityTask", &["scheduler", "operator"]),
            (
                "/executor.v1.Executor/GetActivityTask",
                &["scheduler", "caller", "operator", "worker", "worker:ocr"],
            ),
            (
                "/executor.v1.Executor/SendTaskSuccess",
                &["scheduler", "caller", "operator", "worker", "worker:ocr"],
            ),
            (
                "/executor.v1.Executor/SendTaskFailure",
                &["scheduler", "caller", "operator", "worker", "worker:ocr"],
            ),
            (
                "/executor.v1.Executor/SendTaskHeartbeat",
                &["scheduler", "caller", "operator", "worker", "worker:ocr"],
            ),
            ("/executor.v1.Executor/WhateverComesNext", &[]),
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

    #[test]
    fn every_call_of_the_services_is_named() {
        let proto = include_str!("../../crates/proto/proto/executor/v1/executor.proto");
        let mut service = "";
        for line in proto.lines().map(str::trim) {
            let word = |line: &'static str| line.split([' ', '(']).nth(1).unwrap_or_default();
            if line.starts_with("service ") {
                service = word(line);
            } else if line.starts_with("rpc ") {
                let path = format!("/executor.v1.{service}/{}", word(line));
                assert!(may("operator", &path) || may("worker", &path), "{path}");
            }
        }
        assert_eq!(service, "Worker", "the services were read");
    }

    #[test]
    fn callers_bring_no_definitions_and_go_on_where_their_token_says() {
        fn of<T>(role: Option<&str>, message: T) -> Request<T> {
            let roles = role.map(|role| {
                let entry = format!("{role}=x");
                Allow::parse([entry.as_str()]).expect("an entry").roles(["x"].into_iter()).into()
            });
            let mut request = Request::new(message);
            request.extensions_mut().insert(Peer { address: None, roles });
            request
        }
        let defined = v1::StartExecutionRequest { definition: "{}".into(), ..Default::default() };
        let hashed = v1::StartExecutionRequest { definition_hash: "h".into(), ..Default::default() };
        let placed = v1::ListExecutionsRequest { after: "1:x".to_owned(), ..Default::default() };
        let next = v1::ListExecutionsRequest { next_token: "t".to_owned(), ..Default::default() };
        for (role, allowed) in
            [(Some("caller"), false), (Some("scheduler"), true), (Some("operator"), true), (None, true)]
        {
            assert_eq!(check_start(&of(role, defined.clone())).is_ok(), allowed, "{role:?}");
            assert_eq!(check_list(&of(role, placed.clone())).is_ok(), allowed, "{role:?}");
            assert!(
                check_start(&of(role, hashed.clone())).is_ok() && check_list(&of(role, next.clone())).is_ok()
            );
        }
    }
}
