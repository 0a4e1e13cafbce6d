//! `executor validate`: every problem of a definition, for people or for programs.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use asl::definition::{MachineType, Style, render};
use asl::{Diagnostic, Program, Severity};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Exit;
use super::dialect::DialectName;
use crate::limits::DEFINITION_BYTES_MAX;

const MANUAL: &str = "\
OUTPUT
  human  each problem with its source line and a caret, then a count
  json   one JSON object a line and file: {\"file\", \"valid\", \"diagnostics\": [{\"severity\", \"code\", \"message\",
         \"location\", \"line\", \"column\", \"note\"}]}

EXIT CODES
  0  every definition is valid (warnings are allowed)    1  one is not
  2  wrong usage                                         3  a file cannot be read

EXAMPLES
  executor validate order.asl.json approval.asl.json
  executor validate --dialect tcsl --format json caption.tcsl.json
  curl -s https://example.org/order.asl.json | executor validate -";

/// The options of `executor validate`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct ValidateOptions {
    /// Files with one definition each; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Language of the definitions
    #[arg(long, value_name = "DIALECT", default_value = "asl")]
    dialect: DialectName,
    /// Type of machine: EXPRESS allows less
    #[arg(long = "type", value_name = "TYPE", default_value = "standard")]
    machine: TypeName,
    /// How problems are shown
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeName {
    /// Durable, up to a year
    Standard,
    /// At least once, up to five minutes
    Express,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Source lines and carets
    Human,
    /// One object a line
    Json,
}

/// One file's outcome, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a str,
    valid: bool,
    diagnostics: Vec<Problem<'a>>,
}

#[derive(Debug, Serialize)]
struct Problem<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    location: &'a str,
    line: u32,
    column: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

/// Checks each file; goes on where one cannot be read.
pub(super) fn run(options: &ValidateOptions) -> Exit {
    let mut out = io::stdout().lock();
    let style = if out.is_terminal() { Style::Colour } else { Style::Plain };
    let mut worst = Exit::Ok;
    for file in &options.files {
        let name = if file == Path::new("-") { "<stdin>".to_owned() } else { file.display().to_string() };
        let exit = match read(file) {
            Ok(text) => {
                let (valid, diagnostics) = check(&text, options);
                let shown = match options.format {
                    Format::Human => human(&text, valid, &diagnostics, &name, style),
                    Format::Json => json(&name, valid, &diagnostics),
                };
                if out.write_all(shown.as_bytes()).is_err() {
                    // Whoever reads has seen enough.
                    return if valid { worst } else { Exit::Finding };
                }
                if valid { Exit::Ok } else { Exit::Finding }
            }
            Err(error) => {
                eprintln!("error: {name}: {error}");
                Exit::Internal
            }
        };
        if exit as u8 > worst as u8 {
            worst = exit;
        }
    }
    worst
}

/// One byte more than a definition may have is enough to know that it is too long.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(std::fs::File::open(file)?) };
    let mut text = Vec::new();
    source.take(DEFINITION_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn check(text: &[u8], options: &ValidateOptions) -> (bool, Vec<Diagnostic>) {
    let machine = match options.machine {
        TypeName::Standard => MachineType::Standard,
        TypeName::Express => MachineType::Express,
    };
    match Program::compile_for(text, options.dialect.into(), machine) {
        Ok(compiled) => (true, compiled.warnings),
        Err(diagnostics) => (false, diagnostics),
    }
}

fn human(text: &[u8], valid: bool, diagnostics: &[Diagnostic], name: &str, style: Style) -> String {
    let mut shown = render(text, diagnostics, name, style);
    if valid {
        shown.push_str(&format!("{name}: valid\n"));
    }
    shown
}

fn json(file: &str, valid: bool, diagnostics: &[Diagnostic]) -> String {
    let problems = diagnostics.iter().map(|problem| Problem {
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        code: problem.code,
        message: &problem.message,
        location: &problem.location,
        line: problem.line,
        column: problem.column,
        note: &problem.note,
    });
    let report = Report { file, valid, diagnostics: problems.collect() };
    // Texts and numbers always have a JSON form.
    let mut line = serde_json::to_string(&report).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> ValidateOptions {
        #[derive(Debug, clap::Parser)]
        struct Command {
            #[command(flatten)]
            options: ValidateOptions,
        }
        let arguments = std::iter::once("validate").chain(arguments.iter().copied());
        <Command as clap::Parser>::try_parse_from(arguments).expect("flags that parse").options
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_a_caret() {
        let text =
            b"{\n  \"StartAt\": \"Nowhere\",\n  \"States\": {\"P\": {\"Type\": \"Pass\", \"End\": true}}\n}";
        let (valid, diagnostics) = check(text, &options(&["x"]));
        assert!(!valid);
        let shown = human(text, valid, &diagnostics, "x.json", Style::Plain);
        assert!(shown.contains("x.json:2:") && shown.contains('^') && shown.contains("error"), "{shown}");
        let line = json("x.json", valid, &diagnostics);
        let report: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(
            (report["valid"].as_bool(), report["diagnostics"][0]["line"].as_u64()),
            (Some(false), Some(2))
        );
    }

    #[test]
    fn a_hundred_thousand_brackets_are_a_diagnostic_and_no_crash() {
        let text = "[".repeat(100_000);
        let (valid, diagnostics) = check(text.as_bytes(), &options(&["x"]));
        assert!(!valid && !diagnostics.is_empty());
    }

    #[test]
    fn a_definition_that_is_too_long_is_read_no_further() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), vec![b' '; DEFINITION_BYTES_MAX + 4_096]).expect("written");
        let text = read(file.path()).expect("readable");
        assert_eq!(text.len(), DEFINITION_BYTES_MAX + 1);
        assert!(!check(&text, &options(&["x"])).0);
    }
}
