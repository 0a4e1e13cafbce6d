//! Regular expressions as the language means them: JavaScript's and Java's classes are of ASCII, the engine's of Unicode,
//! a dot takes no end of a line, and brackets inside of brackets are signs like others.
//!
//! Invariant: what has one meaning in all of them stays as it is. What the engine does not have (looking around, references
//! back) fails when it is evaluated.

/// Digits.
const DIGITS: &str = "0-9";
/// Letters, digits and the underscore.
const WORD: &str = "0-9A-Za-z_";
/// What a dot does not take.
const LINE_ENDS: &str = "\n\r\u{2028}\u{2029}";

/// The pattern for the engine.
pub(super) fn for_engine(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match (character, in_class) {
            ('\\', _) => escape(characters.next(), in_class, &mut out),
            ('[', false) => {
                in_class = true;
                out.push('[');
            }
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            // The engine has operators of classes.
            ('[' | '&' | '~', true) => out.extend(['\\', character]),
            ('.', false) => out.extend(["[^", LINE_ENDS, "]"]),
            (other, _) => out.push(other),
        }
    }
    out
}

fn escape(escaped: Option<char>, in_class: bool, out: &mut String) {
    match (escaped, in_class) {
        (Some('d'), true) => out.push_str(DIGITS),
        (Some('w'), true) => out.push_str(WORD),
        (Some('d'), false) => out.extend(["[", DIGITS, "]"]),
        (Some('w'), false) => out.extend(["[", WORD, "]"]),
        (Some('D'), _) => out.extend(["[^", DIGITS, "]"]),
        (Some('W'), _) => out.extend(["[^", WORD, "]"]),
        (Some('b'), false) => out.push_str(r"(?-u:\b)"),
        (escaped, _) => {
            out.push('\\');
            out.extend(escaped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::for_engine;

    #[test]
    fn classes_are_of_ascii_and_dots_of_a_line() {
        assert_eq!(for_engine(r"^\d{4}-\w+\s\\d$"), r"^[0-9]{4}-[0-9A-Za-z_]+\s\\d$");
        assert_eq!(for_engine(r"[^\d\W.]\b"), r"[^0-9[^0-9A-Za-z_].](?-u:\b)");
        assert_eq!(for_engine("a.b"), "a[^\n\r\u{2028}\u{2029}]b");
    }

    #[test]
    fn signs_in_brackets_are_only_signs() {
        assert_eq!(for_engine("[[a&&b~]x[]"), r"[\[a\&\&b\~]x[]");
        assert_eq!(for_engine(r"[\]\[]\["), r"[\]\[]\[");
    }
}
