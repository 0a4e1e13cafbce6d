//! What of a batch is not started: refused for good, or answered with an execution that runs already.
//!
//! Invariant: exceptions are in the order of the batch, without overlaps; what they leave was started. Nothing here fails.

use ids::MachineName;
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use smallvec::SmallVec;

use super::answer::refusal;
use super::core::Shard;
use super::names::Holder;

/// Why an entry of a batch was not started.
#[derive(Debug, Clone, PartialEq)]
pub enum Exception {
    /// For good.
    Refused(v1::StartRefusal),
    /// The name's holder has the same input and runs.
    Running(v1::RunningExecution),
}

/// Executions [from, to) of a batch.
pub type ExceptRange = (u32, u32, Exception);

/// Adds one; neighbours with the same refusal become a range.
pub fn except(exceptions: &mut Vec<ExceptRange>, at: u32, exception: Exception) {
    match exceptions.last_mut() {
        Some((_, to, known))
            if *to == at && *known == exception && matches!(exception, Exception::Refused(_)) =>
        {
            *to += 1;
        }
        _ => exceptions.push((at, at + 1, exception)),
    }
}

/// What the exceptions leave.
pub fn accepted(count: u32, exceptions: &[ExceptRange]) -> SmallVec<[(u32, u32); 1]> {
    let mut ranges = SmallVec::new();
    let mut next = 0;
    for (from, to, _) in exceptions {
        if *from > next {
            ranges.push((next, *from));
        }
        next = *to;
    }
    if next < count {
        ranges.push((next, count));
    }
    ranges
}

/// The entries that are answered with running executions.
pub fn running(exceptions: &[ExceptRange]) -> Vec<(u32, v1::RunningExecution)> {
    let running = exceptions.iter().filter_map(|(at, _, exception)| match exception {
        Exception::Running(running) => Some((*at, *running)),
        Exception::Refused(_) => None,
    });
    running.collect()
}

/// The name is somebody else's.
fn already_exists(machine: &MachineName, name: &str) -> v1::StartRefusal {
    let holder = machine.named_execution(name);
    let message = format!(
        "{holder} exists: describe that execution, or choose another name; only while it runs is a start with the very \
         same input answered with it"
    );
    refusal(Reason::Conflict, "ExecutionAlreadyExists", message)
}

impl Shard {
    /// What a start of a STANDARD name is answered with that is taken.
    pub(super) fn name_taken(
        &self,
        holder: Option<Holder>,
        machine: &MachineName,
        name: &str,
        input: &[u8],
    ) -> Exception {
        let slot = |id| self.open.get(self.find(id)?).map(|open| open.start_time_ms);
        let away = |id| self.logs.iter().find_map(|log| log.away.get(&id)).map(|away| away.start_time_ms);
        let open = holder.filter(|holder| holder.runs_with(input)).and_then(|holder| {
            let start_time_ms = slot(holder.id).or_else(|| away(holder.id))?;
            let (batch, index) = (Some(holder.id.batch.into()), u32::from(holder.id.index));
            Some(v1::RunningExecution { batch, index, start_time_ms })
        });
        match open {
            Some(running) => Exception::Running(running),
            None => Exception::Refused(already_exists(machine, name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_refused_alike_become_a_range_and_the_rest_is_accepted() {
        let mut exceptions = Vec::new();
        for at in [0, 3, 4, 9] {
            except(&mut exceptions, at, Exception::Refused(v1::StartRefusal::default()));
        }
        let ranges: Vec<_> = exceptions.iter().map(|(from, to, _)| (*from, *to)).collect();
        assert_eq!(ranges, [(0, 1), (3, 5), (9, 10)]);
        assert_eq!(accepted(10, &exceptions).to_vec(), [(1, 3), (5, 9)]);
        assert_eq!(accepted(10, &[]).to_vec(), [(0, 10)]);
        assert!(accepted(1, &exceptions[..1]).is_empty());
    }

    #[test]
    fn each_entry_that_is_answered_with_a_running_execution_has_an_answer_of_its_own() {
        let mut exceptions = Vec::new();
        for at in [1, 2] {
            except(&mut exceptions, at, Exception::Running(v1::RunningExecution::default()));
        }
        except(&mut exceptions, 3, Exception::Refused(v1::StartRefusal::default()));
        let answered: Vec<u32> = running(&exceptions).into_iter().map(|(at, _)| at).collect();
        assert_eq!(answered, [1, 2]);
        assert_eq!(accepted(4, &exceptions).to_vec(), [(0, 1)]);
    }
}
