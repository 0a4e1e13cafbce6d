//! Pages: of histories, of Map Runs and their children, and of the shards' lists merged into one.

use std::str::FromStr;

use proto::executor::v1;
use trust::Secret;

use super::plain::locate;
use super::status::invalid;
use super::{NodeContext, ask};
use crate::error::Error;
use crate::listing::{check_cursor, merge, wrong_token};
use crate::shard::{ChildrenCut, ChildrenPage, Command, HistoryCut, HistoryPage};

/// Events or executions of one page at most.
const PAGE_MAX: u32 = 1_000;
/// Executions or Map Runs of one page where the request does not say.
const LIST_DEFAULT: u32 = 100;

/// How many results a request wants; 0 leaves it to us.
fn page_size(asked: u32, default: u32) -> Result<usize, Error> {
    match asked {
        0 => Ok(default as usize),
        1..=PAGE_MAX => Ok(asked as usize),
        _ => {
            Err(invalid("InvalidRequest", format!("`max_results` is {asked}; at most {PAGE_MAX} are given")))
        }
    }
}

/// What a page's token was given for: the same question, and nothing else.
fn purpose_of_history(request: &v1::GetExecutionHistoryRequest) -> String {
    format!("history {} {} {}", request.execution, request.reverse_order, request.form)
}

fn purpose_of_list(request: &v1::ListExecutionsRequest) -> String {
    format!("list {} {}", request.machine_arn, request.status)
}

/// What a token says, if we gave it for this purpose.
fn open(secret: &Secret, purpose: &str, token: &str) -> Result<String, Error> {
    if token.is_empty() {
        return Ok(String::new());
    }
    secret.open_text(purpose, token).ok_or_else(|| wrong_token(token))
}

fn seal(secret: &Secret, purpose: &str, token: &str) -> String {
    if token.is_empty() { String::new() } else { secret.seal_text(purpose, token) }
}

/// The place that a token of ours says.
fn place<T: FromStr>(secret: &Secret, purpose: &str, token: &str) -> Result<Option<T>, Error> {
    match open(secret, purpose, token)?.as_str() {
        "" => Ok(None),
        place => place.parse().map(Some).map_err(|_| wrong_token(token)),
    }
}

fn seal_place(secret: &Secret, purpose: &str, place: Option<impl ToString>) -> String {
    seal(secret, purpose, &place.map_or_else(String::new, |place| place.to_string()))
}

/// One page of an execution's history.
pub(super) async fn history(
    node: &NodeContext,
    request: v1::GetExecutionHistoryRequest,
) -> Result<v1::GetExecutionHistoryResponse, Error> {
    let size = page_size(request.max_results, PAGE_MAX)?;
    let (execution, shard) = locate(node, &request.execution)?;
    let (secret, purpose) = (node.secret.get()?, purpose_of_history(&request));
    let place = place(&secret, &purpose, &request.next_token)?;
    let (form, cut) = (request.form(), HistoryCut { reverse: request.reverse_order, size, place });
    let HistoryPage { events, next } =
        ask(shard, |reply| Command::History { execution, form, cut, reply }).await?;
    Ok(v1::GetExecutionHistoryResponse { events, next_token: seal_place(&secret, &purpose, next) })
}

/// Map Runs of one page: the newest first. `left` is how many of `runs`, the oldest first, are for this page and those after it:
/// what begins meanwhile stands before them, and moves none. Gives how many are left then.
fn page_of_runs(
    mut runs: Vec<v1::MapRun>,
    left: Option<usize>,
    size: usize,
) -> (Vec<v1::MapRun>, Option<usize>) {
    runs.truncate(left.unwrap_or(usize::MAX));
    let rest = runs.len().saturating_sub(size);
    let mut page = runs.split_off(rest);
    page.reverse();
    (page, (rest > 0).then_some(rest))
}

/// One page of an execution's Map Runs, or the one that is named.
pub(super) async fn map_runs(
    node: &NodeContext,
    request: v1::ListMapRunsRequest,
) -> Result<v1::ListMapRunsResponse, Error> {
    let size = page_size(request.max_results, LIST_DEFAULT)?;
    let (execution, shard) = locate(node, &request.execution)?;
    let (secret, purpose) = (node.secret.get()?, format!("map runs {}", request.execution));
    let left = place(&secret, &purpose, &request.next_token)?;
    let mut runs = ask(shard, |reply| Command::MapRuns { execution, reply }).await?;
    if !request.map_run.is_empty() {
        runs.retain(|run| run.arn == request.map_run);
    }
    let (map_runs, next) = page_of_runs(runs, left, size);
    Ok(v1::ListMapRunsResponse { map_runs, next_token: seal_place(&secret, &purpose, next) })
}

/// One page of the child executions of a Map Run.
pub(super) async fn children(
    node: &NodeContext,
    request: v1::ListMapRunExecutionsRequest,
) -> Result<v1::ListMapRunExecutionsResponse, Error> {
    let size = page_size(request.max_results, LIST_DEFAULT)?;
    let (execution, shard) = locate(node, &request.execution)?;
    let purpose = format!("children {} {} {}", request.execution, request.map_run, request.status);
    let secret = node.secret.get()?;
    let place = place(&secret, &purpose, &request.next_token)?;
    let status = request.status();
    let cut = ChildrenCut { map_run: request.map_run, status, size, place };
    let page = ask(shard, |reply| Command::Children { execution, cut, reply }).await?;
    let next_token = seal_place(&secret, &purpose, page.next);
    let ChildrenPage { machine_arn, executions, .. } = page;
    Ok(v1::ListMapRunExecutionsResponse { executions, next_token, machine_arn })
}

/// One page of all shards' executions.
pub(super) async fn executions(
    node: &NodeContext,
    mut request: v1::ListExecutionsRequest,
) -> Result<v1::ListExecutionsResponse, Error> {
    let size = page_size(request.max_results, LIST_DEFAULT)?;
    let (secret, purpose) = (node.secret.get()?, purpose_of_list(&request));
    request.next_token = match request.after.is_empty() {
        true => open(&secret, &purpose, &request.next_token)?,
        false => std::mem::take(&mut request.after),
    };
    check_cursor(&request.next_token)?;
    request.max_results = u32::try_from(size).unwrap_or(PAGE_MAX);
    let asked = node.shards()?.iter().map(|shard| {
        let request = request.clone();
        ask(shard, |reply| Command::List { request, reply })
    });
    let pages = futures_util::future::try_join_all(asked).await?;
    let page = merge(pages, size);
    let next_token = seal(&secret, &purpose, &page.next_token);
    Ok(v1::ListExecutionsResponse { next: page.next_token, next_token, ..page })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_give_each_map_run_once_the_newest_first_whatever_begins_meanwhile() {
        let runs = |count: usize| {
            (0..count).map(|number| v1::MapRun { arn: number.to_string(), ..Default::default() }).collect()
        };
        let (mut seen, mut left, mut count) = (String::new(), None, 5);
        loop {
            let (page, rest) = page_of_runs(runs(count), left, 2);
            assert!(page.len() <= 2);
            seen.extend(page.iter().map(|run| run.arn.as_str()));
            if rest.is_none() {
                break;
            }
            (left, count) = (rest, count + 1);
        }
        assert_eq!(seen, "43210");
        // A place behind what there is.
        assert_eq!(page_of_runs(runs(1), Some(9), 2).0.len(), 1);
    }

    #[test]
    fn a_page_size_is_bounded() {
        assert_eq!(page_size(0, 100).ok(), Some(100));
        assert_eq!(page_size(1_000, 100).ok(), Some(1_000));
        assert!(page_size(1_001, 100).is_err());
    }
}
