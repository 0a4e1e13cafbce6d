//! What is checked of starts before they are dispatched.
//!
//! A lone start is checked whole, so that its caller hears of a mistake at once. In a batch the lengths and
//! names are checked here, and the JSON by the node alone: it must check it anyway, refuses just the entries
//! that are wrong, and one pass over each input is enough.

use asl::value::JsonLimits;
use asl::{Dialect, Payload};
use bytes::Bytes;
use ids::BATCH_EXECUTIONS_MAX;
use proto::executor::v1::TraceContext;

use crate::dispatch::BATCH_BYTES_MAX;
use crate::error::Error;
use crate::names;
use crate::templates::Template;

/// Input of an ASL execution, in bytes (Step Functions).
pub const INPUT_BYTES_MAX: usize = executor::limits::INPUT_BYTES_MAX;

/// Input of a TCSL execution, in characters (ASW).
pub const TCSL_INPUT_CHARS_MAX: usize = executor::limits::TCSL_INPUT_CHARS_MAX;

/// The input of a caller that gives none.
pub const EMPTY_INPUT: Bytes = Bytes::from_static(b"{}");

/// Checks a lone start; gives the input to dispatch.
///
/// # Errors
/// [`Error::Invalid`] with the code `InvalidExecutionInput` or `InvalidName`.
pub fn one(template: &Template, name: &str, input: Bytes) -> Result<Bytes, Error> {
    if !name.is_empty() {
        names::check_name("execution", name)?;
    }
    if input.is_empty() {
        return Ok(EMPTY_INPUT);
    }
    check_length(template.dialect, &input, None)?;
    let limits = JsonLimits { bytes: input.len(), ..JsonLimits::PAYLOAD };
    if let Err(error) = Payload::check(input.clone(), limits) {
        let (line, column) = error.line_column(&input);
        let message = format!("the input is not valid JSON: {error} (line {line}, column {column})");
        return Err(Error::invalid("InvalidExecutionInput", message));
    }
    Ok(input)
}

/// Checks the columns of a batch message.
///
/// # Errors
/// [`Error::Invalid`], naming the first entry that is wrong.
pub fn many(
    template: &Template,
    inputs: &[Bytes],
    names: &[String],
    traces: &[TraceContext],
) -> Result<(), Error> {
    let count = inputs.len();
    if count == 0 || count > BATCH_EXECUTIONS_MAX {
        let message = format!("a message starts 1 to {BATCH_EXECUTIONS_MAX} executions, this one {count}");
        return Err(Error::invalid("ValidationException", message));
    }
    for (column, length) in [("name", names.len()), ("trace", traces.len())] {
        if length != 0 && length != count {
            let message =
                format!("`{column}` has {length} entries and `input` {count}: give as many, or none");
            return Err(Error::invalid("ValidationException", message));
        }
    }
    let sum: usize = inputs.iter().map(Bytes::len).sum();
    if count > 1 && sum > BATCH_BYTES_MAX {
        let message =
            format!("the inputs have {sum} bytes in sum: a message holds at most {BATCH_BYTES_MAX}");
        return Err(Error::invalid("ValidationException", message));
    }
    for (index, input) in inputs.iter().enumerate() {
        check_length(template.dialect, input, Some(index))?;
    }
    for name in names.iter().filter(|name| !name.is_empty()) {
        names::check_name("execution", name)?;
    }
    Ok(())
}

fn check_length(dialect: Dialect, input: &[u8], index: Option<usize>) -> Result<(), Error> {
    let (length, limit, unit) = match dialect {
        Dialect::Asl => (input.len(), INPUT_BYTES_MAX, "bytes"),
        // Characters are at most as many as bytes; counting is for those near the limit.
        Dialect::Tcsl if input.len() <= TCSL_INPUT_CHARS_MAX => return Ok(()),
        Dialect::Tcsl => {
            // Every byte that does not continue a character begins one.
            let characters = input.iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
            (characters, TCSL_INPUT_CHARS_MAX, "characters")
        }
    };
    if length <= limit {
        return Ok(());
    }
    let which = index.map(|index| format!(" of entry {index}")).unwrap_or_default();
    let message = format!("the input{which} has {length} {unit}: at most {limit} are allowed");
    Err(Error::invalid("InvalidExecutionInput", message))
}

#[cfg(test)]
mod tests {
    use ids::Mode;

    use super::*;

    fn template(dialect: Dialect) -> Template {
        Template {
            arn: "arn:aws:states:local:000000000000:stateMachine:m".into(),
            name: "m".into(),
            mode: Mode::Standard,
            dialect,
            definition: Bytes::new(),
            hash: [0; 32],
            version: 1,
            created_ms: 0,
            updated_ms: 0,
            role_arn: String::new(),
            logging: Default::default(),
            comment: String::new(),
            origin: String::new(),
            about: Default::default(),
            retention_s: 0,
        }
    }

    fn text(length: usize) -> Bytes {
        format!("\"{}\"", "x".repeat(length - 2)).into()
    }

    #[test]
    fn an_input_at_the_limit_passes_and_one_byte_more_does_not() {
        let asl = template(Dialect::Asl);
        assert!(one(&asl, "", text(INPUT_BYTES_MAX)).is_ok());
        let error = one(&asl, "", text(INPUT_BYTES_MAX + 1)).expect_err("too long").to_string();
        assert!(error.contains("262145 bytes") && error.contains("262144"), "{error}");
        assert!(many(&asl, &[text(INPUT_BYTES_MAX + 1)], &[], &[]).is_err());
    }

    #[test]
    fn tcsl_counts_characters() {
        let tcsl = template(Dialect::Tcsl);
        let characters = TCSL_INPUT_CHARS_MAX - 2;
        assert!(one(&tcsl, "", format!("\"{}\"", "字".repeat(characters)).into()).is_ok());
        let error =
            one(&tcsl, "", format!("\"{}\"", "字".repeat(characters + 1)).into()).expect_err("too long");
        assert!(error.to_string().contains("524289 characters"), "{error}");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let asl = template(Dialect::Asl);
        let bad: [&[u8]; 6] = [b"{", b"{\"a\":\n1e999}", b"\"\xff\"", b"\"\\ud800\"", b"{} {}", b"nul"];
        for input in bad {
            let error = one(&asl, "", Bytes::from_static(input)).expect_err("no JSON").to_string();
            assert!(error.starts_with("InvalidExecutionInput") && error.contains("line "), "{error}");
        }
        let deep = "[".repeat(100_000);
        assert!(one(&asl, "", deep.into()).is_err());
    }

    #[test]
    fn no_input_is_the_empty_object() {
        assert_eq!(one(&template(Dialect::Asl), "", Bytes::new()).ok(), Some(EMPTY_INPUT));
    }

    #[test]
    fn a_batch_has_1_to_256_entries_and_names_for_all_or_none() {
        let asl = template(Dialect::Asl);
        assert!(many(&asl, &[], &[], &[]).is_err());
        assert!(many(&asl, &vec![EMPTY_INPUT; 256], &[], &[]).is_ok());
        assert!(many(&asl, &vec![EMPTY_INPUT; 257], &[], &[]).is_err());
        assert!(many(&asl, &[EMPTY_INPUT, EMPTY_INPUT], &["a".into()], &[]).is_err());
        assert!(many(&asl, &[EMPTY_INPUT, EMPTY_INPUT], &["a".into(), String::new()], &[]).is_ok());
        assert!(many(&asl, &[EMPTY_INPUT], &["a b".into()], &[]).is_err());
        let traces = [TraceContext::default()];
        assert!(many(&asl, &[EMPTY_INPUT, EMPTY_INPUT], &[], &traces).is_err());
        assert!(many(&asl, &[EMPTY_INPUT], &[], &traces).is_ok());
    }
}
