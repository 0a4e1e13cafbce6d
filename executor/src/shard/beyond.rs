//! Questions about what the log may have been trimmed of: the log is asked first, and then the archive, if there is one.
//!
//! What has started within the retention is in the log, so that a page of that is told without asking the archive.
//! Invariants: what the log has counts more than what the archive has, for an execution that was archived may have been
//! redriven since; where the archive cannot be asked, nothing is said to be absent. What may fail: the store; the archive.

use archive::View;
use ids::{ExecutionId, ExecutionName, PartitionId};
use journal::Store;
use journal::index::{self, Cursor, Execution, Listed, Located, Page, PageRequest};

use super::core::Shard;
use super::lookup::{Place, fetch};
use crate::error::Error;

/// Why what the archive alone has cannot be redriven.
pub(super) const ARCHIVED: &str =
    "Execution is archived since its retention has passed, and cannot be redriven";

impl Shard {
    /// The archive, for one question.
    pub(super) fn archive_view(&self) -> Option<View> {
        self.context.archiver.as_ref().map(|archiver| archiver.view(self.now_us / 1_000))
    }
}

/// Why an execution that the log does not have cannot be redriven: it may be in the archive.
pub(super) async fn only_archived(
    archive: Option<&View>,
    asked: &ExecutionName,
    partition: PartitionId,
    error: Error,
) -> Error {
    let Some(archive) = archive.filter(|_| matches!(error, Error::NotFound { .. })) else { return error };
    match fetch(archive, asked, None, partition).await {
        Ok(found) => {
            let message = format!("{}: {ARCHIVED}: start it again", found.opened.id);
            Error::Conflict { code: "ExecutionNotRedrivable", message }
        }
        Err(Error::NotFound { .. }) => error,
        Err(unanswered) => unanswered,
    }
}

/// The execution at a place, or of a name, as the log or the archive has it, and whether it is the archive.
pub(super) async fn fetch_anywhere(
    store: &dyn Store,
    archive: Option<&View>,
    asked: &ExecutionName,
    place: Option<Place>,
    partition: PartitionId,
) -> Result<(Execution, bool), Error> {
    match (fetch(store, asked, place, partition).await, archive) {
        (Err(Error::NotFound { .. }), Some(archive)) => {
            fetch(archive, asked, None, partition).await.map(|found| (found, true))
        }
        (found, _) => found.map(|found| (found, false)),
    }
}

fn cursor(listed: &Listed) -> Cursor {
    Cursor { start_time_ms: listed.start_time_ms, id: listed.id }
}

/// A page of what the log and the archive have. What started from `kept_from_ms` on is in the log.
pub(super) async fn list_everywhere(
    store: &dyn Store,
    archive: Option<&View>,
    (request, kept_from_ms): (&PageRequest<'_>, u64),
    local: impl Fn(ExecutionId) -> Option<Located>,
) -> Result<Page, Error> {
    let here = index::list(store, request, &local).await?;
    let Some(archive) = archive else { return Ok(here) };
    if here.next.is_some_and(|next| next.start_time_ms >= kept_from_ms) {
        return Ok(here);
    }
    let archive = &archive.of_machine(request.machine_arn);
    let Some(oldest_ms) = archive.oldest_start_ms(request.partitions).await? else { return Ok(here) };
    let of_archive = PageRequest { oldest_ms, ..*request };
    let mut there = index::list(archive, &of_archive, |_| None).await?;
    // What is open has been redriven since.
    let open = |id| local(id).is_some_and(|located| located.opened.is_some() && located.closed.is_none());
    there.executions.retain(|listed| !open(listed.id));
    Ok(merge(here, there, request.limit))
}

/// Both in one order: the page ends where the first that has more ends.
fn merge(here: Page, there: Page, limit: usize) -> Page {
    let end = here.next.into_iter().chain(there.next).max();
    let mut executions = here.executions;
    executions.extend(there.executions);
    // The sort is stable: what the log says of an execution stands before what the archive says of it.
    executions.sort_by_key(|listed| std::cmp::Reverse(cursor(listed)));
    executions.dedup_by_key(|listed| listed.id);
    if let Some(end) = end {
        executions.retain(|listed| cursor(listed) >= end);
    }
    let cut = executions.len() > limit;
    executions.truncate(limit);
    let next = if cut { executions.last().map(cursor) } else { end };
    Page { executions, next }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, Mode, Status};

    use super::*;

    fn listed(start_time_ms: u64, status: Status) -> Listed {
        let partition = PartitionId::new(0).expect("in range");
        let id = BatchId::new(partition, 1, start_time_ms).expect("in range").execution(0);
        Listed { id, mode: Mode::Express, name: None, status, start_time_ms, stop_time_ms: None }
    }

    fn page(starts: &[u64], more: bool, status: Status) -> Page {
        let executions: Vec<Listed> = starts.iter().map(|start| listed(*start, status)).collect();
        Page { next: executions.last().map(cursor).filter(|_| more), executions }
    }

    #[test]
    fn of_an_execution_in_both_the_log_is_believed_and_a_page_ends_where_either_has_more() {
        let here = page(&[9, 7, 5], true, Status::Running);
        let there = page(&[7, 6, 3], false, Status::Failed);
        let merged = merge(here, there, 10);
        let told: Vec<_> = merged.executions.iter().map(|one| (one.start_time_ms, one.status)).collect();
        let (running, failed) = (Status::Running, Status::Failed);
        assert_eq!(told, [(9, running), (7, running), (6, failed), (5, running)]);
        assert_eq!(merged.next.map(|next| next.start_time_ms), Some(5));
    }

    #[test]
    fn a_page_is_no_longer_than_was_asked_for_and_goes_on_after_its_last() {
        let merged = merge(page(&[9, 7], false, Status::Failed), page(&[8, 6], false, Status::Failed), 3);
        assert_eq!(merged.executions.len(), 3);
        assert_eq!(merged.next.map(|next| next.start_time_ms), Some(7));
    }
}
