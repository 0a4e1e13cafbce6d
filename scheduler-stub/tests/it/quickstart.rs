//! The quick start, whole, as somebody sees it who tries it.

use std::process::Command;

#[test]
fn the_quick_start_runs_its_examples_on_workers_and_on_services_that_check_signatures() {
    let program = env!("CARGO_BIN_EXE_scheduler-stub");
    let ran = Command::new(program).args(["quickstart", "--executions", "40"]).output().expect("it runs");
    let (shown, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{shown}\n{errors}");
    let lines = |name: &str, status: &str| {
        shown.lines().filter(|line| line.trim_start().starts_with(name) && line.contains(status)).count()
    };
    assert_eq!(lines("parcel", "SUCCEEDED"), 1, "{shown}\n{errors}");
    assert_eq!(lines("parcel", "FAILED"), 2, "{shown}\n{errors}");
    assert!(shown.contains("ParcelNotSent: {\"message\":\"the parcel is too heavy\"}"), "{shown}\n{errors}");
    assert!(shown.contains("a parcel worth 50000 is sent in person"), "{shown}\n{errors}");
    assert_eq!(lines("video-caption", "SUCCEEDED"), 2, "{shown}\n{errors}");
    assert!(shown.contains("40 executions in"), "{shown}\n{errors}");
    assert!(errors.is_empty(), "nothing is complained about: {errors}");
}
