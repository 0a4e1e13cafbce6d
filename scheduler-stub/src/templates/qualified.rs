//! ARNs and QRNs of machines, with what may stand behind them: a version, an alias, or the label of a Map.
//!
//! Invariants: parts are slices of the text; a version is spelt in one way alone, without leading zeros, so that a text
//! is a key. What may fail: parsing, with what would be right.
//! Source: docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeStateMachine.html (the spellings);
//! asw (`qrn:qcs:asw:REGION:APPID:http:json:flowmachine:NAME:ID`). That a QRN may have a version or an alias is ours.

use ids::MachineName;

use super::ARN_BYTES_MAX;
use crate::error::Error;
use crate::names::NAME_CHARS_MAX;

/// The ARN or QRN of a machine, or of something of it, in bytes.
const QUALIFIED_BYTES_MAX: usize = ARN_BYTES_MAX + 1 + NAME_CHARS_MAX;

/// Segments of an ARN and of a QRN without a qualifier.
const ARN_SEGMENTS: usize = 7;
const QRN_SEGMENTS: usize = 10;

/// What a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qualified<'a> {
    /// The ARN or QRN of the machine alone.
    pub machine: &'a str,
    /// What of it.
    pub qualifier: Option<Qualifier<'a>>,
    /// The qualifier as it is written; empty without one.
    pub(super) text: &'a str,
}

/// What of a machine is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier<'a> {
    /// A published version, from 1.
    Version(u32),
    /// An alias, by its name.
    Alias(&'a str),
    /// The label of a distributed Map.
    Label(&'a str),
}

/// Whether an alias may be called so: letters, digits and `_-.`, not digits alone.
#[must_use]
pub fn is_alias_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Takes an ARN or QRN apart.
///
/// # Errors
/// [`Error::Invalid`] with the code `InvalidArn`.
pub fn parse(text: &str) -> Result<Qualified<'_>, Error> {
    let wrong = |why: String| Error::invalid("InvalidArn", why);
    if text.len() > QUALIFIED_BYTES_MAX {
        let length = text.len();
        return Err(wrong(format!(
            "the ARN of a state machine has {length} bytes: at most {QUALIFIED_BYTES_MAX} are possible"
        )));
    }
    let segments = if text.starts_with("qrn:") { QRN_SEGMENTS } else { ARN_SEGMENTS };
    let (machine, text_of_qualifier) = match text.match_indices(':').nth(segments - 1) {
        Some((at, _)) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let has_qualifier = machine.len() < text.len();
    let (machine, qualifier) = match machine.split_once('/') {
        Some((machine, label)) if !has_qualifier && !label.is_empty() => {
            (machine, Some(Qualifier::Label(label)))
        }
        Some(_) => {
            return Err(wrong("a label of a Map stands alone behind a machine's name: NAME/LABEL".into()));
        }
        None if has_qualifier => (machine, Some(qualifier(text_of_qualifier)?)),
        None => (machine, None),
    };
    MachineName::parse(machine).map_err(|error| wrong(error.to_string()))?;
    let text = match qualifier {
        Some(Qualifier::Label(label)) => label,
        _ => text_of_qualifier,
    };
    Ok(Qualified { machine, qualifier, text })
}

fn qualifier(text: &str) -> Result<Qualifier<'_>, Error> {
    let wrong =
        |why: &str| Err(Error::invalid("InvalidArn", format!("behind a state machine's ARN stands {why}")));
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(number) if !text.starts_with('0') => Ok(Qualifier::Version(number)),
            _ => wrong("a version, which is a whole number from 1 without leading zeros"),
        };
    }
    if is_alias_name(text) {
        return Ok(Qualifier::Alias(text));
    }
    wrong("a version's number, or an alias' name of letters, digits and _-. (1 to 80)")
}

/// An ARN or QRN of a machine alone.
///
/// # Errors
/// As [`parse`]; `ValidationException` when something of the machine is named.
pub(super) fn plain(arn: &str) -> Result<(), Error> {
    if parse(arn)?.qualifier.is_none() {
        return Ok(());
    }
    let message = "name the state machine alone, without a version, an alias or a label behind its ARN";
    Err(Error::invalid("ValidationException", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:states:local:000000000000:stateMachine:orders";
    const QRN: &str = "qrn:qcs:asw:local:000000000000:http:json:flowmachine:orders:abcd2345";

    #[test]
    fn every_spelling_is_taken_apart() {
        for machine in [ARN, QRN] {
            for (behind, qualifier) in [
                ("", None),
                (":3", Some(Qualifier::Version(3))),
                (":4294967295", Some(Qualifier::Version(u32::MAX))),
                (":PROD", Some(Qualifier::Alias("PROD"))),
                (":3.x", Some(Qualifier::Alias("3.x"))),
            ] {
                let text = format!("{machine}{behind}");
                let parsed = parse(&text).expect(&text);
                assert_eq!((parsed.machine, parsed.qualifier), (machine, qualifier));
                assert_eq!(parsed.text, behind.trim_start_matches(':'));
            }
        }
        let text = format!("{ARN}/Each");
        let parsed = parse(&text).expect("a label");
        assert_eq!((parsed.machine, parsed.qualifier), (ARN, Some(Qualifier::Label("Each"))));
    }

    #[test]
    fn what_names_no_machine_and_nothing_of_one_is_refused() {
        let long = format!(":{}", "x".repeat(81));
        for behind in [":", ":0", ":03", ":4294967296", ":a b", ":ü", ":3:PROD", "/", "/Each:3", &long] {
            let text = format!("{ARN}{behind}");
            assert_eq!(parse(&text).expect_err(&text).code(), "InvalidArn", "{text}");
        }
        for text in ["", "orders", "arn:aws:states:local:000000000000:execution:orders:1", "arn:aws:s3:::b"] {
            assert_eq!(parse(text).expect_err(text).code(), "InvalidArn", "{text}");
        }
        assert!(plain(ARN).is_ok());
        assert_eq!(plain(&format!("{ARN}:3")).expect_err("a version").code(), "ValidationException");
    }
}
