//! Which strings of a definition are expressions.

use super::{Expression, SyntaxError};

/// A string in a field of a JSONata state.
#[derive(Debug, Clone)]
pub enum Text {
    /// Means itself.
    Literal,
    /// `{% ... %}`
    Expression(Expression),
}

impl Text {
    /// Reads a string of a JSONata state, at any depth of a field that takes expressions.
    ///
    /// # Errors
    /// When the string opens an expression and does not close it, or the other way round, or when what stands between is
    /// no expression.
    pub fn compile(text: &str) -> Result<Self, SyntaxError> {
        match delimited(text)? {
            Some(expression) => Expression::compile(expression).map(Self::Expression),
            None => Ok(Self::Literal),
        }
    }
}

/// What stands between `{%` and `%}`; `None` for a string that means itself.
///
/// Nothing may stand before and behind them: a string with white space before `{%` and behind `%}` means itself, which is
/// recorded from AWS.
///
/// # Errors
/// When only one of them is there.
pub fn delimited(text: &str) -> Result<Option<&str>, SyntaxError> {
    let refused = || Err(SyntaxError::Delimiters(text.to_owned()));
    match (text.strip_prefix("{%"), text.ends_with("%}")) {
        (Some(rest), true) => rest.strip_suffix("%}").map_or_else(refused, |inside| Ok(Some(inside))),
        (None, false) => Ok(None),
        _ => refused(),
    }
}
