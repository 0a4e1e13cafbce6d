//! Whether an execution can be redriven, and why not.

use ids::{ExecutionId, Mode, Status};
use journal::Journalled;
use journal::block::{Closed, JournalledKind};

use super::suspects::is_poison;
use crate::error::Error;
use crate::limits;

/// How often an execution was redriven, and when last, as far as these records say.
pub(super) fn redrives(journal: &[Journalled]) -> (u32, u64) {
    let redriven = journal.iter().filter(|told| told.kind == JournalledKind::Redriven);
    redriven.fold((0, 0), |(count, last), told| (count + 1, last.max(told.time_ms)))
}

/// Why an execution cannot be redriven, as far as its end says.
pub(super) fn obstacle(mode: Mode, closed: Option<&Closed>, redrives: u32, now_ms: u64) -> Option<String> {
    let window_ms = u64::try_from(limits::REDRIVE_WINDOW.as_millis()).unwrap_or(u64::MAX);
    let Some(closed) = closed else { return Some("Execution is RUNNING and cannot be redriven".to_owned()) };
    if mode != Mode::Standard {
        return Some("Execution is EXPRESS and cannot be redriven".to_owned());
    }
    if closed.status == Status::Succeeded {
        return Some("Execution is SUCCEEDED and cannot be redriven".to_owned());
    }
    if closed.stop_time_ms.saturating_add(window_ms) < now_ms {
        return Some(format!(
            "Execution ended more than {:?} ago and cannot be redriven",
            limits::REDRIVE_WINDOW
        ));
    }
    if is_poison(closed) {
        return Some("Execution killed its node again and again and cannot be redriven".to_owned());
    }
    (redrives >= limits::REDRIVES_MAX).then(|| {
        format!("Execution was redriven {redrives} times, which is the most, and cannot be redriven")
    })
}

/// The refusal of a redrive.
pub(super) fn not_redrivable(execution: &str, why: &str) -> Error {
    Error::Conflict { code: "ExecutionNotRedrivable", message: format!("{execution}: {why}") }
}

/// The refusal of a redrive of an execution whose name another one has.
pub(super) fn name_given(id: ExecutionId, other: ExecutionId) -> Error {
    let why = format!("its name was given to {other} since, and belongs to that one as long as it is kept");
    not_redrivable(&id.to_string(), &why)
}
