//! What a selector is made of, as far as the differences between the dialects need to know. It takes texts apart by
//! brackets, quotes and commas, and judges nothing.

/// A pair of brackets.
#[derive(Debug, PartialEq, Eq)]
pub struct Brackets<'a> {
    /// What stands inside, with what its quotes hold.
    pub inside: &'a str,
    /// What its own commas separate, trimmed.
    pub parts: Vec<&'a str>,
    /// Ends with the selector.
    pub last: bool,
    /// Stands inside of a filter.
    pub nested: bool,
}

impl Brackets<'_> {
    pub fn is_filter(&self) -> bool {
        self.parts.iter().any(|part| part.starts_with('?'))
    }
}

/// The selector's characters with their places, each with whether it stands in quotes (the quotes themselves do too).
fn characters(selector: &str) -> Vec<(usize, char, bool)> {
    let (mut quote, mut escaped) = (None, false);
    let mut quoted = |character: char| match quote {
        None => {
            quote = Some(character).filter(|character| matches!(character, '\'' | '"'));
            quote.is_some()
        }
        Some(_) if std::mem::take(&mut escaped) => true,
        Some(open) => {
            escaped = character == '\\';
            if character == open {
                quote = None;
            }
            true
        }
    };
    selector.char_indices().map(|(at, character)| (at, character, quoted(character))).collect()
}

/// The selector without what its quotes hold: `$['a b']` is `$[]`.
pub fn unquoted(selector: &str) -> String {
    characters(selector).iter().filter(|(_, _, quoted)| !quoted).map(|(_, character, _)| character).collect()
}

/// What its quotes hold, the quotes included, one text after the other.
pub fn quoted(selector: &str) -> String {
    characters(selector).iter().filter(|(_, _, quoted)| *quoted).map(|(_, character, _)| character).collect()
}

/// The selector without its brackets and what they hold: `$.a['b'] .c` is `$.a .c`.
pub fn outside(selector: &str) -> String {
    let mut depth = 0_usize;
    let mut out = String::new();
    for (_, character, quoted) in characters(selector) {
        match character {
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            other if depth == 0 => out.push(other),
            _ => {}
        }
    }
    out
}

/// All pairs of brackets, inner ones before those around them.
pub fn brackets(selector: &str) -> Vec<Brackets<'_>> {
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut found = Vec::new();
    let mut parentheses = 0_usize;
    for (at, character, quoted) in characters(selector) {
        match character {
            _ if quoted => {}
            // The commas of a function's arguments are not the brackets'.
            '(' => parentheses += 1,
            ')' => parentheses = parentheses.saturating_sub(1),
            '[' => open.push((at + 1, vec![at + 1])),
            ',' if parentheses == 0 || open.len() > 1 => {
                if let Some((_, starts)) = open.last_mut() {
                    starts.push(at + 1);
                }
            }
            ']' => {
                let Some((start, starts)) = open.pop() else { continue };
                let ends = starts.iter().skip(1).map(|start| start - 1).chain([at]);
                let parts =
                    starts.iter().zip(ends).map(|(start, end)| selector[*start..end].trim()).collect();
                let (last, nested) = (at + 1 == selector.len(), !open.is_empty());
                found.push(Brackets { inside: &selector[start..at], parts, last, nested });
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_selector_is_taken_apart() {
    assert_eq!(unquoted(r#"$['a"b'].c["\"d"]"#), "$[].c[]");
    assert_eq!(quoted(r"$['a\'b']"), r"'a\'b'");
    assert_eq!(outside("$ .a['b , c'][?@[0]] [1]"), "$ .a ");
    let found = brackets("$['a,b', 1][?(@[0])]");
    assert_eq!(found[0].parts, ["'a,b'", "1"]);
    assert_eq!((found[1].inside, found[1].nested, found[1].last), ("0", true, false));
    assert!(found[2].is_filter() && found[2].last && !found[0].is_filter());
}
