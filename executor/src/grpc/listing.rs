//! Pages: a history cut into pages, and the shards' lists merged into one.

use std::cmp::Reverse;

use ids::ExecutionId;
use proto::executor::v1;
use trust::Secret;

use super::plain::locate;
use super::status::invalid;
use super::{NodeContext, ask};
use crate::error::Error;
use crate::shard::Command;

/// Events or executions of one page at most.
const PAGE_MAX: u32 = 1_000;
/// Executions of one page where the request does not say.
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

fn wrong_token(token: &str) -> Error {
    let token: String = token.chars().take(100).collect();
    let message = format!("`next_token` {token:?} was not given by this call: begin again without one");
    invalid("InvalidToken", message)
}

/// One page of an execution's history. Events are numbered from 1 without a gap and never change, so that the
/// number of the next event is all that a token has to say, and later pages agree with earlier ones while the
/// execution goes on.
pub(super) async fn history(
    node: &NodeContext,
    request: v1::GetExecutionHistoryRequest,
) -> Result<v1::GetExecutionHistoryResponse, Error> {
    let size = page_size(request.max_results, PAGE_MAX)?;
    let (execution, shard) = locate(node, &request.execution)?;
    let (secret, purpose) = (node.secret.get()?, purpose_of_history(&request));
    let token = match open(&secret, &purpose, &request.next_token)?.as_str() {
        "" => None,
        token => Some(token.parse::<usize>().map_err(|_| wrong_token(&request.next_token))?),
    };
    let events = ask(shard, |reply| Command::History { execution, form: request.form(), reply }).await?;
    let page = page_of_history(events, request.reverse_order, size, token);
    let page = page.ok_or_else(|| wrong_token(&request.next_token))?;
    Ok(v1::GetExecutionHistoryResponse { next_token: seal(&secret, &purpose, &page.next_token), ..page })
}

/// `token` is the number of events before the page (forward), or up to its last (reverse).
fn page_of_history(
    mut events: Vec<v1::HistoryEvent>,
    reverse: bool,
    size: usize,
    token: Option<usize>,
) -> Option<v1::GetExecutionHistoryResponse> {
    let all = events.len();
    let (from, to, next) = if reverse {
        let to = token.unwrap_or(all);
        let from = to.saturating_sub(size);
        (from, to, (from > 0).then_some(from))
    } else {
        let from = token.unwrap_or(0);
        let to = from.saturating_add(size).min(all);
        (from, to, (to < all).then_some(to))
    };
    if from > to || to > all {
        return None;
    }
    events.truncate(to);
    events.drain(..from);
    if reverse {
        events.reverse();
    }
    let next_token = next.map_or_else(String::new, |next| next.to_string());
    Some(v1::GetExecutionHistoryResponse { events, next_token })
}

/// A place in the order of listings: newest start first, higher id first among equals.
fn cursor(summary: &v1::ExecutionSummary) -> String {
    format!("{}:{}", summary.start_time_ms, summary.execution_id)
}

fn check_cursor(token: &str) -> Result<(), Error> {
    let parsed = token.split_once(':').and_then(|(time, id)| {
        time.parse::<u64>().ok()?;
        id.parse::<ExecutionId>().ok()
    });
    if token.is_empty() || parsed.is_some() { Ok(()) } else { Err(wrong_token(token)) }
}

/// One page of all shards' executions.
pub(super) async fn executions(
    node: &NodeContext,
    mut request: v1::ListExecutionsRequest,
) -> Result<v1::ListExecutionsResponse, Error> {
    let size = page_size(request.max_results, LIST_DEFAULT)?;
    if request.bare_tokens {
        return list(node, request, size).await;
    }
    let (secret, purpose) = (node.secret.get()?, purpose_of_list(&request));
    request.next_token = open(&secret, &purpose, &request.next_token)?;
    let page = list(node, request, size).await?;
    Ok(v1::ListExecutionsResponse { next_token: seal(&secret, &purpose, &page.next_token), ..page })
}

async fn list(
    node: &NodeContext,
    mut request: v1::ListExecutionsRequest,
    size: usize,
) -> Result<v1::ListExecutionsResponse, Error> {
    check_cursor(&request.next_token)?;
    request.max_results = u32::try_from(size).unwrap_or(PAGE_MAX);
    let asked = node.shards()?.iter().map(|shard| {
        let request = request.clone();
        ask(shard, |reply| Command::List { request, reply })
    });
    let pages = futures_util::future::try_join_all(asked).await?;
    Ok(merge(pages, size))
}

/// Where something stands in the order of listings.
type Place = (u64, Option<ExecutionId>);

fn place(summary: &v1::ExecutionSummary) -> Place {
    (summary.start_time_ms, summary.execution_id.parse().ok())
}

fn place_of_token(token: &str) -> Option<Place> {
    let (time, id) = token.split_once(':')?;
    Some((time.parse().ok()?, Some(id.parse().ok()?)))
}

/// The newest of all pages, whose tokens are bare. All go on from the same cursor, so that nothing is skipped or seen
/// twice: the page ends where the first one that has more ends. Of an execution that stands on two pages, since its
/// partition has moved between them, one is given.
#[must_use]
pub fn merge(pages: Vec<v1::ListExecutionsResponse>, size: usize) -> v1::ListExecutionsResponse {
    let ends = pages.iter().filter(|page| !page.next_token.is_empty());
    let end =
        ends.filter_map(|page| Some((place_of_token(&page.next_token)?, page.next_token.clone()))).max();
    let mut executions: Vec<_> = pages.into_iter().flat_map(|page| page.executions).collect();
    executions.sort_by_cached_key(|summary| Reverse(place(summary)));
    executions.dedup_by(|next, last| next.execution_id == last.execution_id);
    if let Some((end, _)) = &end {
        executions.truncate(executions.partition_point(|summary| place(summary) >= *end));
    }
    let cut = executions.len() > size;
    executions.truncate(size);
    let next_token = match (executions.last().filter(|_| cut), end) {
        (Some(last), _) => cursor(last),
        (None, Some((_, token))) => token,
        (None, None) => String::new(),
    };
    v1::ListExecutionsResponse { executions, next_token }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, PartitionId};

    use super::*;

    fn numbers(page: &v1::GetExecutionHistoryResponse) -> Vec<u64> {
        page.events.iter().map(|event| event.id).collect()
    }

    fn events(count: u64) -> Vec<v1::HistoryEvent> {
        (1..=count).map(|id| v1::HistoryEvent { id, ..Default::default() }).collect()
    }

    #[test]
    fn pages_of_a_history_give_every_event_once_in_either_order() {
        for reverse in [false, true] {
            let (mut seen, mut token) = (Vec::new(), None);
            loop {
                let page = page_of_history(events(7), reverse, 3, token).expect("a good token");
                seen.extend(numbers(&page));
                if page.next_token.is_empty() {
                    break;
                }
                token = Some(page.next_token.parse().expect("a number"));
            }
            let mut expected: Vec<u64> = (1..=7).collect();
            if reverse {
                expected.reverse();
            }
            assert_eq!(seen, expected);
        }
        assert!(page_of_history(events(2), false, 3, Some(3)).is_none());
        assert!(page_of_history(events(2), true, 3, Some(3)).is_none());
    }

    #[test]
    fn a_page_size_is_bounded() {
        assert_eq!(page_size(0, 100).ok(), Some(100));
        assert_eq!(page_size(1_000, 100).ok(), Some(1_000));
        assert!(page_size(1_001, 100).is_err());
    }

    fn summary(start_time_ms: u64, sequence: u64) -> v1::ExecutionSummary {
        let partition = PartitionId::new(1).expect("in range");
        let id = BatchId::new(partition, 1, sequence).expect("in range").execution(0);
        v1::ExecutionSummary { start_time_ms, execution_id: id.to_string(), ..Default::default() }
    }

    #[test]
    fn merged_pages_are_newest_first_and_go_on_from_one_cursor() {
        let page = |executions: Vec<v1::ExecutionSummary>, more: bool| {
            let next_token = if more { cursor(executions.last().expect("some")) } else { String::new() };
            v1::ListExecutionsResponse { executions, next_token }
        };
        let pages = vec![
            page(vec![summary(9, 1), summary(5, 2)], true),
            page(vec![summary(7, 3), summary(5, 4)], false),
        ];
        let merged = merge(pages, 3);
        let times: Vec<_> = merged.executions.iter().map(|summary| summary.start_time_ms).collect();
        assert_eq!(times, [9, 7, 5]);
        assert_eq!(merged.executions[2], summary(5, 4));
        assert_eq!(merged.next_token, cursor(&summary(5, 4)));
        assert!(check_cursor(&merged.next_token).is_ok());
    }

    #[test]
    fn a_token_from_elsewhere_is_refused() {
        for token in ["x", "1:", ":x-1", "1:x-00000"] {
            assert!(check_cursor(token).is_err(), "{token}");
        }
    }
}
