//! The parser's errors in the words of JSONata's reference implementation, which are those of Step Functions.
//!
//! The crate names tokens as its code does (`RightBracket`); people and Step Functions know them as they are written
//! (`"]"`). What may fail: nothing; a token that is not known here keeps the crate's name.

use jsonata_core::parser::ParserError;

/// How the crate's code calls a token, and how it is written.
const TOKENS: [(&str, &str); 40] = [
    ("Plus", "+"),
    ("Minus", "-"),
    ("Star", "*"),
    ("StarStar", "**"),
    ("Slash", "/"),
    ("Percent", "%"),
    ("Equal", "="),
    ("NotEqual", "!="),
    ("LessThan", "<"),
    ("LessThanOrEqual", "<="),
    ("GreaterThan", ">"),
    ("GreaterThanOrEqual", ">="),
    ("And", "and"),
    ("Or", "or"),
    ("In", "in"),
    ("Ampersand", "&"),
    ("Dot", "."),
    ("DotDot", ".."),
    ("Question", "?"),
    ("QuestionQuestion", "??"),
    ("QuestionColon", "?:"),
    ("Colon", ":"),
    ("ColonEqual", ":="),
    ("TildeArrow", "~>"),
    ("LeftParen", "("),
    ("RightParen", ")"),
    ("LeftBracket", "["),
    ("RightBracket", "]"),
    ("LeftBrace", "{"),
    ("RightBrace", "}"),
    ("Comma", ","),
    ("Semicolon", ";"),
    ("Caret", "^"),
    ("Pipe", "|"),
    ("Hash", "#"),
    ("At", "@"),
    ("True", "true"),
    ("False", "false"),
    ("Null", "null"),
    ("Undefined", "undefined"),
];

/// What is wrong with a text, with the code of the language in front where it has one.
pub(super) fn reason(error: &ParserError) -> String {
    match error {
        ParserError::UnexpectedToken(token) => match written(token) {
            Some(symbol) => format!("S0211: The symbol {symbol} cannot be used as a unary operator"),
            None => error.to_string(),
        },
        ParserError::Expected { expected, found } => {
            let named = |token: &String| written(token).unwrap_or_else(|| token.clone());
            ParserError::Expected { expected: named(expected), found: named(found) }.to_string()
        }
        ParserError::InvalidSyntax(reason) | ParserError::InvalidNumber(reason) => {
            let token = reason.strip_prefix("S0201: Syntax error: ").and_then(written);
            token.map_or_else(|| reason.clone(), |token| format!("S0201: Syntax error: {token}"))
        }
        other => other.to_string(),
    }
}

/// A token as it is written, in quotes; `None` where the crate's name is not known.
fn written(token: &str) -> Option<String> {
    if let Some((_, symbol)) = TOKENS.iter().find(|(name, _)| *name == token) {
        return Some(format!("\"{symbol}\""));
    }
    let (kind, value) = token.strip_suffix(')')?.split_once('(')?;
    match kind {
        "Number" => value.parse::<f64>().ok().map(|number| number.to_string()),
        // Their values are in quotes already.
        "String" | "Identifier" | "Variable" | "ParentVariable" | "Function" => Some(value.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jsonata_core::parser;

    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        let error = parser::parse(expression).expect_err("no JSONata");
        assert_eq!(reason(&error), expected, "{expression}");
    }

    #[test]
    fn tokens_are_named_as_they_are_written() {
        check("a[1,2)", r#"S0202: Expected "]", got ",""#);
        check(r#"{"a":}"#, r#"S0211: The symbol "}" cannot be used as a unary operator"#);
        check("$f(1", r#"S0203: Expected ")" before end of expression"#);
        check("1 2", "S0201: Syntax error: 2");
        check("a b", r#"S0201: Syntax error: "b""#);
        check(r#""a" "b c""#, r#"S0201: Syntax error: "b c""#);
        check("{% 1 %}", r#"S0202: Expected ":", got 1"#);
    }

    #[test]
    fn what_names_no_token_is_told_as_it_is() {
        check("1 +", "S0207: Unexpected end of expression");
        check("\"a", "S0101: String literal must be terminated by a matching quote");
        check("!a", "S0204: Unknown operator: !");
        check("1e999", "S0102: Number out of range: 1e999");
        check(
            "function(x){1}",
            "S0208: Parameter of function definition must be a variable name (start with $)",
        );
    }
}
