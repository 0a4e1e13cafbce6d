//! Questions about executions go to the node that knows: the owner of the execution's partition, by its
//! public port.
//!
//! A list is merged over the nodes, newest first. Its token says for each node how far its own list was read; it is sealed with
//! the cluster's secret for the question that it answers, so that one that was made up, changed, or given for another question
//! is refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use executor::secret::ClusterSecret;
use ids::ExecutionName;
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{self, ExecutionSummary, ListExecutionsRequest, ListExecutionsResponse};
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use trust::Secret;

use crate::directory::{self, Directory, View};
use crate::dispatch::NodeClients;
use crate::error::Error;

/// Executions of one page.
pub const PAGE_MAX: u32 = 1_000;

/// How long a question waits for a partition that is on its way between nodes: longer than a failover takes.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);

/// Characters of a page token: some 350 for each node.
const TOKEN_CHARS_MAX: usize = 1 << 19;

/// Forwards to nodes.
#[derive(Clone)]
pub struct Forward {
    directory: Arc<Directory>,
    clients: NodeClients,
    secret: Arc<ClusterSecret>,
    /// Counts what any node can answer, so that they take turns.
    turn: Arc<AtomicUsize>,
}

/// How far the list of one node was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The node's own token; `None`: the list has ended.
    token: Option<String>,
    /// Entries of that page which were given out.
    skip: usize,
}

impl Forward {
    /// Forwards to the nodes that the directory knows.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clients: NodeClients, secret: Arc<ClusterSecret>) -> Self {
        Self { directory, clients, secret, turn: Arc::default() }
    }

    /// Makes a call on the node that has this execution's partition; once more on the next one if `again` says so of
    /// what it answers. While a partition is on its way between nodes, the call waits for it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when `execution` names none, `UNAVAILABLE` when no node lives, else the node's
    /// answer.
    pub async fn call<T, F>(
        &self,
        execution: &str,
        again: fn(&Status) -> bool,
        call: impl Fn(ExecutorClient<Channel>) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let name = ExecutionName::parse(execution)
            .map_err(|error| Error::invalid("InvalidArn", error.to_string()))?;
        let first = self.knower(&name, None).await?;
        match call(self.clients.client(&first)?).await {
            Err(status) if again(&status) => {
                self.directory.ask_again();
                let next = self.knower(&name, Some(&first)).await?;
                call(self.clients.client(&next)?).await
            }
            answer => answer,
        }
    }

    /// The node to ask about an execution, another one than `tried` where there is hope for one.
    async fn knower(&self, name: &ExecutionName, tried: Option<&Arc<str>>) -> Result<Arc<str>, Error> {
        let holder = |view: &View| {
            let partition = name.partition(view.partitions).ok()?;
            view.holder(partition).filter(|holder| Some(*holder) != tried).cloned()
        };
        let hopeless = |view: &View| tried.is_none() && !view.managed;
        let mut changes = self.directory.changes();
        let found = changes.wait_for(|view| holder(view).is_some() || hopeless(view));
        // Late or not, the present picture says what there is.
        let _ = tokio::time::timeout(OWNER_PATIENCE, found).await;
        let view = self.directory.view();
        // Any node forwards, one hop at most; without a living owner it can still say what its store holds.
        let any = || view.public_addresses.first().cloned();
        holder(&view).or_else(|| tried.cloned()).or_else(any).ok_or_else(directory::no_shards)
    }

    /// Any living node, each in its turn.
    ///
    /// # Errors
    /// `UNAVAILABLE` when none lives.
    pub fn any(&self) -> Result<ExecutorClient<Channel>, Status> {
        let view = self.directory.view();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let addresses = &view.public_addresses;
        let address =
            addresses.get(turn.checked_rem(addresses.len()).unwrap_or(0)).ok_or_else(directory::no_shards)?;
        Ok(self.clients.client(address)?)
    }

    /// One page of executions over all nodes, newest start first.
    ///
    /// # Errors
    /// A foreign token, no living node, partitions that nobody has, or a node's error: a page with holes would look
    /// like the truth.
    pub async fn list(&self, request: ListExecutionsRequest) -> Result<ListExecutionsResponse, Status> {
        // What is refused anyhow waits for nobody.
        decode(&self.secret()?, &request)?;
        let view = self.whole(None).await?;
        match self.page(&view, &request).await {
            Err((node, status)) if away(&status) => {
                let view = self.whole(Some(&node)).await?;
                self.page(&view, &request).await.map_err(|(_, status)| status)
            }
            page => page.map_err(|(_, status)| status),
        }
    }

    fn secret(&self) -> Result<Secret, Error> {
        self.secret.get().map_err(|error| Error::unavailable(error.to_string()))
    }

    /// A picture in which each partition is in somebody's hands, and in which `away` is not.
    async fn whole(&self, away: Option<&str>) -> Result<Arc<View>, Error> {
        let without =
            |view: &View| away.is_none_or(|away| !view.public_addresses.iter().any(|node| &**node == away));
        let mut changes = self.directory.changes();
        let found = changes.wait_for(|view| !view.managed || view.is_whole() && without(view));
        let view = match tokio::time::timeout(OWNER_PATIENCE, found).await {
            Ok(Ok(view)) => Arc::clone(&view),
            Ok(Err(_)) | Err(_) => {
                return Err(Error::unavailable(
                    "some partitions have no owner now: a list would have holes; retry",
                ));
            }
        };
        if view.public_addresses.is_empty() { Err(directory::no_shards()) } else { Ok(view) }
    }

    async fn page(
        &self,
        view: &View,
        request: &ListExecutionsRequest,
    ) -> Result<ListExecutionsResponse, (Arc<str>, Status)> {
        let limit = if request.max_results == 0 { 100 } else { request.max_results.min(PAGE_MAX) };
        let nobody: Arc<str> = "".into();
        let ours = |error: Error| (Arc::clone(&nobody), Status::from(error));
        let secret = self.secret().map_err(ours)?;
        let mut cursors = decode(&secret, request).map_err(ours)?;
        let mut pages = Vec::with_capacity(view.public_addresses.len());
        for address in &view.public_addresses {
            let start = Cursor { token: Some(String::new()), skip: 0 };
            let cursor = cursors.remove(&**address).unwrap_or(start);
            let Some(token) = cursor.token else { continue };
            let page_request =
                ListExecutionsRequest { max_results: limit, next_token: token.clone(), ..request.clone() };
            let mut page_request = Request::new(page_request);
            page_request.set_timeout(crate::dispatch::CALL_TIMEOUT);
            let mut client = self.clients.client(address).map_err(ours)?;
            let page = client.list_executions(page_request).await;
            let page = page.map_err(|status| (Arc::clone(address), status))?.into_inner();
            pages.push(Page::new(Arc::clone(address), token, cursor.skip, page));
        }
        let executions = merge(&mut pages, limit as usize);
        let next_token = encode(&secret, request, &view.public_addresses, pages).map_err(ours)?;
        Ok(ListExecutionsResponse { executions, next_token })
    }
}

/// Whether a node has said that another one has the partition. Nothing was done, so any call may be made again.
pub fn not_owner(status: &Status) -> bool {
    status.get_error_details().error_info().is_some_and(|info| info.reason == "NotOwner")
}

/// Whether a question may be asked again elsewhere: the node has not the partition, or is away.
pub fn away(status: &Status) -> bool {
    status.code() == Code::Unavailable || not_owner(status)
}

struct Page {
    address: Arc<str>,
    token: String,
    given_out: usize,
    next_token: String,
    rest: std::iter::Peekable<std::vec::IntoIter<ExecutionSummary>>,
}

impl Page {
    fn new(address: Arc<str>, token: String, skip: usize, page: v1::ListExecutionsResponse) -> Self {
        let mut rest = page.executions;
        rest.drain(..skip.min(rest.len()));
        Self {
            address,
            token,
            given_out: skip,
            next_token: page.next_token,
            rest: rest.into_iter().peekable(),
        }
    }

    /// Where the next page of this node begins.
    fn cursor(mut self) -> Cursor {
        if self.rest.peek().is_some() {
            Cursor { token: Some(self.token), skip: self.given_out }
        } else {
            Cursor { token: Some(self.next_token).filter(|token| !token.is_empty()), skip: 0 }
        }
    }
}

/// Takes the newest of all pages, until `limit` or until a page that has a successor is empty (what follows
/// there may be newer than what the others still have).
fn merge(pages: &mut [Page], limit: usize) -> Vec<ExecutionSummary> {
    let mut merged = Vec::with_capacity(limit);
    while merged.len() < limit {
        if pages.iter_mut().any(|page| page.rest.peek().is_none() && !page.next_token.is_empty()) {
            break;
        }
        let newest = pages
            .iter_mut()
            .filter_map(|page| page.rest.peek().map(|summary| summary.start_time_ms).map(|at| (at, page)))
            .max_by_key(|(at, _)| *at);
        let Some((_, page)) = newest else { break };
        merged.extend(page.rest.next());
        page.given_out += 1;
    }
    merged
}

/// What a page's token was given for: the same question, and nothing else.
fn purpose(request: &ListExecutionsRequest) -> String {
    format!("nodes' lists {} {}", request.machine_arn, request.status)
}

fn decode(secret: &Secret, request: &ListExecutionsRequest) -> Result<BTreeMap<String, Cursor>, Error> {
    let token = &request.next_token;
    if token.is_empty() {
        return Ok(BTreeMap::new());
    }
    let foreign = || {
        let message = "`next_token` was not given by this call for this question: begin again without one";
        Error::invalid("InvalidToken", message)
    };
    if token.len() > TOKEN_CHARS_MAX {
        return Err(foreign());
    }
    let text = secret.open_text(&purpose(request), token).ok_or_else(foreign)?;
    serde_json::from_str(&text).map_err(|_| foreign())
}

fn encode(
    secret: &Secret,
    request: &ListExecutionsRequest,
    addresses: &[Arc<str>],
    pages: Vec<Page>,
) -> Result<String, Error> {
    let mut cursors: BTreeMap<String, Cursor> =
        addresses.iter().map(|address| (address.to_string(), Cursor { token: None, skip: 0 })).collect();
    for page in pages {
        cursors.insert(page.address.to_string(), page.cursor());
    }
    if cursors.values().all(|cursor| cursor.token.is_none()) {
        return Ok(String::new());
    }
    let text = serde_json::to_string(&cursors).map_err(|error| Error::unavailable(error.to_string()))?;
    Ok(secret.seal_text(&purpose(request), &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(address: &str, starts: &[u64], next_token: &str, skip: usize) -> Page {
        let executions = starts
            .iter()
            .map(|start| ExecutionSummary { start_time_ms: *start, ..ExecutionSummary::default() })
            .collect();
        let page = ListExecutionsResponse { executions, next_token: next_token.into() };
        Page::new(address.into(), String::new(), skip, page)
    }

    fn secret() -> Secret {
        Secret::from_key(&[7; 32])
    }

    fn asked(machine: &str, token: &str) -> ListExecutionsRequest {
        let (machine_arn, next_token) = (machine.to_owned(), token.to_owned());
        ListExecutionsRequest { machine_arn, next_token, ..ListExecutionsRequest::default() }
    }

    fn encoded(pages: Vec<Page>) -> String {
        encode(&secret(), &asked("m", ""), &["a".into(), "b".into()], pages).expect("a token")
    }

    fn starts(merged: &[ExecutionSummary]) -> Vec<u64> {
        merged.iter().map(|summary| summary.start_time_ms).collect()
    }

    #[test]
    fn pages_of_several_nodes_become_one_newest_first_and_go_on_where_they_stopped() {
        let mut pages = vec![page("a", &[9, 5, 1], "", 0), page("b", &[8, 7, 2], "", 0)];
        assert_eq!(starts(&merge(&mut pages, 4)), [9, 8, 7, 5]);
        let token = encoded(pages);
        let cursors = decode(&secret(), &asked("m", &token)).expect("our own token");
        let mut rest =
            vec![page("a", &[9, 5, 1], "", cursors["a"].skip), page("b", &[8, 7, 2], "", cursors["b"].skip)];
        assert_eq!(starts(&merge(&mut rest, 4)), [2, 1]);
        assert_eq!(encoded(rest), "");
    }

    #[test]
    fn a_node_whose_next_page_is_unread_stops_the_merge() {
        let mut pages = vec![page("a", &[9], "more", 0), page("b", &[8, 7], "", 0)];
        assert_eq!(starts(&merge(&mut pages, 10)), [9]);
        let token = encoded(pages);
        let cursors = decode(&secret(), &asked("m", &token)).expect("our own token");
        assert_eq!(cursors["a"], Cursor { token: Some("more".into()), skip: 0 });
        assert_eq!(cursors["b"], Cursor { token: Some(String::new()), skip: 0 });
    }

    #[test]
    fn a_token_that_was_made_up_changed_or_given_for_another_question_is_refused() {
        let token = encoded(vec![page("a", &[9], "more", 0)]);
        assert!(decode(&secret(), &asked("m", &token)).is_ok());
        let made_up = r#"{"a":{"token":"more","skip":0}}"#;
        let of_a_node = secret().seal_text("list m 0", made_up);
        let changed = format!("{}0", &token[..token.len() - 1]);
        let changed = if changed == token { format!("{}1", &token[..token.len() - 1]) } else { changed };
        for wrong in ["abc", made_up, &of_a_node, &changed, &"0".repeat(TOKEN_CHARS_MAX + 1)] {
            assert!(decode(&secret(), &asked("m", wrong)).is_err(), "{wrong:.100}");
        }
        assert!(decode(&secret(), &asked("other", &token)).is_err(), "of another machine");
        let failed = ListExecutionsRequest { status: 3, ..asked("m", &token) };
        assert!(decode(&secret(), &failed).is_err(), "of another status");
        assert!(decode(&Secret::from_key(&[8; 32]), &asked("m", &token)).is_err(), "of another cluster");
    }
}
