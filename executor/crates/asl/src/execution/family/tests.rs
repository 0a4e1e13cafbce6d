//! What is told of children that cannot go on.

use super::*;
use crate::execution::context::FixedNames;
use crate::history::{EventKind, Record};
use crate::program::{Dialect, Program};
use crate::value::JsonLimits;

/// A distributed Map that tolerates every failure, over a Task and two branches.
const MAP: &str = r#"{"StartAt": "M", "States": {"M": {"Type": "Map", "End": true, "ToleratedFailurePercentage": 100,
    "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "T", "States": {
    "T": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f", "Next": "P"},
    "P": {"Type": "Parallel", "End": true, "Branches": [
        {"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 9, "End": true}}},
        {"StartAt": "B", "States": {"B": {"Type": "Wait", "Seconds": 9, "End": true}}}]}}}}}}"#;

/// The last events of children.
#[derive(Default)]
struct Ends {
    inside: bool,
    told: Vec<&'static str>,
}

impl Observer for Ends {
    const CHILDREN: bool = true;

    fn enter_child(&mut self) {
        self.inside = true;
    }

    fn leave_child(&mut self, _: ChildExecution<'_>) {
        self.inside = false;
    }

    fn event(&mut self, record: &Record<'_>) {
        self.told.extend(match &record.kind {
            _ if !self.inside => None,
            EventKind::ExecutionFailed(fault) => {
                assert_eq!(fault.error.map(|error| &**error), Some("States.Runtime"));
                Some("failed")
            }
            EventKind::ExecutionAborted(_) => Some("aborted"),
            _ => None,
        });
    }
}

#[test]
fn a_child_with_more_branches_than_its_family_may_have_is_told_as_failed() {
    let program = Program::compile(MAP.as_bytes(), Dialect::Asl).expect("a valid definition").program;
    let machine = Arc::new(Machine {
        program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:m".into(),
        name: "m".into(),
        role_arn: "role".into(),
        mode_timeout_seconds: 1_000,
        history_events_max: 500,
        names: Box::new(FixedNames { arn: "arn".into(), name: "name".into() }),
    });
    let input = Payload::check("[1]".into(), JsonLimits::PAYLOAD).expect("JSON");
    let (mut effects, mut ends) = (Vec::new(), Ends::default());
    let mut family =
        Family::start(&machine, StartContext::default(), input, Timestamp(0), &mut effects, &mut ends);
    let task = effects.iter().find_map(|effect| match effect {
        Effect::ScheduleTask { id, .. } => Some(*id),
        _ => None,
    });
    family.members.as_mut().expect("it has children").threads = CHILD_THREADS_MAX;
    effects.clear();
    let output = Payload::empty_object();
    let answered = Event::TaskSucceeded { id: task.expect("the child's"), output };
    family.handle(answered, Timestamp(1), &mut effects, &mut ends);
    assert_eq!(ends.told, ["failed"]);
    assert!(
        matches!(effects.last(), Some(Effect::Finished(Outcome::Succeeded(_)))),
        "its Map tolerates it: {effects:?}"
    );
    assert_eq!(family.children(), 0);
}
