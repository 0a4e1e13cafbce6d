//! What an author may have meant: the known name nearest to a misspelt one.
//!
//! Invariants: the work is bounded, whatever the definition; a name is offered only where it differs in
//! case or in [`EDITS_MAX`] characters at most.

use super::compile::Compiler;

/// Suggestions of one compilation; more would not be read.
const SUGGESTIONS_MAX: usize = 20;
/// Known names that are looked at for one suggestion.
const NAMES_MAX: usize = 200;
/// Longer names are not compared.
const LENGTH_MAX: usize = 80;
/// Characters inserted, removed or replaced.
const EDITS_MAX: usize = 2;

impl Compiler<'_> {
    /// `Did you mean 'X'?`, or nothing.
    pub(super) fn suggestion<'n>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> String {
        if self.suggestions == SUGGESTIONS_MAX {
            return String::new();
        }
        self.suggestions += 1;
        let nearest = nearest(written, known.into_iter().take(NAMES_MAX));
        nearest.map(|name| format!("Did you mean '{name}'?")).unwrap_or_default()
    }
}

/// What a text that is not JSON may have been meant as, judged by what stands at the problem's place; often
/// nothing.
pub(super) fn json_hint(text: &str, at: usize) -> &'static str {
    let before = text[..at].trim_end();
    let line = text.lines().next().unwrap_or_default();
    let word = line.split(':').next().unwrap_or_default();
    let yaml = line == "---" || (word.len() < line.len() && word.chars().all(char::is_alphanumeric));
    match text[at..].chars().next() {
        Some('\u{feff}') => "The text begins with a byte order mark; save it as UTF-8 without one",
        Some('/') => "JSON has no comments; states and machines have a field 'Comment'",
        Some('\'' | '\u{2018}'..='\u{201f}') => "Strings in JSON stand in plain double quotes, \"",
        Some('}' | ']') if before.ends_with(',') => "The comma before it is one too many",
        _ if yaml => "This looks like YAML; a definition is JSON",
        _ if ["True", "False", "None"].iter().any(|word| text[at..].starts_with(word)) => {
            "JSON writes true, false and null"
        }
        Some(letter)
            if letter.is_alphabetic() && before.ends_with(['{', ',']) && text[at..].contains(':') =>
        {
            "Names in JSON stand in double quotes"
        }
        _ => "",
    }
}

/// The nearest name; of equally near ones the first in the alphabet, so that the order of a map does not
/// show.
fn nearest<'n>(written: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let written: Vec<char> = written.chars().take(LENGTH_MAX + 1).collect();
    let near = known.filter_map(|name| distance(&written, name).map(|edits| (edits, name)));
    near.min().map(|(_, name)| name)
}

/// Edits between two names where they are few against the length; letters in another case cost nothing.
fn distance(written: &[char], name: &str) -> Option<usize> {
    let name: Vec<char> = name.chars().take(LENGTH_MAX + 1).collect();
    let longer = written.len().max(name.len());
    if longer > LENGTH_MAX || written.len().abs_diff(name.len()) > EDITS_MAX {
        return None;
    }
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (at, left) in written.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, right) in name.iter().enumerate() {
            let replaced = diagonal + usize::from(!left.eq_ignore_ascii_case(right));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    let edits = row[name.len()];
    (edits <= EDITS_MAX && edits * 3 <= longer).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, known: &[&str], expected: Option<&str>) {
        assert_eq!(nearest(written, known.iter().copied()), expected);
    }

    #[test]
    fn the_nearest_name_is_offered() {
        check("Finsh", &["Start", "Finish", "Furnish"], Some("Finish"));
        check("sum", &["Sum", "sun"], Some("Sum"));
        check("Resuorce", &["Resource", "Result"], Some("Resource"));
        check(
            "\u{7ed3}\u{675f}\u{72b6}",
            &["\u{7ed3}\u{675f}\u{72b6}\u{6001}"],
            Some("\u{7ed3}\u{675f}\u{72b6}\u{6001}"),
        );
    }

    #[test]
    fn nothing_is_offered_where_nothing_is_near() {
        check("A", &["B"], None);
        check("Pay", &["Ship", "Cancel"], None);
        check("", &["A"], None);
        check(&"x".repeat(81), &[&"x".repeat(81)], None);
    }

    #[test]
    fn of_equally_near_names_the_first_in_the_alphabet_is_offered() {
        check("Step4", &["Step3", "Step1", "Step2"], Some("Step1"));
    }
}
