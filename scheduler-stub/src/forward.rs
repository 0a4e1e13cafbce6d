//! Questions about executions go to the node that knows: the owner of the execution's partition, by its
//! public port.
//!
//! A list is merged over the nodes, newest first. Its token is a place in that order, and each page asks whoever has the
//! partitions then to go on from there, so that it misses nothing and repeats nothing while they move.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use executor::listing;
use ids::ExecutionName;
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{ListExecutionsRequest, ListExecutionsResponse};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::directory::{self, Directory, View};
use crate::dispatch::NodeClients;
use crate::error::Error;

/// Executions of one page.
pub const PAGE_MAX: u32 = 1_000;

/// How long a question waits for a partition that is on its way between nodes: longer than a failover takes.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);

/// Forwards to nodes.
#[derive(Clone)]
pub struct Forward {
    directory: Arc<Directory>,
    clients: NodeClients,
    /// Counts what any node can answer, so that they take turns.
    turn: Arc<AtomicUsize>,
}

impl Forward {
    /// Forwards to the nodes that the directory knows.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clients: NodeClients) -> Self {
        Self { directory, clients, turn: Arc::default() }
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
        let view = self.whole(None).await?;
        match self.page(&view, &request).await {
            Err((node, status)) if away(&status) => {
                let view = self.whole(Some(&node)).await?;
                self.page(&view, &request).await.map_err(|(_, status)| status)
            }
            page => page.map_err(|(_, status)| status),
        }
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
        let foreign = |_| Error::invalid("InvalidToken", "next_token is not one that a listing returned");
        listing::check_cursor(&request.next_token).map_err(foreign).map_err(ours)?;
        let mut pages = Vec::with_capacity(view.public_addresses.len());
        for address in &view.public_addresses {
            let (after, next_token) = (request.next_token.clone(), String::new());
            let page_request =
                ListExecutionsRequest { max_results: limit, after, next_token, ..request.clone() };
            let mut page_request = Request::new(page_request);
            page_request.set_timeout(crate::dispatch::CALL_TIMEOUT);
            let mut client = self.clients.client(address).map_err(ours)?;
            let page = client.list_executions(page_request).await;
            let page = page.map_err(|status| (Arc::clone(address), status))?.into_inner();
            pages.push(ListExecutionsResponse { next_token: page.next.clone(), ..page });
        }
        let page = listing::merge(pages, limit as usize);
        let seen: HashSet<u32> = page.partitions.iter().copied().collect();
        if view.managed && seen.len() < usize::from(view.partitions) {
            let moving = "a partition changed hands while the list was read, which would have a hole: retry";
            return Err(ours(Error::unavailable(moving)));
        }
        Ok(ListExecutionsResponse {
            executions: page.executions,
            next_token: page.next_token,
            ..Default::default()
        })
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
