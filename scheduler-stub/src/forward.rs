//! Questions about executions go to the node that knows: the owner of the execution's partition, by its
//! public port.
//!
//! A list is merged over the nodes, newest first. Its token is a place in that order, and each page asks whoever has the
//! partitions then to go on from there, so that it misses nothing and repeats nothing while they move. The token is sealed
//! with the cluster's secret for the question that it answers, so that one that was made up, changed, or given for another
//! question is refused.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use executor::listing;
use executor::secret::ClusterSecret;
use futures_util::{StreamExt, TryStreamExt, stream};
use ids::{ExecutionName, PartitionId};
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{ListExecutionsRequest, ListExecutionsResponse};
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Response, Status, TimeoutExpired};
use tonic_types::StatusExt;
use trust::Secret;

use crate::ailments;
use crate::directory::{Directory, View};
use crate::dispatch::{CALL_TIMEOUT, NodeClients};
use crate::error::Error;

/// Executions of one page.
pub const PAGE_MAX: u32 = 1_000;

/// How long a question waits for a partition that is on its way between nodes: longer than a failover takes.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);

/// Nodes that one list asks at the same time: each answers with a page, which is held until the last one has.
const ASKED_AT_ONCE: usize = 16;

/// The client of a node's public port.
pub type NodeClient = ExecutorClient<Channel>;

/// Forwards to nodes.
#[derive(Clone)]
pub struct Forward {
    directory: Arc<Directory>,
    clients: NodeClients,
    secret: Arc<ClusterSecret>,
    /// Counts starts that may go anywhere, so that nodes take turns.
    turn: Arc<AtomicUsize>,
}

impl Forward {
    /// Forwards to the nodes that the directory knows.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clients: NodeClients, secret: Arc<ClusterSecret>) -> Self {
        Self { directory, clients, secret, turn: Arc::default() }
    }

    /// Makes a call on the node that has this execution's partition; once more on the next one where that may be done (see
    /// [`Kind`]). While a partition is on its way between nodes, the call waits for it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when `execution` names none, `UNAVAILABLE` when no node lives, else the node's
    /// answer.
    pub async fn call<T, F>(
        &self,
        execution: &str,
        kind: Kind,
        call: impl Fn(NodeClient) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let name = ExecutionName::parse(execution)
            .map_err(|error| Error::invalid("InvalidArn", error.to_string()))?;
        self.to_owner(|partitions| name.partition(partitions).ok(), kind, call).await
    }

    /// Makes a callback on the node that has the partition of this token's task, as [`Forward::call`]: that node judges the
    /// token. It is a change, so one that was not answered is not sent again.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is no token, `UNAVAILABLE` when no node lives, else the node's answer.
    pub async fn call_back<T, F>(
        &self,
        token: &str,
        call: impl Fn(NodeClient) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let message = "`task_token` is no token of a task: send it as the task was given it";
        let partition = executor::shard::partition_of_text(token)
            .ok_or_else(|| Error::invalid("InvalidToken", message))?;
        let partitions = self.directory.view().partitions;
        if (1..=partition.get()).contains(&partitions) {
            let message = format!("the token is of partition {partition}, and there are {partitions}");
            return Err(Error::not_found("TaskDoesNotExist", message).into());
        }
        self.to_owner(|_| Some(partition), Kind::Change, call).await
    }

    /// Makes a call on the owner of a partition, which depends on how many there are.
    async fn to_owner<T, F>(
        &self,
        partition: impl Fn(u16) -> Option<PartitionId>,
        kind: Kind,
        call: impl Fn(NodeClient) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let first = self.knower(&partition, None).await?;
        let status = match call(self.clients.client(&first)?).await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let unreached = has_cause::<ConnectError>(&status);
        let heard = kind.heard(status, &first);
        if !unreached && !kind.may_ask_again(&heard) {
            return Err(heard);
        }
        self.directory.ask_again();
        let next = self.knower(&partition, Some(&first)).await?;
        call(self.clients.client(&next)?).await.map_err(|status| kind.heard(status, &next))
    }

    /// The node to ask about what is in a partition, another one than `tried` where there is hope for one.
    async fn knower(
        &self,
        partition: impl Fn(u16) -> Option<PartitionId>,
        tried: Option<&Arc<str>>,
    ) -> Result<Arc<str>, Error> {
        let holder = |view: &View| {
            let partition = partition(view.partitions)?;
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
        holder(&view).or_else(|| tried.cloned()).or_else(any).ok_or_else(|| ailments::nobody(&self.directory))
    }

    /// Makes a start that may go anywhere on a node that takes starts, each in its turn; once more on another one where
    /// the first has certainly begun nothing. `call` is given the node's address, too.
    ///
    /// # Errors
    /// `UNAVAILABLE` when no node takes starts, else the node's answer.
    pub async fn start<T, F>(&self, call: impl Fn(Arc<str>, NodeClient) -> F) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let first = self.taker(None).await?;
        match call(Arc::clone(&first), self.clients.client(&first)?).await {
            Err(status) if began_nothing(&status) => {
                self.directory.ask_again();
                let next = self.taker(Some(&first)).await?;
                let node = self.clients.client(&next)?;
                call(Arc::clone(&next), node).await.map_err(|status| Kind::Change.heard(status, &next))
            }
            answer => answer.map_err(|status| Kind::Change.heard(status, &first)),
        }
    }

    /// A node that takes starts, each in its turn, another one than `tried` where there is one.
    async fn taker(&self, tried: Option<&Arc<str>>) -> Result<Arc<str>, Error> {
        let takers = |view: &View| -> Vec<Arc<str>> {
            let open = view.open.iter().filter_map(|index| view.shards.get(*index));
            let mut nodes: Vec<Arc<str>> = open.map(|shard| Arc::clone(&shard.public_address)).collect();
            nodes.dedup();
            nodes
        };
        let mut changes = self.directory.changes();
        let found = changes.wait_for(|view| !takers(view).is_empty() || !view.managed);
        // Late or not, the present picture says what there is.
        let _ = tokio::time::timeout(OWNER_PATIENCE, found).await;
        let mut nodes = takers(&self.directory.view());
        if nodes.len() > 1 {
            nodes.retain(|node| Some(node) != tried);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let node = nodes.get(turn.checked_rem(nodes.len()).unwrap_or(0));
        node.cloned().ok_or_else(|| ailments::nobody(&self.directory))
    }

    /// One page of executions over all nodes, newest start first.
    ///
    /// # Errors
    /// A foreign token, no living node, partitions that nobody has, or a node's error: a page with holes would look
    /// like the truth.
    pub async fn list(&self, request: ListExecutionsRequest) -> Result<ListExecutionsResponse, Status> {
        // What is refused anyhow waits for nobody.
        let secret = self.secret()?;
        let after = open(&secret, &request)?;
        let max_results = if request.max_results == 0 { 100 } else { request.max_results.min(PAGE_MAX) };
        let request = ListExecutionsRequest { max_results, after, next_token: String::new(), ..request };
        let page = tokio::time::timeout(CALL_TIMEOUT, self.merged(&request)).await;
        let late =
            |_| Error::unavailable(format!("not every node has answered within {CALL_TIMEOUT:?}: ask again"));
        let page = page.map_err(late)??;
        let next_token = seal(&secret, &request, &page.next_token);
        Ok(ListExecutionsResponse { executions: page.executions, next_token, ..Default::default() })
    }

    /// One page over all nodes; asked for once more where one of them is away.
    async fn merged(&self, request: &ListExecutionsRequest) -> Result<ListExecutionsResponse, Status> {
        let view = self.whole(None).await?;
        let page = match self.page(&view, request).await {
            Err((node, status)) if Kind::Question.may_ask_again(&status) => {
                let view = self.whole(Some(&node)).await?;
                self.page(&view, request).await
            }
            page => page,
        };
        page.map_err(|(_, status)| status)
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
        if view.public_addresses.is_empty() { Err(ailments::nobody(&self.directory)) } else { Ok(view) }
    }

    /// What the nodes of a picture have after a place; its token is the place where the next page begins.
    async fn page(
        &self,
        view: &View,
        request: &ListExecutionsRequest,
    ) -> Result<ListExecutionsResponse, (Arc<str>, Status)> {
        let asked =
            view.public_addresses.iter().map(|address| self.page_of(Arc::clone(address), request.clone()));
        let asked: Vec<_> = asked.collect();
        let pages: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
        let page = listing::merge(pages, request.max_results as usize);
        let seen: HashSet<u32> = page.partitions.iter().copied().collect();
        if view.managed && seen.len() < usize::from(view.partitions) {
            let moving = "a partition changed hands while the list was read, which would have a hole: retry";
            return Err(("".into(), Error::unavailable(moving).into()));
        }
        Ok(page)
    }

    /// What one node has of a page.
    async fn page_of(
        &self,
        node: Arc<str>,
        request: ListExecutionsRequest,
    ) -> Result<ListExecutionsResponse, (Arc<str>, Status)> {
        let mut request = Request::new(request);
        request.set_timeout(CALL_TIMEOUT);
        let page = match self.clients.client(&node) {
            Ok(mut client) => {
                client.list_executions(request).await.map_err(|status| Kind::Question.heard(status, &node))
            }
            Err(error) => Err(error.into()),
        };
        let page = page.map_err(|status| (node, status))?.into_inner();
        Ok(ListExecutionsResponse { next_token: page.next.clone(), ..page })
    }
}

/// What a page's token was given for: the same question, and nothing else.
fn purpose(request: &ListExecutionsRequest) -> String {
    format!("nodes' lists {} {}", request.machine_arn, request.status)
}

/// The place that a request's token says, if we gave it for this question; the beginning without one.
fn open(secret: &Secret, request: &ListExecutionsRequest) -> Result<String, Error> {
    let token = &request.next_token;
    if token.is_empty() {
        return Ok(String::new());
    }
    let message = "`next_token` was not given by this call for this question: begin again without one";
    let place = secret.open_text(&purpose(request), token);
    place.ok_or_else(|| Error::invalid("InvalidToken", message))
}

fn seal(secret: &Secret, request: &ListExecutionsRequest, place: &str) -> String {
    if place.is_empty() { String::new() } else { secret.seal_text(&purpose(request), place) }
}

/// What a call does to an execution, which decides what is made of a connection that broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it may be made as often as one likes.
    Question,
    /// Something: whether a call that was not answered has done it is not known, and it is not made again.
    Change,
}

impl Kind {
    /// Whether the call may be made again on another node: this one has not the partition, or is away and was only asked.
    fn may_ask_again(self, status: &Status) -> bool {
        not_owner(status) || self == Self::Question && status.code() == Code::Unavailable
    }

    /// What a caller hears of a node's answer. Where none came, the words are our own transport's, which name no address, and
    /// do not say whether the call may be made again.
    fn heard(self, status: Status, node: &str) -> Status {
        let ours = std::error::Error::source(&status);
        let late =
            status.code() == Code::DeadlineExceeded || ours.is_some_and(|ours| ours.is::<TimeoutExpired>());
        let broke = ours.is_some();
        let why = trust::with_causes(status.message(), &status);
        if has_cause::<ConnectError>(&status) {
            return Error::unavailable(format!(
                "the node at {node} cannot be reached ({why}), and was asked nothing: ask again once it is back or another \
                 one has its partitions; `scheduler-stub nodes` shows how it stands"
            ))
            .into();
        }
        match self {
            Self::Question if broke && !late => {
                Error::unavailable(format!("the connection to the node at {node} broke ({why}): ask again"))
                    .into()
            }
            Self::Change if broke || late || status.code() == Code::Cancelled => Error::OutcomeUnknown {
                message: format!(
                    "no answer came from the node at {node} ({why}), and it may have done what it was asked to: look at the \
                     execution (DescribeExecution, ListExecutions) before you ask again"
                ),
            }
            .into(),
            Self::Question | Self::Change => status,
        }
    }
}

/// Whether this kind of error is among the causes of a status.
fn has_cause<E: std::error::Error + 'static>(status: &Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |cause| cause.source()).any(|cause| cause.is::<E>())
}

/// Whether a node has said that another one has the partition. Nothing was done, so any call may be made again.
fn not_owner(status: &Status) -> bool {
    status.get_error_details().error_info().is_some_and(|info| info.reason == "NotOwner")
}

/// Whether a node has certainly not begun what it was asked to: it said so, or was not reached.
fn began_nothing(status: &Status) -> bool {
    let details = status.get_error_details();
    let said =
        details.error_info().is_some_and(|info| matches!(info.reason.as_str(), "Draining" | "NothingServed"));
    said || has_cause::<ConnectError>(status)
}

#[cfg(test)]
mod tests;
