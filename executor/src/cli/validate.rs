//! `executor validate`: every problem of a definition, for people or for programs.
//!
//! Purpose: a thin shell over [`Program::compile_for`]. Invariants: each file is read to its bound and no
//! further; a file that cannot be read does not keep the others from being checked; the exit code is the
//! worst of all files. What may fail: reading.

mod report;
mod sarif;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use asl::definition::{MachineType, Style, catalog, render};
use asl::{Diagnostic, Program};
use clap::{Args, ValueEnum};

use super::dialect::{self, DialectName};
use super::{Exit, files};
use crate::limits::DEFINITION_BYTES_MAX;

const MANUAL: &str = "\
OUTPUT
  human  each problem with its source line and a caret, then a count
  json   one JSON object a line and file: {\"file\", \"valid\", \"diagnostics\": [{\"severity\", \"code\",
         \"message\", \"location\", \"pointer\", \"line\", \"column\", \"length\", \"note\"}]}; a file that
         cannot be read has \"error\" in place of \"diagnostics\"
  sarif  one SARIF 2.1.0 log of all files, for code scanning and editors

  A location is spelt as Step Functions spells it (/States/Pay/Choices[0]/Next), a pointer is a JSON
  pointer (/States/Pay/Choices/0/Next). Lines and columns count from 1, in characters.

EXIT CODES
  0  every definition is valid (warnings are allowed)
  1  one is not, or has a warning with --deny-warnings
  2  wrong usage                                         3  a file cannot be read

EXAMPLES
  executor validate order.asl.json machines/*.asl.json
  executor validate --deny-warnings --type express checkout.asl.json
  executor validate --format json order.asl.json caption.tcsl.json
  executor validate --dialect tcsl caption.json
  executor validate --format sarif machines/*.asl.json > asl.sarif
  executor validate --stdin-name order.asl.json - < order.asl.json
  executor validate --explain MISSING_END_STATE";

/// The options of `executor validate`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct ValidateOptions {
    /// Files with one definition each; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// Language of the definitions [default: of each file: tcsl where it ends in .tcsl.json, else asl]
    #[arg(long, value_name = "DIALECT", ignore_case = true)]
    dialect: Option<DialectName>,
    /// Type of machine: EXPRESS allows less
    #[arg(long = "type", value_name = "TYPE", default_value = "standard", ignore_case = true)]
    machine: TypeName,
    /// How problems are shown
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// Exit with 1 where there are warnings
    #[arg(long)]
    deny_warnings: bool,
    /// What standard input is called in the output
    #[arg(long, value_name = "NAME", default_value = "<stdin>", hide_default_value = true)]
    stdin_name: String,
    /// Say what a code means, with an example and its repair, and check nothing
    #[arg(long, value_name = "CODE", conflicts_with = "files")]
    explain: Option<String>,
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
    /// One log of all files
    Sarif,
}

/// What became of a file.
#[derive(Debug)]
enum Outcome {
    /// Read and checked.
    Checked { text: Vec<u8>, valid: bool, diagnostics: Vec<Diagnostic> },
    /// Not read.
    Unreadable(String),
}

impl Outcome {
    fn exit(&self, deny_warnings: bool) -> Exit {
        match self {
            Self::Unreadable(_) => Exit::Internal,
            Self::Checked { valid: false, .. } => Exit::Finding,
            Self::Checked { diagnostics, .. } if deny_warnings && !diagnostics.is_empty() => Exit::Finding,
            Self::Checked { .. } => Exit::Ok,
        }
    }
}

/// Checks each file; goes on where one cannot be read.
pub(super) fn run(options: &ValidateOptions) -> Exit {
    let mut out = io::stdout().lock();
    if let Some(code) = &options.explain {
        return explain(code, &mut out);
    }
    if let Err((exit, message)) = files::stdin_once(options.files.iter().map(PathBuf::as_path)) {
        eprintln!("{message}");
        return exit;
    }
    // https://no-color.org
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = if out.is_terminal() && !plain { Style::Colour } else { Style::Plain };
    let mut log = sarif::Log::default();
    let mut worst = Exit::Ok;
    for file in &options.files {
        let name =
            if files::is_stdin(file) { options.stdin_name.clone() } else { file.display().to_string() };
        let outcome = match files::bytes(file, DEFINITION_BYTES_MAX) {
            Ok(text) => check(text, &name, options),
            Err(problem) => {
                eprintln!("error: {name}: {problem}");
                Outcome::Unreadable(problem)
            }
        };
        let exit = outcome.exit(options.deny_warnings);
        if exit as u8 > worst as u8 {
            worst = exit;
        }
        let shown = match options.format {
            Format::Human => human(&outcome, exit, &name, style),
            Format::Json => report::line(&name, &outcome),
            Format::Sarif => {
                log.add(&name, &outcome);
                continue;
            }
        };
        if out.write_all(shown.as_bytes()).is_err() {
            // Whoever reads has seen enough.
            return worst;
        }
    }
    if options.format == Format::Sarif {
        // As above.
        let _ = out.write_all(log.text().as_bytes());
    }
    worst
}

fn explain(code: &str, out: &mut impl Write) -> Exit {
    let Some(explanation) = catalog::explain(code) else {
        let codes: Vec<&str> = catalog::all().iter().map(|one| one.code).collect();
        eprintln!("error: no diagnostic has the code '{code}'; there are {}", codes.join(", "));
        return Exit::Usage;
    };
    // A closed pipe is no reason to fail.
    let _ = write!(out, "{explanation}");
    Exit::Ok
}

fn check(text: Vec<u8>, name: &str, options: &ValidateOptions) -> Outcome {
    let dialect = dialect::of(options.dialect, Path::new(name));
    let machine = match options.machine {
        TypeName::Standard => MachineType::Standard,
        TypeName::Express => MachineType::Express,
    };
    let (valid, diagnostics) = match Program::compile_for(&text, dialect, machine) {
        Ok(compiled) => (true, compiled.warnings),
        Err(diagnostics) => (false, diagnostics),
    };
    Outcome::Checked { text, valid, diagnostics }
}

/// Nothing for a file that was not read: standard error has it.
fn human(outcome: &Outcome, exit: Exit, name: &str, style: Style) -> String {
    let Outcome::Checked { text, valid, diagnostics } = outcome else { return String::new() };
    let mut shown = render(text, diagnostics, name, style);
    match (valid, exit) {
        (true, Exit::Ok) => shown.push_str(&format!("{name}: valid\n")),
        (true, _) => shown.push_str(&format!("{name}: valid, but warnings are denied\n")),
        (false, _) => {}
    }
    shown
}

#[cfg(test)]
mod tests;
