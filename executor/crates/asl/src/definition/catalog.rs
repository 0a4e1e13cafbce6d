//! What each code of a diagnostic means, with an example and its repair.
//!
//! Purpose: one table from which people are told, on the command line and in `docs/diagnostics.md`.
//! Invariants (held by tests): every code of [`code`] has its entry; each example gives its code, each
//! repaired one does not; the page is what [`page`] gives.

use super::{Severity, code};
use crate::program::Dialect;

/// Whose code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Step Functions has it, in `ValidateStateMachineDefinition`.
    Aws,
    /// Only this executor has it.
    Executor,
}

/// A definition that gives the code, and the same one repaired.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Gives the code.
    pub broken: &'static str,
    /// Does not.
    pub repaired: &'static str,
}

/// A code explained.
#[derive(Debug, Clone, Copy)]
pub struct Explanation {
    /// One of [`code`].
    pub code: &'static str,
    /// Whether a definition is refused for it.
    pub severity: Severity,
    /// Whose code it is.
    pub origin: Origin,
    /// The dialect of the example.
    pub dialect: Dialect,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub repair: &'static str,
    /// Absent where an example would be longer than it is worth.
    pub example: Option<Example>,
}

/// What a code means; letters in another case are the same code.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    CATALOG.iter().find(|one| one.code.eq_ignore_ascii_case(code))
}

/// All codes: errors first.
pub fn all() -> &'static [Explanation] {
    &CATALOG
}

const fn error(code: &'static str, meaning: &'static str, repair: &'static str) -> Explanation {
    Explanation {
        code,
        severity: Severity::Error,
        origin: Origin::Aws,
        dialect: Dialect::Asl,
        meaning,
        repair,
        example: None,
    }
}

const fn warning(code: &'static str, meaning: &'static str, repair: &'static str) -> Explanation {
    Explanation { severity: Severity::Warning, ..error(code, meaning, repair) }
}

impl Explanation {
    const fn with(self, broken: &'static str, repaired: &'static str) -> Self {
        Self { example: Some(Example { broken, repaired }), ..self }
    }

    const fn ours(self) -> Self {
        Self { origin: Origin::Executor, ..self }
    }

    /// What kind of code it is, in words.
    fn kind(&self) -> &'static str {
        match (self.severity, self.origin) {
            (Severity::Error, Origin::Aws) => "Error, as in Step Functions.",
            (Severity::Error, Origin::Executor) => "Error, of this executor only.",
            (Severity::Warning, Origin::Aws) => "Warning, as in Step Functions.",
            (Severity::Warning, Origin::Executor) => "Warning, of this executor only.",
        }
    }
}

/// The explanation as text for a terminal.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        writeln!(f, "{}\n{}\n\n{}", self.code, self.kind(), self.meaning)?;
        if let Some(example) = &self.example {
            write!(f, "\nExample:\n\n{}", indented(example.broken))?;
        }
        writeln!(f, "\nRepair: {}", self.repair)?;
        if let Some(example) = &self.example {
            write!(f, "\n{}", indented(example.repaired))?;
        }
        Ok(())
    }
}

/// The page of all codes, in Markdown.
pub fn page() -> String {
    let mut page = PREFACE.to_owned();
    for one in all() {
        page.push_str(&format!("| [`{0}`](#{0}) | {1} |\n", one.code, one.kind().trim_end_matches('.')));
    }
    for one in all() {
        page.push_str(&format!("\n## {}\n\n{}\n\n{}\n", one.code, one.kind(), one.meaning));
        if let Some(example) = &one.example {
            page.push_str(&format!("\n```json\n{}\n```\n", example.broken));
        }
        page.push_str(&format!("\n**Repair.** {}\n", one.repair));
        if let Some(example) = &one.example {
            page.push_str(&format!("\n```json\n{}\n```\n", example.repaired));
        }
    }
    page
}

const PREFACE: &str = "\
# Diagnostics of definitions

`executor validate` tells every problem of a definition at once; PutDefinition and StartExecution refuse a
definition for the same errors. A diagnostic has

* a severity: an *error* refuses the definition, a *warning* does not (`--deny-warnings` lets the command fail);
* a code: stable, listed here; `executor validate --explain CODE` prints its section;
* a message: in the words of Step Functions where they are known;
* a location: the place as Step Functions spells it (`/States/Pay/Choices[0]/Next`), sometimes a whole state;
* a pointer: the place as a JSON pointer, RFC 6901 (`/States/Pay/Choices/0/Next`), as near as it can be told;
* a line, a column and a length, in characters; lines and columns count from 1;
* a note: what can be added to the message, such as the name that may have been meant.

At most 200 problems are listed, in the order of the text; further ones are counted. This page is made from the
program's own table; a test compiles every example.

| code | |
|---|---|
";

const CATALOG: [Explanation; 23] = [
    error(
        code::INVALID_JSON_DESCRIPTION,
        "The text is not JSON, not UTF-8, or has the same key twice in one object. Nothing else is checked \
         until it is JSON.",
        "Correct the text at the place named. JSON has no comments, no comma after the last member, and only \
         double quotes.",
    )
    .with(
        r#"{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"},}}"#,
        r#"{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}"#,
    ),
    error(
        code::INVALID_JSONATA_EXPRESSION,
        "A string of a JSONata state begins or ends as an expression does, and is none.",
        "Write the expression between `{%` and `%}`, with nothing around them; the message says where JSONata stops.",
    )
    .with(
        r#"{"QueryLanguage": "JSONata", "StartAt": "Add", "States": {
  "Add": {"Type": "Pass", "Output": "{% $states.input.a + %}", "End": true}}}"#,
        r#"{"QueryLanguage": "JSONata", "StartAt": "Add", "States": {
  "Add": {"Type": "Pass", "Output": "{% $states.input.a + 1 %}", "End": true}}}"#,
    ),
    error(
        code::UNSUPPORTED_JSONATA_EXPRESSION,
        "An expression reads what is not there: a document (`a.b`, `$`, `$$`), a result before the work, an error outside \
         of a catcher; or calls `$eval`.",
        "Read the state's input as `$states.input` and variables as `$name`; `$states.result` stands in `Output` and \
         `Assign` of Task, Parallel and Map, `$states.errorOutput` in those of a catcher.",
    )
    .with(
        r#"{"QueryLanguage": "JSONata", "StartAt": "Call", "States": {
  "Call": {"Type": "Pass", "Output": {"to": "{% phone %}"}, "End": true}}}"#,
        r#"{"QueryLanguage": "JSONata", "StartAt": "Call", "States": {
  "Call": {"Type": "Pass", "Output": {"to": "{% $states.input.phone %}"}, "End": true}}}"#,
    ),
    error(
        code::SCHEMA_VALIDATION_FAILED,
        "A field is missing, unknown, misplaced, or has a value it may not have. Fields belong to types of \
         states and to query languages; names are case-sensitive.",
        "The message says which field and what it may be; the note names a known field that is spelt nearly \
         the same.",
    )
    .with(
        r#"{"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Second": 5, "End": true}}}"#,
        r#"{"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 5, "End": true}}}"#,
    ),
    error(
        code::MISSING_TRANSITION_TARGET,
        "`StartAt`, `Next` or `Default` names a state that is not in the same `States` object, or nothing \
         leads to a state. A transition cannot enter or leave a branch or an item processor. In TCSL a state \
         that nothing leads to is only a warning.",
        "Name a state beside the one that leads to it; remove a state that is not used.",
    )
    .with(
        r#"{"StartAt": "Greet", "States": {
  "Greet": {"Type": "Pass", "Next": "Finsh"},
  "Finish": {"Type": "Succeed"}}}"#,
        r#"{"StartAt": "Greet", "States": {
  "Greet": {"Type": "Pass", "Next": "Finish"},
  "Finish": {"Type": "Succeed"}}}"#,
    ),
    error(
        code::MISSING_END_STATE,
        "No state of a `States` object is terminal, so what runs there can never end. States that nothing \
         leads to are not told until one is.",
        "Give the last state `\"End\": true`, or add a Succeed or Fail state.",
    )
    .with(
        r#"{"StartAt": "Ping", "States": {
  "Ping": {"Type": "Pass", "Next": "Pong"},
  "Pong": {"Type": "Pass", "Next": "Ping"}}}"#,
        r#"{"StartAt": "Ping", "States": {
  "Ping": {"Type": "Pass", "Next": "Pong"},
  "Pong": {"Type": "Pass", "End": true}}}"#,
    ),
    error(
        code::DUPLICATE_STATE_NAME,
        "Two states of one machine have the same name. Names are unique in the whole machine, branches and \
         item processors included.",
        "Rename one of them, and the transitions to it.",
    )
    .with(
        r#"{"StartAt": "Each", "States": {"Each": {"Type": "Map", "End": true,
  "ItemProcessor": {"StartAt": "Each", "States": {"Each": {"Type": "Succeed"}}}}}}"#,
        r#"{"StartAt": "Each", "States": {"Each": {"Type": "Map", "End": true,
  "ItemProcessor": {"StartAt": "One", "States": {"One": {"Type": "Succeed"}}}}}}"#,
    ),
    error(
        code::INVALID_STATE_NAME,
        "A state's name is empty, or longer than 80 characters.",
        "Choose a name of 1 to 80 characters.",
    )
    .with(
        r#"{"StartAt": "", "States": {"": {"Type": "Succeed"}}}"#,
        r#"{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}"#,
    ),
    error(
        code::DUPLICATE_LABEL_NAME,
        "Two Map states of one machine have the same `Label`.",
        "Give each Map state a label of its own, or none.",
    )
    .with(
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Map", "Label": "all", "Next": "B",
    "ItemProcessor": {"StartAt": "C", "States": {"C": {"Type": "Succeed"}}}},
  "B": {"Type": "Map", "Label": "all", "End": true,
    "ItemProcessor": {"StartAt": "D", "States": {"D": {"Type": "Succeed"}}}}}}"#,
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Map", "Label": "first", "Next": "B",
    "ItemProcessor": {"StartAt": "C", "States": {"C": {"Type": "Succeed"}}}},
  "B": {"Type": "Map", "Label": "second", "End": true,
    "ItemProcessor": {"StartAt": "D", "States": {"D": {"Type": "Succeed"}}}}}}"#,
    ),
    error(
        code::INVALID_LABEL_NAME,
        "A `Label` is empty, longer than 40 characters, or holds white space, a control character or one of \
         ``? * < > { } [ ] : ; , \\ | ^ ~ $ # % & ` \"``.",
        "Use letters, digits, `-` and `_`.",
    )
    .with(
        r#"{"StartAt": "A", "States": {"A": {"Type": "Map", "Label": "all orders", "End": true,
  "ItemProcessor": {"StartAt": "B", "States": {"B": {"Type": "Succeed"}}}}}}"#,
        r#"{"StartAt": "A", "States": {"A": {"Type": "Map", "Label": "all-orders", "End": true,
  "ItemProcessor": {"StartAt": "B", "States": {"B": {"Type": "Succeed"}}}}}}"#,
    ),
    Explanation { dialect: Dialect::Tcsl, ..INVALID_RESOURCE },
    error(
        code::TOO_DEEPLY_NESTED,
        "Arrays and objects are nested more than 250 levels deep. One Parallel or Map takes four levels.",
        "Move inner parts into machines of their own, and start them from a Task.",
    ),
    warning(
        code::NO_DOLLAR,
        "A value in a payload template looks like a path or an intrinsic function, but the field's name does \
         not end in `.$`, so it stays text.",
        "Let the name end in `.$` where the value has to be evaluated.",
    )
    .with(
        r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {"id": "$.order.id"}, "End": true}}}"#,
        r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {"id.$": "$.order.id"}, "End": true}}}"#,
    ),
    warning(
        code::NO_PATH,
        "A value looks like a path, but the field takes it as text; a field whose name ends in `Path` takes \
         a path.",
        "Use the field with `Path` at its end.",
    )
    .with(
        r#"{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Refused", "Cause": "$.reason"}}}"#,
        r#"{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Refused", "CausePath": "$.reason"}}}"#,
    ),
    warning(
        code::PASS_RESULT_IS_STATIC,
        "The `Result` of a Pass state has a field whose name ends in `.$`. `Result` is never evaluated: the \
         output has that very name and text.",
        "Use `Parameters` in place of `Result`.",
    )
    .with(
        r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": {"id.$": "$.order.id"}, "End": true}}}"#,
        r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {"id.$": "$.order.id"}, "End": true}}}"#,
    ),
    warning(
        code::ENDLESS_LOOP,
        "An execution that comes to this state never ends by itself: it can go from state to state, but to \
         no terminal one. Told for the first such state of a `States` object.",
        "Add a way out, for example a Choice with a rule that leads to a terminal state.",
    )
    .ours()
    .with(
        r#"{"StartAt": "Ask", "States": {
  "Ask": {"Type": "Choice", "Choices": [{"Variable": "$.wait", "BooleanEquals": true, "Next": "Rest"}],
    "Default": "Done"},
  "Rest": {"Type": "Wait", "Seconds": 5, "Next": "Again"},
  "Again": {"Type": "Pass", "Next": "Rest"},
  "Done": {"Type": "Succeed"}}}"#,
        r#"{"StartAt": "Ask", "States": {
  "Ask": {"Type": "Choice", "Choices": [{"Variable": "$.wait", "BooleanEquals": true, "Next": "Rest"}],
    "Default": "Done"},
  "Rest": {"Type": "Wait", "Seconds": 5, "Next": "Again"},
  "Again": {"Type": "Pass", "Next": "Ask"},
  "Done": {"Type": "Succeed"}}}"#,
    ),
    warning(
        code::MISSPELT_INTEGRATION,
        "A Task's `Resource` names no integration of Step Functions, but nearly does. Step Functions refuses the \
         definition; here the task goes to whatever worker is bound to the text.",
        "Write the name as the developer guide has it.",
    )
    .ours()
    .with(
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true, "Resource": "arn:aws:states:::lamda:invoke"}}}"#,
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true, "Resource": "arn:aws:states:::lambda:invoke"}}}"#,
    ),
    warning(
        code::UNUSED_VARIABLE,
        "A state, a choice rule or a catcher assigns a variable that no text of the machine reads as `$name`.",
        "Remove the assignment, or read the variable; names are case-sensitive.",
    )
    .ours()
    .with(
        r#"{"StartAt": "Keep", "States": {
  "Keep": {"Type": "Pass", "Assign": {"order.$": "$.id"}, "Next": "Use"},
  "Use": {"Type": "Pass", "Parameters": {"id.$": "$.id"}, "End": true}}}"#,
        r#"{"StartAt": "Keep", "States": {
  "Keep": {"Type": "Pass", "Assign": {"order.$": "$.id"}, "Next": "Use"},
  "Use": {"Type": "Pass", "Parameters": {"id.$": "$order"}, "End": true}}}"#,
    ),
    warning(
        code::UNKNOWN_ERROR_NAME,
        "A name in `ErrorEquals` begins with `States.`, but the language has no such error, so the entry \
         never matches it. Names are case-sensitive.",
        "Correct the name; the note names the nearest one.",
    )
    .ours()
    .with(
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
  "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f",
  "Retry": [{"ErrorEquals": ["States.TimeOut"]}]}}}"#,
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
  "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f",
  "Retry": [{"ErrorEquals": ["States.Timeout"]}]}}}"#,
    ),
    warning(
        code::RESERVED_ERROR_NAME,
        "The `Error` of a Fail state begins with `States.`. Such names are the language's own; one who reads \
         the failure cannot tell whether the machine or the executor raised it.",
        "Choose a name of your own.",
    )
    .ours()
    .with(
        r#"{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "States.OutOfStock"}}}"#,
        r#"{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "OutOfStock"}}}"#,
    ),
    warning(
        code::REPEATED_ERROR_NAME,
        "An error's name stands in two entries of the same `Retry` or `Catch`. The first entry that matches \
         decides, so the second is never used for it.",
        "Remove the name from one of the entries.",
    )
    .ours()
    .with(
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
  "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f",
  "Retry": [{"ErrorEquals": ["Busy"], "MaxAttempts": 9}, {"ErrorEquals": ["Busy", "Slow"]}]}}}"#,
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
  "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f",
  "Retry": [{"ErrorEquals": ["Busy"], "MaxAttempts": 9}, {"ErrorEquals": ["Slow"]}]}}}"#,
    ),
    Explanation { dialect: Dialect::Tcsl, ..TYPE_SPELLING },
    Explanation { dialect: Dialect::Tcsl, ..UNDOCUMENTED_FIELD },
];

const INVALID_RESOURCE: Explanation = error(
    code::INVALID_RESOURCE,
    "TCSL only: the `Resource` of a Task is neither a QRN nor an ARN. In ASL this is `SCHEMA_VALIDATION_FAILED`, \
     as Step Functions answers, although its documentation has this code.",
    "Write the whole QRN, six parts or more between colons.",
)
.with(
    r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true, "Resource": "scf:Invoke/sum"}}}"#,
    r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
  "Resource": "qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:scf:Invoke/sum"}}}"#,
);

const TYPE_SPELLING: Explanation = warning(
    code::TYPE_SPELLING,
    "TCSL only: `Type` is spelt in other letters than the specification has. Tencent accepts it; Step Functions \
     does not.",
    "Spell the type as the specification does.",
)
.ours()
.with(
    r#"{"StartAt": "P", "States": {"P": {"Type": "pass", "End": true}}}"#,
    r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#,
);

const UNDOCUMENTED_FIELD: Explanation = warning(
    code::UNDOCUMENTED_FIELD,
    "TCSL only: the field is ASL's, and ASW does not document it. It works here as in ASL; Tencent may refuse it.",
    "Leave the field out where the definition has to run on ASW too.",
)
.ours()
.with(
    r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true, "TimeoutSeconds": 5,
  "Resource": "qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:scf:Invoke/sum"}}}"#,
    r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "End": true,
  "Resource": "qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:scf:Invoke/sum"}}}"#,
);
