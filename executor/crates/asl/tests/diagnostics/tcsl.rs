//! TCSL: what is refused, what is only remarked upon, and in which words.

use asl::Dialect;
use asl::definition::{MachineType, code};

use crate::check::{check_as, compile, one_state};

#[track_caller]
fn check_tcsl(state: &str, expected: &[&str]) {
    check_as(Dialect::Tcsl, MachineType::Standard, &one_state(state), expected);
}

fn task(resource: &str) -> String {
    format!("{{\"Type\":\"Task\",\"End\":true,\"Resource\":\"{resource}\"}}")
}

#[test]
fn a_qrn_that_is_none_says_what_was_expected() {
    let call = |call: &str| task(&format!("qrn:qcs:asw:gz:1:sdk:json:qcloud:{call}"));
    let cases = [
        (task("qrn:qcs:asw:gz"), "expected qrn:qcs:asw:REGION:APPID:sdk:json:qcloud:SERVICE:ACTION"),
        (
            call("asr"),
            "expected SERVICE:ACTION in letters and digits after 'sdk:json:qcloud:', for example asr:CreateRecTask",
        ),
        (call("scf:Invoke"), "expected scf:Invoke/FUNCTION or scf:Invoke/FUNCTION/VERSION/NAMESPACE"),
        (
            call("asr:CreateRecTask.sync"),
            "only cloud functions (scf:Invoke) and ASW (asw:StartExecution) run to completion ('.sync')",
        ),
    ];
    for (state, reason) in cases {
        let message = format!(
            "2:38 error INVALID_RESOURCE: Value is not a valid resource QRN: {reason} at /States/S/Resource"
        );
        check_tcsl(&state, &[&message]);
    }
    let neither =
        "2:38 error INVALID_RESOURCE: Value is not a valid resource QRN or ARN at /States/S/Resource";
    check_tcsl(&task("sum"), &[neither]);
}

#[test]
fn an_express_machine_does_not_run_to_completion() {
    let state = task("qrn:qcs:asw:gz:1:sdk:json:qcloud:scf:Invoke/f.sync");
    check_as(Dialect::Tcsl, MachineType::Standard, &one_state(&state), &[]);
    check_as(
        Dialect::Tcsl,
        MachineType::Express,
        &one_state(&state),
        &["2:38 error SCHEMA_VALIDATION_FAILED: Express state machine does not support '.sync' service \
           integration at /States/S/Resource"],
    );
}

#[test]
fn a_field_of_asl_that_asw_does_not_document_is_remarked_upon_at_its_name() {
    check_tcsl(
        "{\"Type\":\"Task\",\"End\":true,\"HeartbeatSeconds\":9,\"Resource\":\
         \"qrn:qcs:asw:gz:1:sdk:json:qcloud:asr:A\"}",
        &[
            "2:27 warning UNDOCUMENTED_FIELD: ASW does not document the field 'HeartbeatSeconds' of a Task state; it \
           works here as in ASL at /States/S",
        ],
    );
}

#[test]
fn the_misprint_of_asws_documentation_is_refused_with_the_right_name() {
    let text = one_state("{\"Type\":\"Pass\",\"End\":true,\"ResultSeclector\":{}}");
    let found = compile(&text, Dialect::Tcsl, MachineType::Standard);
    let told: Vec<_> = found.iter().map(|one| (one.message.as_str(), one.note.as_str())).collect();
    assert_eq!(told, [("Field 'ResultSeclector' is not supported", "Did you mean 'ResultSelector'?")]);
}

#[test]
fn variables_and_jsonata_are_no_part_of_tcsl_wherever_they_stand() {
    let map = |rest: &str| {
        format!(
            "{{\"Type\":\"Map\",\"End\":true,{rest}\"Iterator\":{{\"StartAt\":\"I\",\"States\":{{\"I\":{{\
             \"Type\":\"Pass\",\"End\":true}}}}}}}}"
        )
    };
    let choice = |rest: &str| {
        format!(
            "{{\"Type\":\"Choice\",\"Choices\":[{{\"Variable\":\"$.a\",\"IsPresent\":true,{rest}\"Next\":\"T\"}}]}}"
        )
    };
    let pass = |rest: &str| format!("{{\"Type\":\"Pass\",{rest}\"Next\":\"T\"}}");
    for (field, state) in [
        ("Assign", pass("\"Assign\":{\"v\":1},")),
        ("Output", pass("\"Output\":1,")),
        ("Assign", choice("\"Assign\":{\"v\":1},")),
        ("Items", map("\"Items\":[1],")),
        ("ItemReader", map("\"ItemReader\":{},")),
        ("Label", map("\"Label\":\"l\",")),
        ("ToleratedFailureCount", map("\"ToleratedFailureCount\":1,")),
    ] {
        let text =
            format!("{{\"StartAt\":\"S\",\"States\":{{\"S\":{state},\"T\":{{\"Type\":\"Succeed\"}}}}}}");
        let found = compile(&text, Dialect::Tcsl, MachineType::Standard);
        let message = format!("Field '{field}' is not part of TCSL");
        assert!(found.iter().any(|one| one.message == message), "{field}: {found:?}");
    }
    let text = "{\"QueryLanguage\":\"JSONata\",\"StartAt\":\"S\",\"States\":{\"S\":{\"Type\":\"Succeed\"}}}";
    let found = compile(text, Dialect::Tcsl, MachineType::Standard);
    let told = found.iter().find(|one| one.message == "TCSL has no JSONata").expect("refused");
    assert_eq!((told.code, told.location.as_str()), (code::SCHEMA_VALIDATION_FAILED, "/QueryLanguage"));
    let state = pass("\"QueryLanguage\":\"JSONata\",");
    let found = compile(&one_state(&state), Dialect::Tcsl, MachineType::Standard);
    assert!(found.iter().any(|one| one.message == "TCSL has no JSONata"), "{found:?}");
}

#[test]
fn what_tcsl_does_not_have_is_refused_once() {
    let machine = |own: &str, state: &str| {
        format!("{{{own}\"StartAt\":\"S\",\"States\":{{\"S\":{state},\"T\":{{\"Type\":\"Succeed\"}}}}}}")
    };
    let pass = "{\"Type\":\"Pass\",\"Parameters\":{\"a.$\":\"$.a\"},\"Next\":\"T\"}";
    let map = "{\"Type\":\"Map\",\"ItemReader\":{},\"Next\":\"T\",\"Iterator\":{\"StartAt\":\"I\",\"States\":{\"I\":\
               {\"Type\":\"Succeed\"}}}}";
    let caught = "{\"Type\":\"Parallel\",\"Next\":\"T\",\"Branches\":[{\"StartAt\":\"I\",\"States\":{\"I\":{\"Type\":\
                  \"Succeed\"}}}],\"Catch\":[{\"ErrorEquals\":[\"E\"],\"Output\":1,\"Next\":\"T\"}]}";
    for (text, message) in [
        (machine("\"QueryLanguage\":\"JSONata\",", pass), "TCSL has no JSONata"),
        (machine("\"QueryLanguage\":\"Jsonnet\",", pass), "Value should be one of the following: [JSONPath]"),
        (machine("", map), "Field 'ItemReader' is not part of TCSL"),
        (machine("", caught), "Field 'Output' is not part of TCSL"),
    ] {
        let found = compile(&text, Dialect::Tcsl, MachineType::Standard);
        let told: Vec<_> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(told, [message], "{text}");
    }
}
