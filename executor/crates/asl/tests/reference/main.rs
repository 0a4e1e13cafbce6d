//! The language held to a second implementation of the specification, as plain as it could be written.
//!
//! Rooms: `interpreter`, `work`, `errors`, `choice`, `intrinsic`, `path` (the reference: recursive, over `serde_json`
//! values, with no compiling and no sharing), `script` (what tasks answer), `generate` and `states` (documents, paths,
//! rules, templates; machines), `machines` and `paths` (the reference against `asl`), `replay` (`asl` against itself).
//!
//! Few cases by default; `PROPTEST_CASES=20000 cargo test -p asl --test reference` runs more.

mod choice;
mod errors;
mod generate;
mod interpreter;
mod intrinsic;
mod machines;
mod path;
mod paths;
mod replay;
mod script;
mod states;
mod work;

use proptest::test_runner::Config;

/// As many cases as `PROPTEST_CASES` says, or else this many.
fn cases(few: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(few),
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    }
}
