//! The frame of a compilation: bounds of the text, the machine's own fields, the verdict.

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::fields::{self, Range};
use super::findings::{Findings, Place};
use super::json::{self, JsonProblem, JsonProblemKind, Node, Span};
use super::suggest::json_hint;
use super::{Compiled, DEFINITION_BYTES_MAX, Diagnostic, MachineType, Severity, code};
use crate::program::{Dialect, Graph, Program};

/// What a compilation knows while it goes.
pub(super) struct Compiler<'t> {
    pub(super) text: &'t str,
    pub(super) dialect: Dialect,
    pub(super) machine: MachineType,
    /// SHA-256 of the text.
    pub(super) hash: [u8; 32],
    /// The machine's `QueryLanguage` is JSONata.
    pub(super) jsonata: bool,
    pub(super) findings: Findings,
    /// States numbered so far.
    pub(super) placed: u32,
    /// State names of the whole machine.
    pub(super) names: HashSet<String, foldhash::fast::RandomState>,
    /// Labels of the whole machine.
    pub(super) labels: HashSet<String, foldhash::fast::RandomState>,
    /// Whether anything is assigned to a variable.
    pub(super) assigns: bool,
    /// Suggestions made so far.
    pub(super) suggestions: usize,
    /// What the regular expressions of all paths so far take.
    pub(super) pattern_bytes: usize,
}

/// What a text defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Machine,
    State,
}

/// Compiles, or says all that is wrong.
pub(super) fn compile(
    definition: &[u8],
    dialect: Dialect,
    machine: MachineType,
    whole: Whole,
) -> Result<Compiled, Vec<Diagnostic>> {
    if definition.len() > DEFINITION_BYTES_MAX {
        return Err(vec![too_long()]);
    }
    let text = match std::str::from_utf8(definition) {
        Ok(text) => text,
        Err(error) => return Err(bad_utf8(definition, error.valid_up_to())),
    };
    let root = match json::read(text) {
        Ok(root) => root,
        Err(problem) => return Err(not_json(text, problem)),
    };
    let mut compiler = Compiler {
        text,
        dialect,
        machine,
        hash: Sha256::digest(definition).into(),
        jsonata: false,
        findings: Findings::default(),
        placed: 0,
        names: HashSet::default(),
        labels: HashSet::default(),
        assigns: false,
        suggestions: 0,
        pattern_bytes: 0,
    };
    let program = match whole {
        Whole::Machine => compiler.machine(&root),
        Whole::State => compiler.alone(root),
    };
    let refused = compiler.findings.has_errors();
    let diagnostics = compiler.findings.finish(text);
    match program {
        Some(program) if !refused => Ok(Compiled { program: Arc::new(program), warnings: diagnostics }),
        _ => Err(diagnostics),
    }
}

fn too_long() -> Diagnostic {
    let message = format!("The definition is longer than {DEFINITION_BYTES_MAX} bytes");
    Diagnostic {
        severity: Severity::Error,
        code: code::SCHEMA_VALIDATION_FAILED,
        message,
        location: String::new(),
        pointer: String::new(),
        note: String::new(),
        line: 1,
        column: 1,
        length: 1,
    }
}

fn bad_utf8(definition: &[u8], valid: usize) -> Vec<Diagnostic> {
    let text = String::from_utf8_lossy(&definition[..valid]);
    let message = format!("Invalid UTF-8 byte 0x{:02x} at offset {valid}", definition[valid]);
    let mut findings = Findings::default();
    let span = Span::new(valid, valid);
    let utf16 = definition.starts_with(&[0xff, 0xfe]) || definition.starts_with(&[0xfe, 0xff]);
    let note = if utf16 { "The text begins like UTF-16; a definition is UTF-8" } else { "" };
    findings.error_nowhere(code::INVALID_JSON_DESCRIPTION, span, String::new(), message, note);
    findings.finish(&text)
}

/// The text as AWS's messages quote it: its first 500 characters.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 500;
    match text.char_indices().nth(SHOWN) {
        None => format!("(String)\"{text}\""),
        Some((end, _)) => {
            let rest = text[end..].chars().count();
            format!("(String)\"{}\"[truncated {rest} chars]", &text[..end])
        }
    }
}

fn not_json(text: &str, problem: JsonProblem) -> Vec<Diagnostic> {
    let span = Span::new(problem.start, problem.end);
    let mut findings = Findings::default();
    match problem.kind {
        JsonProblemKind::Empty => {
            let message = "Definition must be a valid JSON object";
            let note = "There is nothing in it";
            findings.error_nowhere(code::SCHEMA_VALIDATION_FAILED, span, String::new(), message, note);
        }
        JsonProblemKind::TooDeep => {
            findings.error_nowhere(code::TOO_DEEPLY_NESTED, span, String::new(), problem.message, "");
        }
        JsonProblemKind::Syntax => {
            let before = &text[..problem.end];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let location = format!("[Source: {}; line: {line}, column: {column}]", quoted(text));
            let message = format!("{}\n at {location}", problem.message);
            let note = json_hint(text, problem.start);
            findings.error_nowhere(code::INVALID_JSON_DESCRIPTION, span, location, message, note);
        }
    }
    findings.finish(text)
}

impl Compiler<'_> {
    fn machine(&mut self, root: &Node) -> Option<Program> {
        let place = Place::root(root.pointed());
        if root.members().is_none() {
            let message = "Definition must be a valid JSON object";
            let span = root.pointed();
            self.findings.error_nowhere(code::SCHEMA_VALIDATION_FAILED, span, String::new(), message, "");
            return None;
        }
        self.only(root, fields::MACHINE, &place);
        self.string_field(root, "Comment", &place);
        self.version(root, &place);
        self.tcsl_machine(root, &place);
        self.jsonata = self.query_language(root, &place).unwrap_or(false);
        let timeout_seconds = self.integer_field(root, "TimeoutSeconds", Range::POSITIVE, &place);
        let graph = self.graph(root, &place);
        if self.assigns {
            self.variable_scopes(root, &place);
        }
        self.remark_unused_variables(root, &place);
        Some(self.program(timeout_seconds, Arc::new(graph?)))
    }

    /// What runs this graph: the machine, or the children of a distributed Map.
    pub(super) fn program(&self, timeout_seconds: Option<u64>, root: Arc<Graph>) -> Program {
        let has_children = root.has_children();
        Program { dialect: self.dialect, hash: self.hash, timeout_seconds, root, has_children }
    }

    fn version(&mut self, root: &Node, place: &Place<'_>) {
        self.one_of(root, "Version", &["1.0"], place);
    }

    /// Whether it is JSONata; `None` where the field is absent. Step Functions takes a wrong value for JSONata in all
    /// that it says beside.
    pub(super) fn query_language(&mut self, node: &Node, place: &Place<'_>) -> Option<bool> {
        let languages: &[&str] = match self.dialect {
            Dialect::Asl => &["JSONPath", "JSONata"],
            Dialect::Tcsl => &["JSONPath"],
        };
        match self.one_of(node, "QueryLanguage", languages, place) {
            Some(language) => language.map(|name| name == "JSONata"),
            None => Some(self.dialect == Dialect::Asl),
        }
    }
}
