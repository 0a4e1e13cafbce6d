//! What is run: small machines that stress one thing each.

use clap::ValueEnum;
use proto::executor::v1::Mode;

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// One Pass state: what an execution costs at the least.
    Pass,
    /// Pass, Choice, Pass, Parallel of two, Succeed.
    FiveState,
    /// Three Task states in a row, served by the echo worker.
    ThreeTasks,
    /// Three HTTP Tasks in a row, answered by the suite's own HTTP peer.
    ThreeCalls,
    /// An inline Map over 100 items, one Pass each.
    #[value(name = "map-100")]
    Map100,
    /// One Wait of a second: open executions and timers.
    Wait,
}

/// The function name that the suite binds to the echo worker's pool.
pub const ECHO_FUNCTION: &str = "arn:aws:lambda:local:000000000000:function:echo";

/// The pool of the echo worker.
pub const ECHO_POOL: &str = "echo";

/// Stands for the HTTP peer's `http://host:port` in a definition.
pub const PEER: &str = "http://peer.invalid";

/// The connection that HTTP Tasks use.
pub const CONNECTION: &str = "arn:aws:events:local:000000000000:connection/peer";

impl Profile {
    /// All of them, in the order in which the suite runs them.
    pub const ALL: [Self; 6] =
        [Self::Pass, Self::FiveState, Self::ThreeTasks, Self::ThreeCalls, Self::Map100, Self::Wait];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::FiveState => "five-state",
            Self::ThreeTasks => "three-tasks",
            Self::ThreeCalls => "three-calls",
            Self::Map100 => "map-100",
            Self::Wait => "wait",
        }
    }

    /// The definition.
    #[must_use]
    pub fn definition(self) -> String {
        match self {
            Self::Pass => r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#.to_owned(),
            Self::FiveState => FIVE_STATE.to_owned(),
            Self::ThreeTasks => in_a_row(&format!(r#""Resource":"{ECHO_FUNCTION}""#)),
            Self::ThreeCalls => in_a_row(&http_call()),
            Self::Map100 => MAP.to_owned(),
            Self::Wait => {
                r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"End":true}}}"#.to_owned()
            }
        }
    }

    /// The floor, in executions a second: 10^10 a day (115,741/s), less where an execution is more than one.
    #[must_use]
    pub fn floor_per_s(self, mode: Mode) -> u64 {
        match (self, mode) {
            (Self::ThreeTasks, Mode::Standard) => 20_000,
            (Self::ThreeTasks, _) => 30_000,
            (Self::Map100 | Self::ThreeCalls, _) => 5_000,
            _ => 115_741,
        }
    }

    /// How many items the input carries in `items`.
    #[must_use]
    pub fn items(self) -> usize {
        if self == Self::Map100 { 100 } else { 0 }
    }

    /// Executions that a closed loop keeps on their way for each shard, where none were asked for. A shard lets so many calls
    /// wait for one target, and refuses more.
    #[must_use]
    pub fn window(self) -> usize {
        if self == Self::ThreeCalls { 2_048 } else { 32_768 }
    }

    /// Whether the HTTP peer has to run.
    #[must_use]
    pub fn needs_peer(self) -> bool {
        self == Self::ThreeCalls
    }

    /// Whether the echo worker has to run.
    #[must_use]
    pub fn needs_worker(self) -> bool {
        self == Self::ThreeTasks
    }
}

const FIVE_STATE: &str = r#"{"StartAt":"Receive","States":{
    "Receive":{"Type":"Pass","Next":"Large?"},
    "Large?":{"Type":"Choice","Choices":[
        {"Variable":"$.amount","NumericGreaterThan":1000000,"Next":"Done"},
        {"Variable":"$.currency","StringEquals":"USD","Next":"Convert"}],"Default":"Done"},
    "Convert":{"Type":"Pass","Parameters":{"order.$":"$.orderId","amount.$":"$.amount"},"Next":"Both"},
    "Both":{"Type":"Parallel","Branches":[
        {"StartAt":"Ship","States":{"Ship":{"Type":"Pass","Result":"shipped","ResultPath":"$.ship","End":true}}},
        {"StartAt":"Bill","States":{"Bill":{"Type":"Pass","Result":"billed","ResultPath":"$.bill","End":true}}}],
        "Next":"Done"},
    "Done":{"Type":"Succeed"}}}"#;

const MAP: &str = r#"{"StartAt":"Each","States":{"Each":{"Type":"Map","ItemsPath":"$.items","End":true,
    "ItemProcessor":{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}}}}"#;

/// Three such Tasks.
fn in_a_row(work: &str) -> String {
    let task = |name: &str, next: &str| format!(r#""{name}":{{"Type":"Task",{work},{next}}}"#);
    let states =
        [task("One", r#""Next":"Two""#), task("Two", r#""Next":"Three""#), task("Three", r#""End":true"#)];
    format!(r#"{{"StartAt":"One","States":{{{}}}}}"#, states.join(","))
}

/// Sends the input to the peer, and takes what it answers.
fn http_call() -> String {
    format!(
        r#""Resource":"arn:aws:states:::http:invoke","Parameters":{{"ApiEndpoint":"{PEER}/echo","Method":"POST",
        "Authentication":{{"ConnectionArn":"{CONNECTION}"}},"RequestBody.$":"$"}},"OutputPath":"$.ResponseBody""#
    )
}

/// One Task that calls the peer.
#[must_use]
pub fn one_call() -> String {
    format!(r#"{{"StartAt":"Call","States":{{"Call":{{"Type":"Task",{},"End":true}}}}}}"#, http_call())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use asl::execution::{FixedNames, Machine};
    use asl::history::{EventKind, Observer, Record};
    use asl::{Dialect, Execution, Payload, Program, StartContext, Timestamp};
    use bytes::BytesMut;

    use super::*;
    use crate::payload::{Entropy, Generator};

    /// Counts the states that are entered.
    struct Entered(u32);

    impl Observer for Entered {
        fn event(&mut self, record: &Record<'_>) {
            self.0 += u32::from(matches!(record.kind, EventKind::StateEntered { .. }));
        }
    }

    #[test]
    fn every_input_of_five_state_enters_its_five_states_and_both_branches() {
        let definition = Profile::FiveState.definition();
        let program =
            Program::compile(definition.as_bytes(), Dialect::Asl).expect("a valid definition").program;
        let machine = Arc::new(Machine {
            program,
            arn: "arn".into(),
            name: "five".into(),
            role_arn: "".into(),
            mode_timeout_seconds: 300,
            history_events_max: 1_000,
            names: Box::new(FixedNames { arn: "arn".into(), name: "name".into() }),
        });
        let mut generator = Generator::new(7, 200, 0, Entropy::Templated);
        let mut buffer = BytesMut::new();
        for _ in 0..1_000 {
            let input = Payload::from_checked(generator.next(&mut buffer));
            let (mut entered, mut effects) = (Entered(0), Vec::new());
            let start = StartContext::default();
            Execution::start(&machine, start, input, Timestamp(0), &mut effects, &mut entered);
            assert_eq!(entered.0, 7);
        }
    }

    #[test]
    fn every_definition_is_json_with_a_start() {
        for profile in Profile::ALL {
            let text = profile.definition();
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let start = value["StartAt"].as_str().expect("StartAt");
            assert!(value["States"][start].is_object(), "{}", profile.name());
        }
    }
}
