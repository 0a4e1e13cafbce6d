//! What the tables promise.

use serde_json::json;

use super::*;

#[test]
fn both_tables_are_whole_sorted_and_found_by_name() {
    assert_eq!((Api::Sfn.operations().len(), Api::Asw.operations().len()), (37, 10));
    for api in [Api::Sfn, Api::Asw] {
        let names: Vec<&str> = api.operations().iter().map(|operation| operation.name).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        for name in names {
            assert_eq!(api.operation(name).expect("it is there").name, name);
        }
        for unknown in ["", "startExecution", "StartExecutio", "StartExecutions"] {
            assert!(api.operation(unknown).is_none(), "{unknown}");
        }
    }
}

fn check_shape(shape: &Shape) {
    match shape {
        Shape::Text { min, max, .. } => assert!(min <= max),
        Shape::OneOf(allowed) => assert!(!allowed.is_empty()),
        Shape::Integer { min, max } => assert!(min <= max),
        Shape::Number { min, max } => assert!(min <= max),
        Shape::Boolean => {}
        Shape::List { item, min, max } => {
            assert!(min <= max);
            check_shape(item);
        }
        Shape::Structure(members) => {
            let mut names: Vec<&str> = members.iter().map(|member| member.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), members.len(), "a member is there twice: {names:?}");
            members.iter().for_each(|member| check_shape(member.shape));
        }
    }
}

#[test]
fn each_operation_names_its_members_once_and_its_machine_by_one_of_them() {
    for operation in [Api::Sfn, Api::Asw].into_iter().flat_map(Api::operations) {
        check_shape(&Shape::Structure(operation.members));
        let has = |name: &str| operation.members.iter().any(|member| member.name == name);
        match operation.subject {
            Subject::Nothing => {}
            Subject::Token => assert!(has("taskToken"), "{}", operation.name),
            Subject::Name(member) => assert!(has(member), "{}", operation.name),
            Subject::Members(members) => {
                for member in members {
                    let (member, _) = member.split_once("[].").unwrap_or((member, ""));
                    assert!(has(member), "{} has no {member}", operation.name);
                }
            }
        }
    }
}

/// A member that names a machine, and is not among those that rights are asked for, would be a way around them.
#[test]
fn no_operation_has_a_machines_name_that_rights_are_not_asked_for() {
    let names = [
        "stateMachineArn",
        "executionArn",
        "mapRunArn",
        "stateMachineAliasArn",
        "stateMachineVersionArn",
        "resourceArn",
        "FlowServiceResource",
        "StateMachineResourceName",
        "ExecutionResourceName",
        "ExecutionQrn",
    ];
    for operation in [Api::Sfn, Api::Asw].into_iter().flat_map(Api::operations) {
        for member in operation.members.iter().filter(|member| names.contains(&member.name)) {
            let asked =
                matches!(operation.subject, Subject::Members(members) if members.contains(&member.name));
            assert!(asked, "{}: {}", operation.name, member.name);
        }
    }
}

#[test]
fn what_changes_something_needs_more_than_the_right_to_look() {
    for operation in [Api::Sfn, Api::Asw].into_iter().flat_map(Api::operations) {
        let looks = ["Describe", "List", "GetExecutionHistory", "Validate"];
        let looks = looks.iter().any(|begin| operation.name.starts_with(begin));
        assert_eq!(operation.right == Right::Read, looks, "{}", operation.name);
    }
}

#[test]
fn the_machine_of_every_kind_of_name_is_its_own_name() {
    let of = |text| machine(text);
    for named in [
        "arn:aws:states:r:1:stateMachine:orders",
        "arn:aws:states:r:1:stateMachine:orders:7",
        "arn:aws-cn:states:r:1:stateMachine:orders:live",
        "arn:aws:states:r:1:stateMachine:orders/label",
        "arn:aws:states:r:1:execution:orders:e1",
        "arn:aws:states:r:1:express:orders:e1:u1",
        "arn:aws:states:r:1:mapRun:orders/label:u1",
        "qrn:qcs:asw:r:1:http:json:flowmachine:orders:abcd1234",
    ] {
        assert_eq!(of(named), Machine::Named("orders"), "{named}");
    }
    for hidden in ["qrn:qcs:asw:r:1:execution:abcd1234:e1", "0000000001"] {
        assert_eq!(of(hidden), Machine::Hidden, "{hidden}");
    }
    for nothing in [
        "arn:aws:states:r:1:activity:orders",
        "arn:aws:states:r:1:stateMachine:",
        "arn:aws:states:r:1:stateMachine:/orders",
        "arn:aws:lambda:r:1:function:orders",
        "arn:aws:states",
        "qrn:qcs:asw:r:1:http:json:flowmachine",
        ":",
    ] {
        assert_eq!(of(nothing), Machine::Nothing, "{nothing}");
    }
}

#[test]
fn rights_are_asked_for_every_machine_that_a_call_names() {
    let arn = |name: &str| format!("arn:aws:states:r:1:stateMachine:{name}:1");
    let operation = Api::Sfn.operation("UpdateStateMachineAlias").expect("it is there");
    let input = json!({
        "stateMachineAliasArn": arn("a"),
        "routingConfiguration": [
            {"stateMachineVersionArn": arn("b"), "weight": 1},
            {"weight": 1},
            {"stateMachineVersionArn": arn("c"), "weight": 1},
        ],
    });
    assert_eq!(operation.machines(&input), ["a", "b", "c"].map(Machine::Named));
    let listing = Api::Sfn.operation("ListExecutions").expect("it is there");
    assert_eq!(listing.machines(&json!({})), [Machine::Nothing]);
    let both = json!({"stateMachineArn": arn("a"), "mapRunArn": "arn:aws:states:r:1:mapRun:b/l:u"});
    assert_eq!(listing.machines(&both), ["a", "b"].map(Machine::Named));
    let token = Api::Sfn.operation("SendTaskSuccess").expect("it is there");
    assert_eq!(token.machines(&json!({"taskToken": "t"})), []);
}

#[test]
fn a_pattern_takes_what_it_says_and_nothing_else() {
    for (pattern, fitting, wrong) in [
        (Pattern::AliasName, &["live", "v-1", "1.2", "_"][..], &["", "12", "a b", "ä", "a/b"][..]),
        (Pattern::Visible, &["a", "!~"], &["", "a b", "\u{7f}", "é"]),
        (Pattern::Ascii, &["", "a b\n", "\u{7f}"], &["é", "a\u{80}"]),
    ] {
        for text in fitting {
            assert!(pattern.fits(text), "{pattern:?} {text:?}");
        }
        for text in wrong {
            assert!(!pattern.fits(text), "{pattern:?} {text:?}");
        }
    }
}

#[test]
fn each_kind_of_fault_has_a_name_in_both_apis_and_a_status_of_an_error() {
    for kind in Kind::ALL {
        assert!((400..600).contains(&kind.status()), "{kind:?}");
        assert!(!kind.sfn().is_empty() && !kind.asw().is_empty(), "{kind:?}");
        assert_eq!(kind.code(Api::Sfn), kind.sfn());
        assert_eq!(kind.code(Api::Asw), kind.asw());
    }
    assert!(Kind::Throttling.is_common() && !Kind::ExecutionDoesNotExist.is_common());
}
