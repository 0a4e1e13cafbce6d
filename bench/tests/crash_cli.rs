//! `bench crash` as one types it: what cannot begin says why, with exit code 2 for what was typed and 3 for what
//! is not there, and leaves nothing behind.

use std::process::{Command, Output};

fn crash(arguments: &[&str], path: Option<&str>) -> (Output, Vec<String>) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("crash").args(arguments).arg("--dir").arg(directory.path());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().expect("it runs");
    let left = std::fs::read_dir(directory.path()).expect("a directory");
    let left = left.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    (output, left.collect())
}

fn refused(code: i32, arguments: &[&str], path: Option<&str>) -> String {
    let (output, left) = crash(arguments, path);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert_eq!(left, [""; 0], "{told}");
    told
}

#[test]
fn a_strike_that_hits_nothing_is_refused_with_what_to_do() {
    let told = refused(2, &["--store", "file", "--strikes", "kill,oom"], None);
    assert!(told.contains("out of memory hits Redis") && told.contains("--store redis"), "{told}");
}

#[test]
fn files_are_refused_for_several_nodes() {
    let told = refused(2, &["--store", "file", "--nodes", "2"], None);
    assert!(told.contains("--nodes 1"), "{told}");
}

#[test]
fn a_redis_that_is_not_installed_is_told_with_how_to_install_it() {
    let told = refused(3, &["--seed", "1"], Some("/nonexistent"));
    assert!(told.contains("redis-server") && told.contains("apt-get install"), "{told}");
}

#[test]
fn a_strike_that_there_is_not_is_told_with_those_that_there_are() {
    let (output, _) = crash(&["--strikes", "meteor"], None);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("meteor") && told.contains("lost-replies"), "{told}");
}
