//! Why texts are refused and evaluations fail, in the words of the language: AWS passes its messages on. The engine has the
//! codes of the language and often words of its own.
//!
//! Invariant: a message that the language does not have, or whose parts the engine does not tell, stays as it is.

use super::references::Only;

/// Messages without parts, by code.
const FIXED: [(&str, &str); 23] = [
    ("D3010", "Second argument of replace function cannot be an empty string"),
    ("D3020", "Third argument of split function must evaluate to a positive number"),
    ("D3080", "The picture string must only contain a maximum of two sub-pictures"),
    ("D3081", "The sub-picture must not contain more than one instance of the 'decimal-separator' character"),
    ("D3082", "The sub-picture must not contain more than one instance of the 'percent' character"),
    ("D3083", "The sub-picture must not contain more than one instance of the 'per-mille' character"),
    ("D3084", "The sub-picture must not contain both a 'percent' and a 'per-mille' character"),
    (
        "D3085",
        "The mantissa part of a sub-picture must contain at least one character that is either an 'optional digit \
         character' or a member of the 'decimal digit family'",
    ),
    (
        "D3086",
        "The sub-picture must not contain a passive character that is preceded by an active character and that is \
         followed by another active character",
    ),
    (
        "D3087",
        "The sub-picture must not contain a 'grouping-separator' character that appears adjacent to a \
         'decimal-separator' character",
    ),
    ("D3088", "The sub-picture must not contain a 'grouping-separator' at the end of the integer part"),
    (
        "D3089",
        "The sub-picture must not contain two adjacent instances of the 'grouping-separator' character",
    ),
    (
        "D3090",
        "The integer part of the sub-picture must not contain a member of the 'decimal digit family' that is followed \
         by an instance of the 'optional digit character'",
    ),
    (
        "D3091",
        "The fractional part of the sub-picture must not contain an instance of the 'optional digit character' that is \
         followed by a member of the 'decimal digit family'",
    ),
    (
        "D3092",
        "A sub-picture that contains a 'percent' or 'per-mille' character must not contain a character treated as an \
         'exponent-separator'",
    ),
    (
        "D3093",
        "The exponent part of the sub-picture must comprise only of one or more characters that are members of the \
         'decimal digit family'",
    ),
    ("D3134", "The timezone integer format specifier cannot have more than four digits"),
    ("D3135", "No matching closing bracket ']' in date/time picture string"),
    ("D3136", "The date/time picture string is missing specifiers required to parse the timestamp"),
    ("D3138", "The $single() function expected exactly 1 matching result.  Instead it matched more."),
    // The engine names the function behind the sentence.
    ("T1006", "Attempted to invoke a non-function"),
    ("T2003", "The left side of the range operator (..) must evaluate to an integer"),
    ("T2004", "The right side of the range operator (..) must evaluate to an integer"),
];

/// Messages with one part, in quotation marks: the code, what stands around the part in the engine's words, and in those
/// of the language.
const QUOTED: [(&str, [&str; 2], [&str; 2]); 6] = [
    ("D3030", ["Cannot convert '", "' to number"], ["Unable to cast value to a number: ", ""]),
    (
        "D3130",
        ["", ""],
        [
            "Formatting or parsing an integer as a sequence starting with ",
            " is not supported by this implementation",
        ],
    ),
    ("D3132", ["", ""], ["Unknown component specifier ", " in date/time picture string"]),
    (
        "D3133",
        ["", ""],
        [
            "The 'name' modifier can only be applied to months and days in the date/time picture string, not ",
            "",
        ],
    ),
    (
        "T2001",
        ["The left side of the ", " operator must evaluate to a number"],
        ["The left side of the ", " operator must evaluate to a number"],
    ),
    (
        "T2002",
        ["The right side of the ", " operator must evaluate to a number"],
        ["The right side of the ", " operator must evaluate to a number"],
    ),
];

/// Symbols by their names in the engine's parser.
const SYMBOLS: [(&str, &str); 33] = [
    ("Ampersand", "&"),
    ("And", "and"),
    ("At", "@"),
    ("Caret", "^"),
    ("Colon", ":"),
    ("ColonEqual", ":="),
    ("Comma", ","),
    ("Dot", "."),
    ("DotDot", ".."),
    ("Equal", "="),
    ("GreaterThan", ">"),
    ("GreaterThanOrEqual", ">="),
    ("Hash", "#"),
    ("In", "in"),
    ("LeftBrace", "{"),
    ("LeftBracket", "["),
    ("LeftParen", "("),
    ("LessThan", "<"),
    ("LessThanOrEqual", "<="),
    ("Minus", "-"),
    ("NotEqual", "!="),
    ("Or", "or"),
    ("Percent", "%"),
    ("Pipe", "|"),
    ("Plus", "+"),
    ("Question", "?"),
    ("RightBrace", "}"),
    ("RightBracket", "]"),
    ("RightParen", ")"),
    ("Semicolon", ";"),
    ("Slash", "/"),
    ("Star", "*"),
    ("TildeArrow", "~>"),
];

/// What the engine's parser says of a text, in the words of the language.
pub(super) fn of_grammar(reason: &str) -> String {
    let reason = reason.strip_prefix("Invalid syntax: ").unwrap_or(reason);
    if reason == "Unclosed comment" {
        return "S0106: Comment has no closing tag".to_owned();
    }
    let Some((code, said)) = reason.split_once(": ") else { return reason.to_owned() };
    let text = match code {
        "S0201" => said.strip_prefix("Syntax error: ").map(|found| format!("Syntax error: {}", token(found))),
        "S0202" => said
            .strip_prefix("Expected ")
            .and_then(|rest| rest.split_once(", got "))
            .map(|(expected, found)| format!("Expected {}, got {}", token(expected), token(found))),
        "S0203" => parts(said, "Expected ", " before end of expression"),
        "S0204" => parts(said, "Unknown operator: ", ""),
        "S0211" => parts(said, "The symbol ", " cannot be used as a unary operator"),
        "S0214" => said.strip_prefix("Expected a variable reference after ").map(|operator| {
            format!("The right side of {} must be a variable name (start with $)", token(operator))
        }),
        _ => None,
    };
    text.map_or_else(|| reason.to_owned(), |text| format!("{code}: {text}"))
}

fn parts(said: &str, before: &str, behind: &str) -> Option<String> {
    let found = said.strip_prefix(before)?.strip_suffix(behind)?;
    Some(format!("{before}{}{behind}", token(found)))
}

/// A piece of text, which the parser names as its own type does: `Comma`, `Number(2.0)`, `Identifier("a")`.
fn token(name: &str) -> String {
    let inside = |kind: &str| name.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(number) = inside("Number") {
        return number.strip_suffix(".0").unwrap_or(number).to_owned();
    }
    if let Some(text) = ["Identifier", "String", "Variable"].into_iter().find_map(inside) {
        return text.to_owned();
    }
    if let "True" | "False" | "Null" = name {
        return name.to_lowercase();
    }
    match SYMBOLS.binary_search_by_key(&name, |(known, _)| known) {
        Ok(at) => format!("\"{}\"", SYMBOLS[at].1),
        Err(_) => format!("\"{name}\""),
    }
}

/// The engine's message in the words of the language. It does not always say whose argument it was, or whose operands.
pub(super) fn of_language(message: &str, only: &Only) -> String {
    let Some((code, said)) = message.split_once(": ") else { return message.to_owned() };
    let fixed = FIXED.iter().find(|(known, _)| *known == code).map(|(_, text)| (*text).to_owned());
    let text = fixed.or_else(|| quoted(code, said)).or_else(|| match code {
        "D3100" => said.strip_prefix("Radix must be between 2 and 36, got ").map(|radix| {
            format!("The radix of the formatBase function must be between 2 and 36.  It was given {radix}")
        }),
        "T0410" | "T0411" | "T0412" => argument(code, said, only.function.as_deref()),
        "T2010" => only.comparison.map(|operator| {
            format!(
                "The expressions either side of operator \"{operator}\" must evaluate to numeric or string values"
            )
        }),
        _ => None,
    });
    text.map_or_else(|| message.to_owned(), |text| format!("{code}: {text}"))
}

fn quoted(code: &str, said: &str) -> Option<String> {
    let (_, [before, behind], [start, end]) = QUOTED.iter().find(|(known, ..)| *known == code)?;
    let part = said.strip_prefix(before)?.strip_suffix(behind)?;
    // As JSON has it.
    Some(format!("{start}{}{end}", crate::value::Value::from(part)))
}

/// An argument that a function does not take.
fn argument(code: &str, said: &str, only: Option<&str>) -> Option<String> {
    let named = said.split_once(" of function ").and_then(|(_, rest)| rest.split(' ').next());
    // In the engine a function may have no name, and then a verb follows.
    let named = named
        .map(|name| name.trim_start_matches('$'))
        .filter(|name| !["does", "must", "undefined"].contains(name));
    let function = named.or(only)?;
    if function.starts_with('"') {
        return None;
    }
    let place = place(said)?;
    match code {
        "T0410" => {
            Some(format!("Argument {place} of function \"{function}\" does not match function signature"))
        }
        "T0411" => Some(format!(
            "Context value is not a compatible type with argument {place} of function \"{function}\""
        )),
        _ => {
            let items = said.split_once("array of ")?.1.to_lowercase();
            Some(format!("Argument {place} of function \"{function}\" must be an array of \"{items}s\""))
        }
    }
}

/// Which argument it is, from 1.
fn place(said: &str) -> Option<usize> {
    let mut numbers =
        said.split(|character: char| !character.is_ascii_digit()).filter_map(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        // Expected and given: the first that is missing, or too many.
        (Some(expected), Some(given)) => Some(usize::min(expected, given) + 1),
        (first, _) => first.or(Some(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Only, SYMBOLS, of_grammar, of_language};

    #[test]
    fn texts_are_refused_in_the_words_of_the_language() {
        for (engine, language) in [
            ("Invalid syntax: S0201: Syntax error: Number(2.0)", "S0201: Syntax error: 2"),
            ("Invalid syntax: S0201: Syntax error: Identifier(\"b\")", "S0201: Syntax error: \"b\""),
            ("S0202: Expected Colon, got RightBrace", "S0202: Expected \":\", got \"}\""),
            (
                "S0203: Expected RightParen before end of expression",
                "S0203: Expected \")\" before end of expression",
            ),
            ("S0204: Unknown operator: !", "S0204: Unknown operator: \"!\""),
            (
                "S0211: The symbol Comma cannot be used as a unary operator",
                "S0211: The symbol \",\" cannot be used as a unary operator",
            ),
            (
                "S0214: Expected a variable reference after @",
                "S0214: The right side of \"@\" must be a variable name (start with $)",
            ),
            ("Unclosed comment", "S0106: Comment has no closing tag"),
            ("S0207: Unexpected end of expression", "S0207: Unexpected end of expression"),
        ] {
            assert_eq!(of_grammar(engine), language);
        }
        assert!(SYMBOLS.is_sorted());
    }

    #[test]
    fn messages_are_those_of_the_language() {
        for (engine, language) in [
            ("T1006: Attempted to invoke a non-function: $f", "T1006: Attempted to invoke a non-function"),
            (
                "T2001: The left side of the + operator must evaluate to a number",
                "T2001: The left side of the \"+\" operator must evaluate to a number",
            ),
            ("D3030: Cannot convert 'a\"b' to number", "D3030: Unable to cast value to a number: \"a\\\"b\""),
            ("D3132: Q", "D3132: Unknown component specifier \"Q\" in date/time picture string"),
            (
                "D3100: Radix must be between 2 and 36, got 1",
                "D3100: The radix of the formatBase function must be between 2 and 36.  It was given 1",
            ),
            (
                "T0410: Argument 2 of function $join does not match function signature (expected String)",
                "T0410: Argument 2 of function \"join\" does not match function signature",
            ),
            (
                "T0411: Context value is not a compatible type with argument 2 of function substringAfter",
                "T0411: Context value is not a compatible type with argument 2 of function \"substringAfter\"",
            ),
        ] {
            assert_eq!(of_language(engine, &Only::default()), language);
        }
    }

    #[test]
    fn a_mismatched_argument_is_of_the_only_function_that_is_called() {
        let only = Only { function: Some("sum".to_owned()), ..Only::default() };
        let said = |message| of_language(message, &only);
        assert_eq!(
            said("T0412: Argument 1 must be an array of Number"),
            "T0412: Argument 1 of function \"sum\" must be an array of \"numbers\""
        );
        assert_eq!(
            said("T0410: Argument count mismatch: expected 1, got 3"),
            "T0410: Argument 2 of function \"sum\" does not match function signature"
        );
        assert_eq!(
            said("T0411: Context value does not match function signature (expected String)"),
            "T0411: Context value is not a compatible type with argument 1 of function \"sum\""
        );
    }

    #[test]
    fn operands_that_have_no_order_are_of_the_only_comparison() {
        let only = Only { comparison: Some("<="), ..Only::default() };
        assert_eq!(
            of_language("T2010: Cannot compare null and number", &only),
            "T2010: The expressions either side of operator \"<=\" must evaluate to numeric or string values"
        );
    }

    #[test]
    fn what_is_not_known_stays_as_it_is() {
        for message in [
            "no code",
            "D3137: boom: D3030: Cannot convert 'x' to number",
            "D3030: Cannot convert null to number",
            "T0410: Argument 1 must be String",
            "T0410: Argument 1 of function \"hash\" does not match function signature",
        ] {
            assert_eq!(of_language(message, &Only::default()), message);
        }
    }
}
