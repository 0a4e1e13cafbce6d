//! QRNs: what a TCSL Task's `Resource` names, and what the answer of a cloud API means for its task.
//!
//! ASW writes `qrn:qcs:asw:{region}:{appid}:sdk:json:qcloud:{service}:{Action}` for any cloud API, and
//! `…:scf:Invoke/{function}[/{version}/{namespace}]` for a function. What is ours, because ASW's documentation leaves
//! it open: a trailing `.sync` asks for run-to-completion, and `qrn:qcs:scf:…:{function}` names a function directly.
//! Invariant: parts are slices of the text. What may fail: parsing, with what would be right.

use crate::value::{Payload, Str, Value};

/// A QRN, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qrn<'a> {
    /// For example `ap-guangzhou`, or `gz` in older definitions.
    pub region: &'a str,
    /// The account's APPID.
    pub appid: &'a str,
    /// What is called.
    pub target: Target<'a>,
    /// Run-to-completion (`.sync`): the task is over when the work is, not when the request is answered.
    pub sync: bool,
}

/// What a QRN calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A cloud function. Its result is what the function returned.
    Function {
        /// The function's name.
        name: &'a str,
        /// Version or alias; `$DEFAULT` where the QRN has none.
        version: &'a str,
        /// `default` where the QRN has none.
        namespace: &'a str,
    },
    /// Another execution in ASW (`asw:StartExecution`).
    Execution,
    /// A cloud API. Its result is the whole envelope, `{"Response": {…}}`.
    Api {
        /// For example `asr`.
        service: &'a str,
        /// For example `CreateRecTask`; visual components such as `asr:checkASR` look the same.
        action: &'a str,
    },
    /// A form that ASW does not document: served by whatever worker is bound to the text.
    Other,
}

/// Why a text is no QRN of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QrnError {
    /// Too few parts, or not `qrn:qcs` at the front.
    #[error("expected qrn:qcs:asw:REGION:APPID:sdk:json:qcloud:SERVICE:ACTION")]
    Form,
    /// The service or the action is empty, or holds a character that names of APIs do not have.
    #[error(
        "expected SERVICE:ACTION in letters and digits after 'sdk:json:qcloud:', for example asr:CreateRecTask"
    )]
    Call,
    /// `scf:Invoke` without a function, or with too many parts.
    #[error("expected scf:Invoke/FUNCTION or scf:Invoke/FUNCTION/VERSION/NAMESPACE")]
    Function,
    /// `.sync` on an API that has no end to wait for.
    #[error("only cloud functions (scf:Invoke) and ASW (asw:StartExecution) run to completion ('.sync')")]
    Sync,
    /// `.waitForTaskToken`, which ASW does not have.
    #[error("ASW has no '.waitForTaskToken': a task is over with its answer, or by '.sync' with the work")]
    Token,
}

const SYNC: &str = ".sync";
const TOKEN: &str = ".waitForTaskToken";
/// The longest error name and cause of a task's failure: as Step Functions takes them from workers.
const ERROR_BYTES_MAX: usize = 256;
const CAUSE_BYTES_MAX: usize = 32_768;
const LATEST: &str = "$DEFAULT";
const NAMESPACE: &str = "default";

impl<'a> Qrn<'a> {
    /// Takes a `Resource` apart.
    ///
    /// # Errors
    /// [`QrnError`], which says what was expected.
    pub fn parse(text: &'a str) -> Result<Self, QrnError> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or(QrnError::Form);
        let [scheme, vendor, product, region, appid, rest] =
            [next()?, next()?, next()?, next()?, next()?, next()?];
        if scheme != "qrn" || vendor != "qcs" || product.is_empty() || rest.is_empty() {
            return Err(QrnError::Form);
        }
        if rest.ends_with(TOKEN) {
            return Err(QrnError::Token);
        }
        let call = match (product, rest.strip_prefix("sdk:json:qcloud:")) {
            ("asw", Some(call)) => call,
            ("scf", _) => return Ok(Self { region, appid, target: direct(rest)?, sync: false }),
            _ => return Ok(Self { region, appid, target: Target::Other, sync: false }),
        };
        let (call, sync) = match call.strip_suffix(SYNC) {
            Some(call) => (call, true),
            None => (call, false),
        };
        let target = target(call)?;
        if sync && matches!(target, Target::Api { .. }) {
            return Err(QrnError::Sync);
        }
        Ok(Self { region, appid, target, sync })
    }
}

/// The error name and cause of a task whose answer says that the call failed. Cloud APIs say so inside the envelope
/// (`{"Response": {"Error": {"Code", "Message"}}}`); any other answer of theirs, and whatever a function returns, is a
/// result. An answer that cannot be such an envelope is not parsed. What is longer than a task's failure may be is cut.
pub(crate) fn failure(resource: &str, answer: &Payload) -> Option<(Str, Str)> {
    if !resource.starts_with("qrn:") || !answer.text().contains("\"Error\"") {
        return None;
    }
    let Ok(Qrn { target: Target::Api { .. } | Target::Execution, .. }) = Qrn::parse(resource) else {
        return None;
    };
    let error = answer.value().get("Response")?.get("Error")?;
    let text = |name, most| {
        error.get(name).and_then(Value::as_str).map(|text| Str::from(&text[..text.floor_char_boundary(most)]))
    };
    Some((text("Code", ERROR_BYTES_MAX)?, text("Message", CAUSE_BYTES_MAX).unwrap_or_default()))
}

/// `{service}:{Action}`, or a function.
fn target(call: &str) -> Result<Target<'_>, QrnError> {
    let (service, action) = call.split_once(':').ok_or(QrnError::Call)?;
    if let ("scf", Some(function)) = (service, action.strip_prefix("Invoke")) {
        match function.strip_prefix('/') {
            Some(function) => return invoked(function),
            None if function.is_empty() => return Err(QrnError::Function),
            None => {}
        }
    }
    let named = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match (service, action) {
        ("asw" | "ASW", "StartExecution") => Ok(Target::Execution),
        _ if named(service) && named(action) => Ok(Target::Api { service, action }),
        _ => Err(QrnError::Call),
    }
}

/// `{function}[/{version}[/{namespace}]]`.
fn invoked(function: &str) -> Result<Target<'_>, QrnError> {
    let mut parts = function.split('/');
    let name = parts.next().unwrap_or_default();
    let version = parts.next().unwrap_or(LATEST);
    let namespace = parts.next().unwrap_or(NAMESPACE);
    let complete = ![name, version, namespace].contains(&"") && parts.next().is_none();
    if complete { Ok(Target::Function { name, version, namespace }) } else { Err(QrnError::Function) }
}

/// `[{namespace}:]{function}` of a function's own QRN.
fn direct(rest: &str) -> Result<Target<'_>, QrnError> {
    let (namespace, name) = rest.rsplit_once(':').unwrap_or((NAMESPACE, rest));
    if namespace.is_empty() || name.is_empty() {
        return Err(QrnError::Function);
    }
    Ok(Target::Function { name, version: LATEST, namespace })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(call: &str) -> Result<(Target<'static>, bool), QrnError> {
        let text = format!("qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:{call}");
        // Leaked, so that a test can say in one line what it expects.
        let qrn = Qrn::parse(text.leak())?;
        assert_eq!((qrn.region, qrn.appid), ("ap-guangzhou", "1250000000"));
        Ok((qrn.target, qrn.sync))
    }

    #[test]
    fn a_function_has_the_default_version_and_namespace_where_the_qrn_has_none() {
        let function = |name, version, namespace| Target::Function { name, version, namespace };
        let sum = function("sum", "$DEFAULT", "default");
        for call in ["scf:Invoke/sum", "scf:Invoke/sum/$DEFAULT", "scf:Invoke/sum/$DEFAULT/default"] {
            assert_eq!(parse(call), Ok((sum, false)), "{call}");
        }
        assert_eq!(parse("scf:Invoke/sum/3/shop"), Ok((function("sum", "3", "shop"), false)));
        assert_eq!(parse("scf:Invoke/sum.sync"), Ok((sum, true)));
        for call in ["scf:Invoke", "scf:Invoke/", "scf:Invoke/a//b", "scf:Invoke/a/b/c/d"] {
            assert_eq!(parse(call), Err(QrnError::Function), "{call}");
        }
    }

    #[test]
    fn any_other_action_is_a_cloud_api_and_asw_itself_an_execution() {
        let api = |service, action| Ok((Target::Api { service, action }, false));
        assert_eq!(parse("mps:ProcessMedia"), api("mps", "ProcessMedia"));
        assert_eq!(parse("asr:checkASR"), api("asr", "checkASR"));
        assert_eq!(parse("scf:ListFunctions"), api("scf", "ListFunctions"));
        assert_eq!(parse("asw:DescribeExecution"), api("asw", "DescribeExecution"));
        assert_eq!(parse("asw:StartExecution.sync"), Ok((Target::Execution, true)));
        for call in ["mps", "mps:", ":A", "mps:a/b", "mps:a b", "mps:A.callback", ""] {
            assert_eq!(parse(call), Err(QrnError::Call), "{call}");
        }
    }

    #[test]
    fn an_envelope_with_an_error_is_a_failure_of_cloud_apis_alone() {
        let failed =
            r#"{"Response":{"Error":{"Code":"LimitExceeded","Message":"slow down"},"RequestId":"r"}}"#;
        let told = |call: &str, answer: &'static str| {
            let resource = format!("qrn:qcs:asw:gz:1:sdk:json:qcloud:{call}");
            failure(&resource, &Payload::from_checked(answer.as_bytes().into()))
        };
        let expected = Some((Str::from("LimitExceeded"), Str::from("slow down")));
        assert_eq!(told("asr:CreateRecTask", failed), expected);
        assert_eq!(told("asw:StartExecution", failed), expected);
        assert_eq!(told("scf:Invoke/f", failed), None);
        assert_eq!(
            failure("arn:aws:lambda:r:1:function:f", &Payload::from_checked(failed.as_bytes().into())),
            None
        );
        for answer in [
            r#"{"Response":{"Data":{"TaskId":1}}}"#,
            r#"{"Error":{"Code":"C"}}"#,
            r#"{"Response":{"Error":null}}"#,
            r#"["Error"]"#,
        ] {
            assert_eq!(told("asr:CreateRecTask", answer), None, "{answer}");
        }
    }

    #[test]
    fn a_long_code_or_message_is_cut() {
        let text = "\u{5b57}".repeat(20_000);
        let answer = format!(r#"{{"Response":{{"Error":{{"Code":"{text}","Message":"{text}"}}}}}}"#);
        let resource = "qrn:qcs:asw:gz:1:sdk:json:qcloud:asr:CreateRecTask";
        let (error, cause) = failure(resource, &Payload::from_checked(answer.into())).unwrap();
        assert_eq!((error.len(), cause.len()), (255, 32_766));
    }

    #[test]
    fn nothing_waits_for_a_token() {
        assert_eq!(parse("mps:ProcessMedia.waitForTaskToken"), Err(QrnError::Token));
        assert_eq!(parse("scf:Invoke/f.waitForTaskToken"), Err(QrnError::Token));
        assert_eq!(Qrn::parse("qrn:qcs:scf:gz:1:f.waitForTaskToken"), Err(QrnError::Token));
    }

    #[test]
    fn only_what_has_an_end_runs_to_completion() {
        assert_eq!(parse("mps:ProcessMedia.sync"), Err(QrnError::Sync));
    }

    #[test]
    fn forms_that_nobody_documents_are_left_to_workers() {
        let target = |text| Qrn::parse(text).map(|qrn| qrn.target);
        assert_eq!(target("qrn:qcs:tke:gz:1:cluster/run"), Ok(Target::Other));
        assert_eq!(target("qrn:qcs:asw:gz:1:http:json:flowmachine:m:abcd1234"), Ok(Target::Other));
        let function = Target::Function { name: "f", version: "$DEFAULT", namespace: "shop" };
        assert_eq!(target("qrn:qcs:scf:gz:1:shop:f"), Ok(function));
        for text in
            ["", "qrn", "qrn:qcs:asw:gz:1", "qrn:qcs:asw:gz:1:", "arn:qcs:asw:gz:1:x", "qrn:qcs::gz:1:x"]
        {
            assert_eq!(target(text), Err(QrnError::Form), "{text}");
        }
    }
}
