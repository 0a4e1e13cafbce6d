//! The house rules that a test can hold: who may depend on whom, how long a file may be, what may not stand in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Normal and build dependencies of each package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs in the workspace");
    let shipped = |package: &cargo_metadata::Package| {
        let kept =
            package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        kept.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), shipped(package))).collect()
}

#[test]
fn crates_depend_only_on_the_rooms_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("archive", &["ids", "journal"] as &[&str]),
        ("asl", &[]),
        ("assign", &[]),
        ("export", &["asl", "ids", "sign", "telemetry"]),
        // Nothing of the scheduler: it stands behind a trait.
        ("front", &["sign", "trust"]),
        ("ids", &[]),
        ("telemetry", &[]),
        ("testkit", &[]),
        ("trust", &[]),
        ("worker", &["proto", "trust"]),
        ("examples", &["proto", "trust", "worker"]),
        ("dashboards", &[]),
        ("sign", &[]),
        ("token-cache", &["proto", "sign", "telemetry"]),
        ("tasks", &["asl", "ids", "proto", "sign", "telemetry", "token-cache"]),
        ("proto", &["ids"]),
        ("journal", &["ids", "asl"]),
        ("journal-redis", &["ids", "journal"]),
        // Real shards under simulated stores, networks and crashes; for tests only, so it may know the node.
        ("simulator", &["asl", "assign", "executor", "ids", "journal", "proto", "telemetry"]),
        (
            "executor",
            &[
                "archive",
                "asl",
                "export",
                "ids",
                "journal",
                "journal-redis",
                "proto",
                "tasks",
                "telemetry",
                "token-cache",
                "trust",
            ],
        ),
        (
            "scheduler-stub",
            &[
                "asl",
                "assign",
                "executor",
                "front",
                "ids",
                "journal",
                "journal-redis",
                "proto",
                "sign",
                "telemetry",
                "trust",
                "worker",
            ],
        ),
        ("bench", &["asl", "ids", "journal", "journal-redis", "proto", "sign", "tasks", "testkit", "trust"]),
    ]);
    let all = dependencies();
    let ours: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(ours, allowed.keys().copied().collect(), "a new crate needs its place in this rule");
    for (package, uses) in &all {
        for used in uses.iter().filter(|used| ours.contains(used.as_str())) {
            let may = allowed[package.as_str()].contains(&used.as_str());
            assert!(may, "{package} may not depend on {used}");
        }
    }
}

#[test]
fn runtimes_and_clients_stay_in_their_rooms() {
    // Who may know what; everybody else must not.
    let rooms: [(&str, &[&str]); 12] = [
        ("actix", &["executor"]),
        ("object_store", &["archive"]),
        ("redis", &["export", "journal-redis"]),
        ("fjall", &["journal"]),
        ("rskafka", &["export"]),
        ("opentelemetry-proto", &["export"]),
        ("tonic", &["bench", "executor", "proto", "scheduler-stub", "token-cache", "trust", "worker"]),
        ("rustls", &["archive", "export", "journal-redis", "tasks", "trust"]),
        ("reqwest", &["archive", "export", "tasks", "token-cache"]),
        ("hickory-resolver", &["tasks"]),
        ("ratatui", &["executor"]),
        ("testkit", &["bench"]),
    ];
    let all = dependencies();
    for (library, may) in rooms {
        for (package, uses) in &all {
            assert!(
                !uses.contains(library) || may.contains(&package.as_str()),
                "{package} may not know {library}"
            );
        }
    }
    for library in ["tokio", "tonic", "actix", "redis", "rand", "tracing", "chrono"] {
        assert!(!all["asl"].contains(library), "asl is pure: it may not know {library}");
    }
}

/// Every Rust file of the workspace that people write.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
        || path
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().ends_with("tests") || stem == "conformance")
}

#[test]
fn a_file_is_one_idea_of_at_most_500_lines_and_says_which() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not say what it is for", path.display());
        // Tests at the end of a file do not count: they say what the file promises.
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        if lines > 500 && !is_test(&path) {
            long.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Whether a line begins the body of a function.
fn begins_function(line: &str) -> bool {
    let words = line.trim_start();
    let words = match words.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ').map_or("", |(_, words)| words),
        None => words,
    };
    let named = ["fn ", "async fn ", "const fn "].iter().any(|word| words.starts_with(word));
    named && !line.ends_with(';') && !line.ends_with('}')
}

#[test]
fn a_function_fits_on_a_screen_of_70_lines() {
    let mut long = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let mut open: Option<(usize, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            match open {
                None if begins_function(line) => open = Some((number, indent)),
                Some((begin, at)) if line.trim_start().starts_with('}') && indent == at => {
                    if number - begin >= 70 {
                        long.push(format!("{}:{} {} lines", path.display(), begin + 1, number - begin + 1));
                    }
                    open = None;
                }
                _ => {}
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_placeholder_stands_in_the_sources() {
    let banned =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("db", "g!(")];
    for (path, text) in sources() {
        for word in banned {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

/// The files of a pattern with at most one `*`, which stands in the last name.
fn matching(pattern: &str) -> usize {
    let (folder, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let Some((begin, end)) = name.split_once('*') else {
        return usize::from(root().join(pattern).exists());
    };
    let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(begin) && name.ends_with(end)).count()
}

#[test]
fn the_readmes_commands_name_files_that_a_clone_has() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("a README");
    // Fences that name a language are the tour's, which the tests of clients run as it is written.
    let fences = text.split("```").skip(1).step_by(2).filter(|fence| fence.starts_with('\n'));
    let commands = fences.flat_map(str::split_whitespace);
    let files: Vec<&str> =
        commands.filter(|word| word.contains('/') && !word.starts_with("target/")).collect();
    assert!(files.iter().any(|file| file.contains('*')), "a pattern among {files:?}");
    for file in files {
        assert!(matching(file) > 0, "README.md tells to use {file}, which is not there");
    }
    assert_eq!(matching("machines/*.asl.json"), 0, "what is not there is not found");
}

#[test]
fn files_that_the_documents_name_exist() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "SPECIFICATION.md",
        "dashboards/README.md",
        "docs/README.md",
        "docs/front-doors.md",
        "docs/language.md",
        "docs/tcsl.md",
        "docs/workers.md",
        "perf/README.md",
    ] {
        let text = std::fs::read_to_string(root().join(document))
            .unwrap_or_else(|error| panic!("{document}: {error}"));
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = quoted.contains('/') && !quoted.contains([' ', '*', '<', '{', ':', '$', '%']);
            let top = quoted.split('/').next().unwrap_or_default();
            let tops =
                ["executor", "scheduler-stub", "bench", "perf", "dashboards", "docs", "examples", ".ci"];
            if is_path && tops.contains(&top) {
                assert!(root().join(quoted).exists(), "{document} names {quoted}, which is not there");
            }
        }
    }
}
