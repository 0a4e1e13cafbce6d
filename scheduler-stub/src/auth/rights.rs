//! What access keys may do, as the stub's file says it.
//!
//! A line is `KEY RIGHTS MACHINE…`: the id of a key, `read`, `start`, `manage` or several of them with commas, and names of
//! machines in which `*` is any text. Empty lines and lines that begin with `#` say nothing. Invariant: what no line gives is no
//! right. What may fail: reading the lines, with words that name the line.

use proto::auth::v1::{CheckRightRequest, Right};

/// Lines of a file.
const LINES_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct KeyRights(Vec<Line>);

#[derive(Debug, Clone)]
struct Line {
    key: String,
    rights: Vec<Right>,
    machines: Vec<String>,
}

impl KeyRights {
    /// Reads the lines.
    ///
    /// # Errors
    /// In words, with the number of the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let told = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<Line> = told
            .map(|(at, line)| Line::parse(line).map_err(|why| format!("line {at}: {why}")))
            .collect::<Result<_, _>>()?;
        if lines.len() > LINES_MAX {
            return Err(format!("it has {} lines, at most {LINES_MAX} are possible", lines.len()));
        }
        Ok(Self(lines))
    }

    /// Whether a key has a right on a machine; on all of them where none is named.
    #[must_use]
    pub fn allow(&self, asked: &CheckRightRequest) -> bool {
        let machine = |pattern: &String| {
            pattern == "*" || !asked.machine.is_empty() && front::fits(pattern, &asked.machine)
        };
        self.0.iter().any(|line| {
            line.key == asked.key_id
                && line.rights.contains(&asked.right())
                && line.machines.iter().any(machine)
        })
    }
}

impl Line {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(key), Some(rights)) = (words.next(), words.next()) else {
            return Err("write KEY RIGHTS MACHINE…, as in `AKID1 read,start orders-*`".to_owned());
        };
        let right = |word: &str| match word {
            "read" => Ok(Right::Read),
            "start" => Ok(Right::Start),
            "manage" => Ok(Right::Manage),
            word => Err(format!("{word:?} is none of read, start and manage")),
        };
        let rights = rights.split(',').map(right).collect::<Result<_, _>>()?;
        let machines: Vec<String> = words.collect();
        if machines.is_empty() {
            return Err("it names no machine: * are all".to_owned());
        }
        Ok(Self { key, rights, machines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(key: &str, right: Right, machine: &str) -> CheckRightRequest {
        CheckRightRequest {
            key_id: key.to_owned(),
            account: "1".to_owned(),
            right: right.into(),
            machine: machine.to_owned(),
        }
    }

    #[test]
    fn a_key_has_the_rights_of_its_lines_and_no_other() {
        let rights = KeyRights::parse("# teams\n\nA read *\nA start,manage orders-* bills\n").expect("lines");
        for (key, right, machine, expected) in [
            ("A", Right::Read, "", true),
            ("A", Right::Read, "orders-1", true),
            ("A", Right::Start, "orders-1", true),
            ("A", Right::Manage, "bills", true),
            ("A", Right::Start, "stock", false),
            ("A", Right::Start, "", false),
            ("B", Right::Read, "", false),
            ("A", Right::Unspecified, "orders-1", false),
        ] {
            assert_eq!(rights.allow(&asked(key, right, machine)), expected, "{key} {right:?} {machine:?}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        for (text, told) in [("\nA", "line 2"), ("A write *", "\"write\""), ("A read", "no machine")] {
            let error = KeyRights::parse(text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
}
