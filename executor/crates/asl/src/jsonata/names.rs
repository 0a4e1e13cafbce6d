//! The names of functions.

/// The functions of the language, sorted, and how many parameters each has when it is called by another function.
const LANGUAGE: [(&str, usize); 64] = [
    ("abs", 1),
    ("append", 2),
    ("assert", 2),
    ("average", 1),
    ("base64decode", 1),
    ("base64encode", 1),
    ("boolean", 1),
    ("ceil", 1),
    ("contains", 2),
    ("count", 1),
    ("decodeUrl", 1),
    ("decodeUrlComponent", 1),
    ("distinct", 1),
    ("each", 2),
    ("encodeUrl", 1),
    ("encodeUrlComponent", 1),
    ("error", 1),
    ("eval", 2),
    ("exists", 1),
    ("filter", 2),
    ("floor", 1),
    ("formatBase", 2),
    ("formatInteger", 2),
    ("formatNumber", 3),
    ("fromMillis", 3),
    ("join", 2),
    ("keys", 1),
    ("length", 1),
    ("lookup", 2),
    ("lowercase", 1),
    ("map", 2),
    ("match", 3),
    ("max", 1),
    ("merge", 1),
    ("millis", 0),
    ("min", 1),
    ("not", 1),
    ("now", 2),
    ("number", 1),
    ("pad", 3),
    ("parseInteger", 2),
    ("power", 2),
    ("random", 0),
    ("reduce", 3),
    ("replace", 4),
    ("reverse", 1),
    ("round", 2),
    ("shuffle", 1),
    ("sift", 2),
    ("single", 2),
    ("sort", 2),
    ("split", 3),
    ("spread", 1),
    ("sqrt", 1),
    ("string", 1),
    ("substring", 3),
    ("substringAfter", 2),
    ("substringBefore", 2),
    ("sum", 1),
    ("toMillis", 2),
    ("trim", 1),
    ("type", 1),
    ("uppercase", 1),
    ("zip", 0),
];

/// Those that Step Functions adds, likewise.
const ADDED: [(&str, usize); 5] = [("hash", 2), ("parse", 1), ("partition", 2), ("range", 3), ("uuid", 0)];

/// Whether this names a function of JSONata or of Step Functions, so that `$name` means it where no variable has that
/// name.
pub fn is_function(name: &str) -> bool {
    function(name).is_some()
}

/// The name of a function, if this is one, and how many parameters it has.
pub(super) fn function(name: &str) -> Option<(&'static str, usize)> {
    let found = LANGUAGE.binary_search_by_key(&name, |(known, _)| known).ok().map(|at| LANGUAGE[at]);
    found.or_else(|| ADDED.iter().find(|(known, _)| *known == name).copied())
}

/// Whether this names a function whose result is a number or a truth value.
pub(super) fn is_scalar(name: &str) -> bool {
    const SCALAR: [&str; 23] = [
        "abs",
        "average",
        "boolean",
        "ceil",
        "contains",
        "count",
        "exists",
        "floor",
        "length",
        "max",
        "millis",
        "min",
        "not",
        "number",
        "parseInteger",
        "power",
        "random",
        "round",
        "sqrt",
        "sum",
        "toMillis",
        "type",
        "uuid",
    ];
    SCALAR.contains(&name)
}
