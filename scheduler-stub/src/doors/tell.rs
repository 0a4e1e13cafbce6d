//! What goes through the front door, counted for `/metrics`, and told in the log once a minute.
//!
//! Invariants: what is told apart is bounded by the tables of operations and errors; a minute in which nothing happened is not
//! told. Nothing here fails.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use front::{Api, Connection, Kind, Operation, Outcome, Right, Told};
use telemetry::{
    DoorCounts, DoorEnd, DoorMetrics, DoorOutcome, DoorRequest, DoorTrouble, OK, SchedulerMetrics,
};

/// How often it is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Counter(Arc<DoorMetrics>);

impl Counter {
    /// For so many threads of a door, which counts among a scheduler's metrics from now on.
    pub fn new(threads: usize, metrics: &SchedulerMetrics) -> Self {
        let door = Arc::new(DoorMetrics::new(threads, expected()));
        metrics.set_door(Arc::clone(&door));
        Self(door)
    }

    /// Tells it again and again. Ends when it is dropped.
    pub async fn keep_telling(&self) {
        let mut before = self.0.counts();
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let now = self.0.counts();
            if let Some(told) = since(&before, &now) {
                tracing::info!("at the front door in {} s: {told}", TELL_EVERY.as_secs());
            }
            before = now;
        }
    }
}

/// `operation` of a request that names none.
const NONE: &str = "-";
/// What any request may come to, whatever its operation's model names. Refusals of those who are no callers are not among
/// them: they are many, and begin with their first.
const ANY: [Kind; 5] =
    [Kind::AccessDenied, Kind::Throttling, Kind::ServiceUnavailable, Kind::Internal, Kind::Validation];
/// Named by models, and never answered: nothing here is sealed with keys of KMS.
const NEVER: [Kind; 3] = [Kind::KmsAccessDenied, Kind::KmsInvalidState, Kind::KmsThrottling];

/// Every end of a request that is to be expected.
fn expected() -> BTreeSet<DoorEnd> {
    let mut all = BTreeSet::new();
    for api in [Api::Sfn, Api::Asw] {
        let end = |operation, code, outcome| DoorEnd { api: api.as_str(), operation, code, outcome };
        all.insert(end(NONE, Kind::UnknownOperation.code(api), DoorOutcome::Refused));
        for operation in api.operations() {
            all.insert(end(operation.name, OK, DoorOutcome::Succeeded));
            all.insert(end(operation.name, "Gone", DoorOutcome::Gone));
            let ends = kinds(operation);
            all.extend(ends.map(|kind| end(operation.name, kind.code(api), outcome(kind.outcome()))));
        }
    }
    all.insert(DoorEnd { api: "http", operation: NONE, code: "Http", outcome: DoorOutcome::Refused });
    all
}

/// The errors that an operation is to be expected to answer.
fn kinds(operation: &Operation) -> impl Iterator<Item = Kind> {
    let unknown = (operation.right != Right::Read).then_some(Kind::OutcomeUnknown);
    let named = operation.errors.iter().copied().filter(|kind| !NEVER.contains(kind));
    ANY.into_iter().chain(unknown).chain(named)
}

fn outcome(outcome: Outcome) -> DoorOutcome {
    match outcome {
        Outcome::Succeeded => DoorOutcome::Succeeded,
        Outcome::Refused => DoorOutcome::Refused,
        Outcome::Throttled => DoorOutcome::Throttled,
        Outcome::Failed => DoorOutcome::Failed,
        Outcome::Gone => DoorOutcome::Gone,
    }
}

/// How a connection's trouble is told; `None`: it is none that people look for.
fn words(trouble: DoorTrouble) -> Option<&'static str> {
    match trouble {
        DoorTrouble::Refused => Some("connections refused"),
        DoorTrouble::Evicted => Some("connections that made room"),
        DoorTrouble::Handshake => Some("failed handshakes"),
        DoorTrouble::SlowHead => Some("slow requests"),
        DoorTrouble::SlowReader => Some("answers that were not read"),
        DoorTrouble::Idle => None,
        DoorTrouble::Broken => Some("broken connections"),
    }
}

/// Everything that happened between the two, in words; `None`: nothing.
fn since(before: &DoorCounts, now: &DoorCounts) -> Option<String> {
    let mut text = String::new();
    for (end, count) in &now.requests {
        let count = count - before.requests.get(end).unwrap_or(&0);
        let DoorEnd { api, operation, code, .. } = *end;
        let (space, error) = if code == OK { ("", "") } else { (" ", code) };
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {api}.{operation}{space}{error} {count}");
        }
    }
    for ((trouble, _), (now, before)) in DoorTrouble::ALL.iter().zip(now.troubles.iter().zip(before.troubles))
    {
        if let (Some(words), count @ 1..) = (words(*trouble), now - before) {
            let _ = write!(text, ", {words} {count}");
        }
    }
    text.get(2..).map(str::to_owned)
}

impl front::Tell for Counter {
    fn answered(&self, told: Told) {
        let Told { thread, api, operation, error, outcome: whose, took, received, sent } = told;
        let (api, operation) = (api.map_or("http", Api::as_str), operation.unwrap_or(NONE));
        let end = DoorEnd { api, operation, code: error.unwrap_or(OK), outcome: outcome(whose) };
        self.0.answered(thread, &DoorRequest { end, took, received, sent });
    }

    fn connection(&self, thread: usize, what: Connection) {
        let trouble = match what {
            Connection::Opened => return self.0.opened(thread),
            Connection::Closed => return self.0.closed(thread),
            Connection::Refused => DoorTrouble::Refused,
            Connection::Evicted => DoorTrouble::Evicted,
            Connection::Handshake => DoorTrouble::Handshake,
            Connection::SlowHead => DoorTrouble::SlowHead,
            Connection::SlowReader => DoorTrouble::SlowReader,
            Connection::Idle => DoorTrouble::Idle,
            Connection::Broken => DoorTrouble::Broken,
        };
        self.0.trouble(thread, trouble);
    }
}

#[cfg(test)]
mod tests {
    use front::Tell as _;

    use super::*;

    fn told(thread: usize, operation: Option<&'static str>, error: Option<&'static str>) -> Told {
        let api = operation.map(|_| Api::Sfn);
        let outcome = if error.is_some() { Outcome::Refused } else { Outcome::Succeeded };
        Told { thread, api, operation, error, outcome, took: Duration::ZERO, received: 0, sent: 0 }
    }

    #[test]
    fn what_threads_have_counted_is_told_together_and_once() {
        let counter = Counter::new(2, &SchedulerMetrics::new("1.2.3"));
        let before = counter.0.counts();
        assert_eq!(since(&before, &before), None);
        counter.answered(told(0, Some("StartExecution"), None));
        counter.answered(told(1, Some("StartExecution"), None));
        counter.answered(told(1, Some("StartExecution"), Some("ThrottlingException")));
        counter.answered(told(0, None, Some("Http")));
        counter.connection(0, Connection::Opened);
        counter.connection(0, Connection::Idle);
        counter.connection(0, Connection::SlowHead);
        let now = counter.0.counts();
        let expected =
            "http.- Http 1, sfn.StartExecution 2, sfn.StartExecution ThrottlingException 1, slow requests 1";
        assert_eq!(since(&before, &now).as_deref(), Some(expected));
        assert_eq!(since(&now, &now), None);
    }

    #[test]
    fn what_is_to_be_expected_stands_at_zero_for_each_operation_and_is_bounded() {
        let all = expected();
        let has = |api, operation, code, outcome| {
            let end = DoorEnd { api, operation, code, outcome };
            assert!(all.contains(&end), "{end:?}");
        };
        for (api, operation) in
            [Api::Sfn, Api::Asw].into_iter().flat_map(|api| api.operations().iter().map(move |op| (api, op)))
        {
            let has = |code, outcome| has(api.as_str(), operation.name, code, outcome);
            has(OK, DoorOutcome::Succeeded);
            has(Kind::Internal.code(api), DoorOutcome::Failed);
            has(Kind::Throttling.code(api), DoorOutcome::Throttled);
            has(Kind::AccessDenied.code(api), DoorOutcome::Refused);
        }
        has("sfn", "StartExecution", "StateMachineDoesNotExist", DoorOutcome::Refused);
        has("asw", "StartExecution", "FailedOperation", DoorOutcome::Failed);
        has("asw", "-", "InvalidAction", DoorOutcome::Refused);
        assert!(!all.iter().any(|end| end.code.starts_with("Kms")), "{all:?}");
        assert!((400..600).contains(&all.len()), "docs/metrics.md says how many: {}", all.len());
    }
}
