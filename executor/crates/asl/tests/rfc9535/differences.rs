//! Where the dialect of AWS differs from RFC 9535, and why.

use asl::path::{Path, Scope};
use asl::value::Value;

use super::Case;
use super::selector::{Brackets, brackets, outside, quoted, unquoted};

/// How the dialect differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It refuses what the RFC reads.
    Refuses,
    /// It reads what the RFC refuses.
    Reads,
    /// It gives another answer.
    Answers,
}

/// A deliberate difference.
pub struct Difference {
    pub kind: Kind,
    /// What differs.
    pub what: &'static str,
    /// What stands behind it.
    pub why: &'static str,
    /// Whether a case shows it.
    pub applies: fn(&Case<'_>) -> bool,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        kind: Kind::Refuses,
        what: "the RFC's functions in filters",
        why: "Jayway has functions only behind a path, `@.a.length()`, and `=~` in place of match and search",
        applies: |case| valid(case) && has_function(case.selector),
    },
    Difference {
        kind: Kind::Refuses,
        what: "a slice with a step",
        why: "Jayway's slices have two bounds; a third is refused rather than passed over",
        applies: |case| {
            valid(case) && any_brackets(case, |brackets| !brackets.is_filter() && colons(brackets) > 1)
        },
    },
    Difference {
        kind: Kind::Refuses,
        what: "an index beyond 32 bits",
        why: "Jayway's indexes are Java's ints",
        applies: |case| valid(case) && any_brackets(case, has_long_index),
    },
    Difference {
        kind: Kind::Refuses,
        what: "white space between segments",
        why: "Jayway refuses blanks outside of brackets; a name with one stands in quotes",
        applies: |case| valid(case) && outside(case.selector).contains(char::is_whitespace),
    },
    Difference {
        kind: Kind::Refuses,
        what: "selectors of several kinds, or several filters, wildcards or slices, in one pair of brackets",
        why: "Jayway's brackets hold names, or indexes, or one of anything else",
        applies: |case| valid(case) && any_brackets(case, is_mixed),
    },
    Difference {
        kind: Kind::Answers,
        what: "several names at the end make one object of those members",
        why: "Jayway merges what a leaf selects by several names",
        applies: |case| valid(case) && any_brackets(case, |brackets| brackets.last && has_names(brackets)),
    },
    Difference {
        kind: Kind::Answers,
        what: "`<=` and `>=` do not hold between null and null, or between equal booleans",
        why: "Jayway orders numbers and strings; nothing else is ordered, not even against itself",
        applies: |case| valid(case) && orders_constants(case.selector),
    },
    Difference {
        kind: Kind::Answers,
        what: "two paths that name nothing are not equal",
        why: "in Jayway a path that names nothing has no value to compare",
        applies: both_name_nothing,
    },
    Difference {
        kind: Kind::Reads,
        what: "control characters in quotes",
        why: "Jayway takes the text between quotes as it is",
        applies: |case| {
            !valid(case) && quoted(case.selector).chars().any(is_control) && !escapes(case.selector)
        },
    },
    Difference {
        kind: Kind::Reads,
        what: "any character behind a backslash in quotes",
        why: "recorded from AWS: a backslash before anything but an escape stays in the name",
        applies: |case| !valid(case) && has_free_escape(case.selector),
    },
    Difference {
        kind: Kind::Reads,
        what: "an index with leading zeros, or minus zero",
        why: "Java's parseInt reads them",
        applies: |case| !valid(case) && any_brackets(case, is_padded_index),
    },
    Difference {
        kind: Kind::Reads,
        what: "dotted names of any characters",
        why: "the States Language's own example of a reference path is `$.&Ж中`",
        applies: |case| !valid(case) && is_free_name(case.selector),
    },
    Difference {
        kind: Kind::Reads,
        what: "comparisons of paths that may name several values",
        why: "in Jayway such a path is a list, and lists compare",
        applies: |case| !valid(case) && compares_lists(case),
    },
    Difference {
        kind: Kind::Reads,
        what: "constants as conditions",
        why: "Jayway's filters are expressions over any values, true and false among them",
        applies: |case| !valid(case) && is_constant_filter(case.selector),
    },
    Difference {
        kind: Kind::Reads,
        what: "a bare word as a string",
        why: "recorded from AWS: `[?(@.code==es)]` is accepted",
        applies: |case| !valid(case) && has_bare_word(case.selector),
    },
];

fn valid(case: &Case<'_>) -> bool {
    case.document.is_some()
}

fn any_brackets(case: &Case<'_>, test: impl Fn(&Brackets<'_>) -> bool) -> bool {
    brackets(case.selector).iter().any(test)
}

fn has_function(selector: &str) -> bool {
    let text: String = unquoted(selector).split_whitespace().collect();
    ["length(", "count(", "match(", "search(", "value("].iter().any(|name| text.contains(name))
}

fn colons(brackets: &Brackets<'_>) -> usize {
    unquoted(brackets.inside).matches(':').count()
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

fn has_long_index(brackets: &Brackets<'_>) -> bool {
    let numbers = brackets.parts.iter().flat_map(|part| part.split(':')).map(str::trim);
    numbers.filter(|number| is_integer(number)).any(|number| number.parse::<i32>().is_err())
}

fn has_names(brackets: &Brackets<'_>) -> bool {
    brackets.parts.len() > 1 && brackets.parts.iter().all(|part| part.starts_with(['\'', '"']))
}

fn is_mixed(brackets: &Brackets<'_>) -> bool {
    let indexes = brackets.parts.iter().all(|part| is_integer(part));
    brackets.parts.len() > 1 && !indexes && !has_names(brackets)
}

fn orders_constants(selector: &str) -> bool {
    let text = unquoted(selector).replace(' ', "");
    ["null", "true", "false"]
        .iter()
        .any(|word| [format!("<={word}"), format!(">={word}")].iter().any(|part| text.contains(part)))
}

/// One `==` between two paths, and an item of the document for which both name nothing.
fn both_name_nothing(case: &Case<'_>) -> bool {
    let (Some(document), Some(filter)) = (case.document, filter(case.selector)) else { return false };
    let Some((left, right)) = filter.split_once("==") else { return false };
    let (left, right) = (left.trim(), right.trim());
    let single = |side: &str| side.starts_with(['@', '$']) && !side.contains([' ', '&', '|', '(', '*']);
    if !single(left) || !single(right) {
        return false;
    }
    let missing = |side: &str, item: &Value| {
        let from = if side.starts_with('@') { item } else { document };
        let path = Path::parse(&format!("${}", &side[1..])).expect("a side of a comparison is a path");
        !path.is_present(&Scope::new(from, &Value::Null))
    };
    let both = |item: &Value| missing(left, item) && missing(right, item);
    match document {
        Value::Array(items) => items.iter().any(both),
        Value::Object(members) => members.values().any(both),
        _ => false,
    }
}

/// The filter of a selector that is nothing else, without parentheses around it.
fn filter(selector: &str) -> Option<&str> {
    let filter = selector.strip_prefix("$[?")?.strip_suffix(']')?;
    Some(filter.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(filter))
}

fn is_control(character: char) -> bool {
    character < ' '
}

fn escapes(selector: &str) -> bool {
    quoted(selector).contains('\\')
}

/// A quoted name, well closed, with a backslash before something that is no escape of the RFC.
fn has_free_escape(selector: &str) -> bool {
    let text = quoted(selector);
    let Some(quote) = text.chars().next() else { return false };
    let mut inside = text.chars().skip(1);
    let mut free = false;
    while let Some(character) = inside.next() {
        match character {
            '\\' => match inside.next() {
                Some('u') | None => return false,
                Some(escaped) => free |= !"bfnrt/\\".contains(escaped) && escaped != quote,
            },
            end if end == quote => return free && inside.next().is_none(),
            _ => {}
        }
    }
    false
}

fn is_padded_index(brackets: &Brackets<'_>) -> bool {
    let text = brackets.inside;
    let digits = text.strip_prefix('-').unwrap_or(text);
    is_integer(text) && (digits.len() > 1 && digits.starts_with('0') || text == "-0")
}

fn is_free_name(selector: &str) -> bool {
    let Some(name) = selector.strip_prefix("$.") else { return false };
    let first =
        name.chars().next().is_some_and(|first| !first.is_alphabetic() && first != '_' && first != '*');
    first && !name.contains(['.', '[']) && !name.contains(char::is_whitespace)
}

fn compares_lists(case: &Case<'_>) -> bool {
    let Some(filter) = filter(case.selector) else { return false };
    let compares = ["==", "!=", "<="].iter().any(|operator| filter.contains(operator));
    let inner = brackets(case.selector);
    let several = |brackets: &Brackets<'_>| {
        brackets.nested
            && !is_mixed(brackets)
            && (brackets.parts.len() > 1 || [":", "*"].iter().any(|sign| brackets.inside.contains(sign)))
    };
    let list = inner.iter().any(several) || [".*", ".."].iter().any(|sign| filter.contains(sign));
    compares && list && !has_function(case.selector) && !inner.iter().any(is_mixed)
}

fn is_constant_filter(selector: &str) -> bool {
    filter(selector).is_some_and(|filter| !filter.contains(['@', '$', '(']))
}

fn has_bare_word(selector: &str) -> bool {
    let text = unquoted(selector);
    let Some((_, right)) = text.split_once("==") else { return false };
    let word: String = right.chars().take_while(|character| character.is_alphanumeric()).collect();
    let bare = word.starts_with(char::is_alphabetic) && !["true", "false", "null"].contains(&word.as_str());
    bare && !right.contains('(')
}
