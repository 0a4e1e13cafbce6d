//! Intrinsic functions and payload templates, read while they are filled in.

use serde_json::{Map, Value as Json};

use super::path::{Roots, equal, value};

/// Why a template cannot be filled in.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfilled {
    /// A path names nothing.
    Path,
    /// A function cannot take what it is given.
    Function,
    /// What the reference does not say: texts that hold a message of ours, and numbers that have to be rounded.
    Unsaid,
}

/// Stands for the text of a cause whose words are no concern of the reference.
pub const CAUSE: &str = "\u{e000}a cause";

/// Fills a template in.
pub fn filled(template: &Json, roots: &Roots<'_>) -> Result<Json, Unfilled> {
    match template {
        Json::Object(members) => {
            let mut out = Map::new();
            for (key, member) in members {
                match key.strip_suffix(".$") {
                    Some(key) => {
                        let text = member.as_str().expect("an expression");
                        out.insert(key.to_owned(), expression(text, roots)?);
                    }
                    None => {
                        out.insert(key.clone(), filled(member, roots)?);
                    }
                }
            }
            Ok(Json::Object(out))
        }
        Json::Array(items) => items.iter().map(|item| filled(item, roots)).collect(),
        scalar => Ok(scalar.clone()),
    }
}

/// The value of a path, a call, or a literal among the arguments of one.
fn expression(text: &str, roots: &Roots<'_>) -> Result<Json, Unfilled> {
    if text.starts_with('$') {
        return value(text, roots).map_err(|_| Unfilled::Path);
    }
    let Some(call) = text.strip_prefix("States.") else {
        return Ok(serde_json::from_str(&text.replace('\'', "\"")).expect("a literal"));
    };
    let (name, arguments) = call.split_once('(').expect("a call");
    let arguments = arguments.strip_suffix(')').expect("a closed call");
    let values: Result<Vec<Json>, Unfilled> =
        split(arguments).into_iter().map(|argument| expression(argument, roots)).collect();
    let values = values?;
    if values.iter().any(mentions_a_cause) {
        return Err(Unfilled::Unsaid);
    }
    apply(name, &values)
}

/// What commas separate outside of parentheses, brackets and quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0, false, 0);
    let mut found = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(Some(text[start..].trim()).filter(|last| !last.is_empty()));
    found
}

fn mentions_a_cause(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains(CAUSE),
        Json::Array(items) => items.iter().any(mentions_a_cause),
        Json::Object(members) => members.values().any(mentions_a_cause),
        _ => false,
    }
}

/// The developer guide's functions, as far as the generators call them.
fn apply(name: &str, given: &[Json]) -> Result<Json, Unfilled> {
    let array = |at: usize| given[at].as_array().ok_or(Unfilled::Function);
    let integer = |at: usize| match &given[at] {
        Json::Number(number) => number.as_i64().ok_or(Unfilled::Unsaid),
        _ => Err(Unfilled::Function),
    };
    Ok(match name {
        "Array" => given.to_vec().into(),
        "ArrayLength" => array(0)?.len().into(),
        "ArrayContains" => array(0)?.iter().any(|item| equal(item, &given[1])).into(),
        "ArrayGetItem" => {
            let (items, at) = (array(0)?, integer(1)?);
            usize::try_from(at).ok().and_then(|at| items.get(at)).cloned().ok_or(Unfilled::Function)?
        }
        "ArrayPartition" => {
            let (items, size) = (array(0)?, integer(1)?);
            let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Unfilled::Function)?;
            items.chunks(size).map(|chunk| Json::from(chunk.to_vec())).collect()
        }
        "ArrayUnique" => {
            let mut kept: Vec<Json> = Vec::new();
            for item in array(0)? {
                if !kept.iter().any(|other| equal(other, item)) {
                    kept.push(item.clone());
                }
            }
            kept.into()
        }
        "MathAdd" => (integer(0)? + integer(1)?).into(),
        "StringSplit" => {
            let text = given[0].as_str().ok_or(Unfilled::Function)?;
            let delimiters = given[1].as_str().ok_or(Unfilled::Function)?;
            let pieces = text.split(|character| delimiters.contains(character));
            pieces.filter(|piece| !piece.is_empty()).collect()
        }
        "Format" => format(given)?.into(),
        other => panic!("the reference has no function {other}"),
    })
}

fn format(given: &[Json]) -> Result<String, Unfilled> {
    let pattern = given[0].as_str().ok_or(Unfilled::Function)?;
    let pieces: Vec<&str> = pattern.split("{}").collect();
    if pieces.len() != given.len() {
        return Err(Unfilled::Function);
    }
    let mut out = pieces[0].to_owned();
    for (piece, value) in pieces[1..].iter().zip(&given[1..]) {
        match value {
            Json::String(text) => out.push_str(text),
            // How AWS writes them is recorded, not documented.
            Json::Array(_) | Json::Object(_) => return Err(Unfilled::Unsaid),
            scalar => out.push_str(&scalar.to_string()),
        }
        out.push_str(piece);
    }
    Ok(out)
}
