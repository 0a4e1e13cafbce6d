//! Pages: a history cut into pages, and the shards' lists merged into one.

use proto::executor::v1;
use trust::Secret;

use super::plain::locate;
use super::status::invalid;
use super::{NodeContext, ask};
use crate::error::Error;
use crate::listing::{check_cursor, merge, wrong_token};
use crate::shard::Command;

/// Events or executions of one page at most.
const PAGE_MAX: u32 = 1_000;
/// Bytes of details in one page of a history at most, unless its first event alone has more: a page is one message.
const PAGE_BYTES_MAX: usize = 1 << 20;
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

/// How many of these events a page has room for.
fn that_fit<'a>(events: impl Iterator<Item = &'a v1::HistoryEvent>, size: usize) -> usize {
    let mut bytes = 0;
    let fits = |(at, event): &(usize, &v1::HistoryEvent)| {
        bytes += event.details.len();
        *at == 0 || bytes <= PAGE_BYTES_MAX
    };
    events.take(size).enumerate().take_while(fits).count()
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
        let from = to - that_fit(events.get(..to)?.iter().rev(), size);
        (from, to, (from > 0).then_some(from))
    } else {
        let from = token.unwrap_or(0);
        let to = from + that_fit(events.get(from..)?.iter(), size);
        (from, to, (to < all).then_some(to))
    };
    events.truncate(to);
    events.drain(..from);
    if reverse {
        events.reverse();
    }
    let next_token = next.map_or_else(String::new, |next| next.to_string());
    Some(v1::GetExecutionHistoryResponse { events, next_token })
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
    fn a_page_of_a_history_ends_where_its_bytes_do_and_has_one_event_at_least() {
        let sizes = [10, PAGE_BYTES_MAX - 10, 1, PAGE_BYTES_MAX + 1, 3];
        let of = |(id, size)| v1::HistoryEvent { id, details: vec![b' '; size].into(), ..Default::default() };
        let events = || (1..).zip(sizes).map(of).collect();
        for (reverse, expected) in [(false, [2, 1, 1, 1]), (true, [1, 1, 2, 1])] {
            let (mut counts, mut seen, mut token) = (Vec::new(), Vec::new(), None);
            loop {
                let page = page_of_history(events(), reverse, 1_000, token).expect("a good token");
                counts.push(page.events.len());
                seen.extend(numbers(&page));
                if page.next_token.is_empty() {
                    break;
                }
                token = Some(page.next_token.parse().expect("a number"));
            }
            seen.sort_unstable();
            assert_eq!((&counts[..], &seen[..]), (&expected[..], &[1, 2, 3, 4, 5][..]), "{reverse}");
        }
    }

    #[test]
    fn a_page_size_is_bounded() {
        assert_eq!(page_size(0, 100).ok(), Some(100));
        assert_eq!(page_size(1_000, 100).ok(), Some(1_000));
        assert!(page_size(1_001, 100).is_err());
    }
}
