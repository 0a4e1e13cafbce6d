//! `bench outage` with processes of this build (`cargo build --workspace --bins` first): what it says that must hold does hold.

use std::process::Command;

fn outage(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["outage", "--dir", env!("CARGO_TARGET_TMPDIR")]).args(arguments);
    let output = command.output().expect("it runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

#[test]
fn peers_that_hang_refuse_and_come_back_change_nothing_for_executions_and_every_drop_is_counted() {
    let (code, told) = outage(&["--rate", "300", "--each", "11s"]);
    assert_eq!(code, Some(0), "{told}");
    for (exporter, peer) in
        [("history", "cls"), ("history", "kafka"), ("history", "otlp"), ("metrics", "otlp")]
    {
        assert!(told.contains(&format!("{exporter} {peer}  ")), "{told}");
    }
    assert_eq!(told.matches("3,300 acknowledged").count(), 4, "{told}");
}

#[test]
fn an_outage_in_which_too_little_is_told_to_show_a_bound_is_refused() {
    let (code, told) = outage(&["--rate", "10", "--each", "2s"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("give more --rate, --each or --payload"), "{told}");
}
