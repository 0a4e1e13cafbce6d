//! `docs/language.md` says what the code does: each of its rows names what proves it, and its numbers are those of the
//! constants.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names end so.
fn files(folder: PathBuf, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("a readable entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push((path.clone(), read(&path)));
            }
        }
    }
    found
}

/// A row of the page: its cells.
type Row = Vec<String>;

/// The rows of all tables, the limits apart.
fn rows(page: &str) -> (Vec<Row>, Vec<Row>) {
    let cells = |line: &str| {
        // A bar inside of a cell has a backslash before it.
        let line = line.replace("\\|", "\u{1}");
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('\u{1}', "|")).collect::<Row>()
    };
    let body = |line: &&str| line.starts_with('|') && !line.starts_with("|-");
    let all = page.lines().filter(body).map(cells);
    let all = all.filter(|row| !["feature", "what"].contains(&row[0].as_str()));
    all.partition(|row| row.len() == 3)
}

/// What the page's proofs are looked up in.
struct Sources {
    /// Topic, name of the case, and whether it is pending.
    cases: Vec<(String, String, bool)>,
    /// Crate, path and text of each file.
    rust: Vec<(&'static str, PathBuf, String)>,
    /// All of the wire.
    protocol: String,
    /// The messages and calls of a node.
    node: String,
}

impl Sources {
    fn read() -> Self {
        let mut cases = Vec::new();
        for (path, text) in files(root().join("executor/crates/asl/cases"), ".json") {
            let topic = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let file: Json = serde_json::from_str(&text).expect("JSON");
            for case in file["cases"].as_array().expect("cases") {
                let name = case["name"].as_str().expect("a name").to_owned();
                cases.push((topic.clone(), name, case["pending"] == true));
            }
        }
        let mut rust = Vec::new();
        for (name, folder) in [("asl", "executor/crates/asl"), ("executor", "executor")] {
            for part in ["src", "tests"] {
                let found = files(root().join(folder).join(part), ".rs");
                rust.extend(found.into_iter().map(|(path, text)| (name, path, text)));
            }
        }
        let protocol = root().join("executor/crates/proto/proto");
        let texts = |folder| files(folder, ".proto").into_iter().map(|(_, text)| text).collect();
        Self { cases, rust, node: texts(protocol.join("executor")), protocol: texts(protocol) }
    }

    /// The files of a crate whose paths have all names between the crate's and the last.
    fn files_of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let names: Vec<&str> = path.split("::").collect();
        let [of, between @ .., _] = &names[..] else { panic!("{path} is no path") };
        let (of, between) = (*of, between.to_vec());
        self.rust.iter().filter_map(move |(name, path, text)| {
            let inside = |part: &&str| {
                path.components().any(|at| at.as_os_str() == *part)
                    || path.file_stem().is_some_and(|stem| stem == *part)
            };
            (*name == of && between.iter().all(inside)).then_some(text.as_str())
        })
    }

    /// How many tests of this name there are.
    fn tests(&self, path: &str) -> usize {
        let head = format!("fn {}(", path.rsplit("::").next().unwrap_or_default());
        let is_test = |text: &str| {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let at = lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&head));
            at.is_some_and(|at| {
                let mut before =
                    lines[..at].iter().rev().take_while(|line| !line.is_empty() && **line != "}");
                before.any(|line| line.starts_with("#[") && line.contains("test"))
            })
        };
        self.files_of(path).filter(|text| is_test(text)).count()
    }

    /// The number that a constant is, where there is exactly one of this name.
    fn constant(&self, path: &str) -> Option<u64> {
        let head = format!("const {}: ", path.rsplit("::").next()?);
        let mut found = self.files_of(path).flat_map(str::lines).filter_map(|line| {
            let (_, rest) = line.split_once(&head)?;
            rest.split_once(" = ")?.1.strip_suffix(';')
        });
        let value = found.next()?;
        assert!(found.next().is_none(), "{path}: there are several");
        let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
        match value.split_once("<<") {
            Some((left, right)) => Some(number(left)? << number(right)?),
            None => number(value),
        }
    }

    /// What is wrong with a proof; `not_yet` says that its row is of something that is not there.
    fn problem(&self, proof: &str, not_yet: bool) -> Option<String> {
        if let Some(call) = proof.strip_prefix("no rpc ") {
            let there = self.protocol.contains(&format!("rpc {call}("));
            return there.then(|| format!("there is an rpc {call}"));
        }
        if let Some(field) = proof.strip_prefix("no field ") {
            let there = self.node.contains(&format!(" {field} = "));
            return there.then(|| format!("there is a field {field}"));
        }
        if let Some(path) = proof.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            return match self.tests(path) {
                1 => None,
                count => Some(format!("{count} tests are called {path}")),
            };
        }
        let Some((topic, name)) = proof.split_once(": ") else {
            return Some(format!("{proof:?} is neither a case nor a test nor absent"));
        };
        match self.cases.iter().find(|(of, case, _)| of == topic && case == name) {
            None => Some(format!("no case of {topic} is called {name:?}")),
            Some((.., pending)) if *pending != not_yet => {
                Some(format!("{name:?} {}", if not_yet { "passes" } else { "is pending" }))
            }
            Some(_) => None,
        }
    }
}

fn page() -> String {
    read(&root().join("docs/language.md"))
}

fn proofs(row: &Row) -> impl Iterator<Item = &str> {
    row[2].split(" · ")
}

#[test]
fn every_row_says_how_it_stands_and_is_proved() {
    let (sources, (features, _)) = (Sources::read(), rows(&page()));
    assert!(features.len() > 100, "{} rows", features.len());
    let mut wrong = Vec::new();
    for row in &features {
        let state = ["as AWS", "differs", "not yet"].into_iter().find(|state| row[1].starts_with(state));
        match state {
            None => wrong.push(format!("{}: {} is no state", row[0], row[1])),
            Some("differs") if !row[1].starts_with("differs: ") => {
                wrong.push(format!("{}: the difference is not told", row[0]));
            }
            Some(state) => {
                let problems = proofs(row).filter_map(|proof| sources.problem(proof, state == "not yet"));
                wrong.extend(problems.map(|problem| format!("{}: {problem}", row[0])));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_topic_and_every_pending_case_is_on_the_page() {
    let (sources, (features, _)) = (Sources::read(), rows(&page()));
    let named: Vec<(&str, &str)> =
        features.iter().flat_map(proofs).filter_map(|proof| proof.split_once(": ")).collect();
    for (topic, name, pending) in &sources.cases {
        assert!(named.iter().any(|(of, _)| of == topic), "no row has a case of {topic}");
        assert!(!pending || named.contains(&(topic, name)), "no row has the pending case {name:?}");
    }
}

#[test]
fn every_limit_is_that_of_its_constant() {
    let (sources, (_, limits)) = (Sources::read(), rows(&page()));
    assert!(limits.len() > 30, "{} limits", limits.len());
    for row in limits {
        assert_eq!(row.len(), 5, "{row:?}");
        let number = row[1].split(' ').next().unwrap_or_default().replace(',', "");
        let constant = sources.constant(row[4].trim_matches('`'));
        assert_eq!(number.parse().ok(), constant, "{}", row[0]);
    }
}

#[test]
fn a_proof_that_proves_nothing_is_found() {
    let mut sources = Sources::read();
    sources.cases.push(("map".into(), "awaited".into(), true));
    for (proof, not_yet) in [
        ("map: awaited", true),
        ("map: Maps nest", false),
        ("no rpc TagResource", true),
        ("no field credentials", false),
        ("`asl::a_proof_that_proves_nothing_is_found`", false),
    ] {
        assert_eq!(sources.problem(proof, not_yet), None, "{proof}");
    }
    for (proof, not_yet) in [
        ("map: awaited", false),
        ("map: Maps nest", true),
        ("map: there is no such case", false),
        ("no rpc StartExecution", true),
        ("no field input", false),
        ("`asl::there_is_no_such_test`", false),
        ("`asl::files_of`", false),
        ("`executor::a_proof_that_proves_nothing_is_found`", false),
        ("nothing", false),
    ] {
        assert!(sources.problem(proof, not_yet).is_some(), "{proof}");
    }
    assert_eq!(sources.constant("asl::variables::NAME_CHARS_MAX"), Some(80));
    assert_eq!(sources.constant("asl::map::NAME_CHARS_MAX"), None);
}
