//! Pages of listings, merged: those of shards into a node's, those of nodes into a cluster's.
//!
//! Invariants: everybody goes on from the same place in one order, whoever has which partition by then, so that what is there
//! is given once while partitions move; a page says which partitions were looked through. Nothing here fails but a token
//! that is none.

use std::cmp::Reverse;

use ids::ExecutionId;
use proto::executor::v1;

use crate::error::Error;

pub(crate) fn wrong_token(token: &str) -> Error {
    let token: String = token.chars().take(100).collect();
    let message = format!("`next_token` {token:?} was not given by this call: begin again without one");
    Error::Invalid { code: "InvalidToken", message }
}

/// A place in the order of listings: newest start first, higher id first among equals.
fn cursor(summary: &v1::ExecutionSummary) -> String {
    format!("{}:{}", summary.start_time_ms, summary.execution_id)
}

/// Whether this is a place, or the beginning.
///
/// # Errors
/// It is neither.
pub fn check_cursor(token: &str) -> Result<(), Error> {
    let parsed = token.split_once(':').and_then(|(time, id)| {
        time.parse::<u64>().ok()?;
        id.parse::<ExecutionId>().ok()
    });
    if token.is_empty() || parsed.is_some() { Ok(()) } else { Err(wrong_token(token)) }
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

/// The newest of all pages, whose tokens are places. Everybody goes on from the same place, so that nothing is skipped or
/// seen twice: the page ends where the first of them that has more ends. What a partition that moved meanwhile has given
/// twice is given once, with its end if one of them knew it.
#[must_use]
pub fn merge(pages: Vec<v1::ListExecutionsResponse>, size: usize) -> v1::ListExecutionsResponse {
    let ends = pages.iter().filter(|page| !page.next_token.is_empty());
    let end =
        ends.filter_map(|page| Some((place_of_token(&page.next_token)?, page.next_token.clone()))).max();
    let (mut executions, mut partitions) = (Vec::new(), Vec::new());
    for page in pages {
        executions.extend(page.executions);
        partitions.extend(page.partitions);
    }
    executions.sort_by_cached_key(|summary| Reverse((place(summary), summary.stop_time_ms)));
    executions.dedup_by(|later, kept| later.execution_id == kept.execution_id);
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
    v1::ListExecutionsResponse { executions, next_token, partitions, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, PartitionId};
    use proptest::prelude::*;

    use super::*;

    fn summary(start_time_ms: u64, sequence: u64) -> v1::ExecutionSummary {
        let partition = PartitionId::new(1).expect("in range");
        let id = BatchId::new(partition, 1, sequence).expect("in range").execution(0);
        v1::ExecutionSummary { start_time_ms, execution_id: id.to_string(), ..Default::default() }
    }

    #[test]
    fn merged_pages_are_newest_first_and_go_on_from_one_cursor() {
        let page = |executions: Vec<v1::ExecutionSummary>, more: bool| {
            let next_token = if more { cursor(executions.last().expect("some")) } else { String::new() };
            v1::ListExecutionsResponse { executions, next_token, ..Default::default() }
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

    /// A page of a node with these partitions; what each of them has is its number's rest.
    fn page_of(
        all: &[v1::ExecutionSummary],
        has: impl Fn(usize) -> bool,
        after: &str,
        size: usize,
    ) -> v1::ListExecutionsResponse {
        let after = place_of_token(after);
        let own = all.iter().enumerate().filter(|(at, _)| has(at % 4)).map(|(_, summary)| summary.clone());
        let mut own: Vec<_> =
            own.filter(|summary| after.is_none_or(|after| place(summary) < after)).collect();
        own.sort_by_key(|summary| Reverse(place(summary)));
        let more = own.len() > size;
        own.truncate(size);
        let next_token = own.last().filter(|_| more).map_or_else(String::new, cursor);
        v1::ListExecutionsResponse { executions: own, next_token, ..Default::default() }
    }

    proptest! {
        #[test]
        fn what_is_there_is_given_once_however_partitions_move_and_limits_change_between_pages(
            starts in prop::collection::vec(0u64..9, 0..40),
            owners in prop::collection::vec(prop::array::uniform4(0usize..3), 1..8),
            sizes in prop::collection::vec(1usize..6, 1..8),
        ) {
            let all: Vec<_> = (1..).zip(&starts).map(|(sequence, start)| summary(*start, sequence)).collect();
            let (mut token, mut given, mut turn) = (String::new(), Vec::new(), 0);
            loop {
                let (owner, size) = (owners[turn % owners.len()], sizes[turn % sizes.len()]);
                let pages = (0..3).map(|node| page_of(&all, |partition| owner[partition] == node, &token, size));
                let page = merge(pages.collect(), size);
                given.extend(page.executions);
                turn += 1;
                token = page.next_token;
                if token.is_empty() { break }
            }
            let mut expected = all;
            expected.sort_by_key(|summary| Reverse(place(summary)));
            prop_assert_eq!(given, expected);
        }
    }

    #[test]
    fn what_two_owners_have_told_of_is_given_once_with_its_end() {
        let ended = v1::ExecutionSummary { stop_time_ms: 9, ..summary(5, 1) };
        for pages in [[summary(5, 1), ended.clone()], [ended.clone(), summary(5, 1)]] {
            let page =
                |execution| v1::ListExecutionsResponse { executions: vec![execution], ..Default::default() };
            assert_eq!(merge(pages.map(page).to_vec(), 3).executions, std::slice::from_ref(&ended));
        }
    }
}
