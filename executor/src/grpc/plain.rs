//! Calls that are answered once.

use std::sync::Arc;

use bytes::Bytes;
use ids::{DefinitionHash, ExecutionName, MachineName, Mode, PartitionId};
use proto::executor::v1;
use tokio::sync::{mpsc, oneshot};

use super::dispatch::Start;
use super::reports::report_shards;
use super::status::invalid;
use super::{NodeContext, ask};
use crate::error::Error;
use crate::limits;
use crate::shard::{Command, ShardHandle, check_role};

/// The durable counter that every incarnation of every dispatcher raises, so that batch ids never come back.
const INCARNATIONS: &[u8] = b"dispatcher/incarnations";

/// Characters of a dispatcher's name.
const DISPATCHER_NAME_MAX: usize = 256;

/// An execution and the shard that knows it.
pub(super) fn locate<'a>(
    node: &'a NodeContext,
    text: &str,
) -> Result<(ExecutionName, &'a ShardHandle), Error> {
    let wrong = |error: ids::IdError| invalid("InvalidArn", format!("`execution`: {error}"));
    let execution = ExecutionName::parse(text).map_err(wrong)?;
    let partition = execution.partition(node.partitions).map_err(wrong)?;
    if partition.get() >= node.partitions {
        let message =
            format!("there is no execution {text:?}: its partition {partition} does not exist here");
        return Err(Error::NotFound { code: "ExecutionDoesNotExist", message });
    }
    Ok((execution, node.owner(partition)?))
}

pub(super) async fn describe(
    node: &NodeContext,
    execution: &str,
) -> Result<v1::DescribeExecutionResponse, Error> {
    let (execution, shard) = locate(node, execution)?;
    ask(shard, |reply| Command::Describe { execution, reply }).await
}

pub(super) async fn stop(
    node: &NodeContext,
    request: v1::StopExecutionRequest,
) -> Result<v1::StopExecutionResponse, Error> {
    let v1::StopExecutionRequest { execution, error, cause } = request;
    let (execution, shard) = locate(node, &execution)?;
    for (field, text, max) in
        [("error", &error, limits::ERROR_BYTES_MAX), ("cause", &cause, limits::CAUSE_BYTES_MAX)]
    {
        if text.len() > max {
            let message = format!("`{field}` has {} bytes; at most {max} are kept", text.len());
            return Err(invalid("InvalidRequest", message));
        }
    }
    let stop_time_ms = ask(shard, |reply| Command::Stop { execution, error, cause, reply }).await?;
    Ok(v1::StopExecutionResponse { stop_time_ms })
}

pub(super) async fn redrive(
    node: &NodeContext,
    request: v1::RedriveExecutionRequest,
) -> Result<v1::RedriveExecutionResponse, Error> {
    let (execution, shard) = locate(node, &request.execution)?;
    let (token, max) = (request.client_token, limits::CLIENT_TOKEN_BYTES_MAX);
    if token.len() > max {
        let message = format!("`client_token` has {} bytes; at most {max} are kept", token.len());
        return Err(invalid("InvalidRequest", message));
    }
    let token = token.into();
    let redrive_time_ms = ask(shard, |reply| Command::Redrive { execution, token, reply }).await?;
    Ok(v1::RedriveExecutionResponse { redrive_time_ms })
}

fn dialect(dialect: v1::Dialect) -> asl::Dialect {
    match dialect {
        v1::Dialect::Unspecified | v1::Dialect::Asl => asl::Dialect::Asl,
        v1::Dialect::Tcsl => asl::Dialect::Tcsl,
    }
}

pub(super) async fn put_definition(
    node: &NodeContext,
    request: v1::PutDefinitionRequest,
) -> Result<v1::PutDefinitionResponse, Error> {
    let dialect = dialect(request.dialect());
    let hash = put(node, request.definition, dialect).await?;
    Ok(v1::PutDefinitionResponse { definition_hash: Bytes::copy_from_slice(&hash) })
}

async fn put(node: &NodeContext, definition: Bytes, dialect: asl::Dialect) -> Result<DefinitionHash, Error> {
    if definition.len() > limits::DEFINITION_BYTES_MAX {
        let (length, max) = (definition.len(), limits::DEFINITION_BYTES_MAX);
        let message = format!("`definition` has {length} bytes; at most {max} are allowed");
        return Err(invalid("InvalidDefinition", message));
    }
    let store = node.store()?;
    node.definitions.put(&*store.store, definition, dialect).await
}

/// Raises the durable counter.
pub(super) async fn next_incarnation(node: &NodeContext) -> Result<u32, Error> {
    let count = node.store()?.store.increment(Bytes::from_static(INCARNATIONS)).await?;
    u32::try_from(count).map_err(|_| Error::Conflict {
        code: "IncarnationsExhausted",
        message: format!("{count} dispatchers have registered with this store; batch ids have no more room"),
    })
}

pub(super) async fn register_dispatcher(
    node: &NodeContext,
    request: v1::RegisterDispatcherRequest,
) -> Result<v1::RegisterDispatcherResponse, Error> {
    if request.name.chars().count() > DISPATCHER_NAME_MAX {
        let message = format!("`name` has more than {DISPATCHER_NAME_MAX} characters");
        return Err(invalid("InvalidName", message));
    }
    let incarnation = next_incarnation(node).await?;
    tracing::info!(dispatcher = request.name, incarnation, "dispatcher registered");
    Ok(v1::RegisterDispatcherResponse { incarnation })
}

pub(super) async fn describe_node(node: &NodeContext) -> Result<v1::DescribeNodeResponse, Error> {
    let shards = report_shards(node).await?;
    let store = node.store.get();
    Ok(v1::DescribeNodeResponse {
        node_id: node.node_id.clone(),
        shards,
        store: store.map_or_else(String::new, |store| store.durability.borrow().store.to_owned()),
        durability: store.map_or_else(
            || "not known: the store has not been reached yet".to_owned(),
            |store| store.durability.borrow().detail.clone(),
        ),
        partitions: u32::from(node.partitions),
        draining: node.health.is_draining(),
        cluster: node.cluster.name(),
        instance: node.instance,
        condition: node.health.condition(),
    })
}

/// What a plain start asks for, checked as far as the batch does not check it.
struct Asked {
    machine: MachineName,
    mode: Mode,
    name: String,
    partition: Option<PartitionId>,
}

fn ask_for(node: &NodeContext, request: &v1::StartExecutionRequest) -> Result<Asked, Error> {
    if request.machine_arn.len() > limits::ARN_BYTES_MAX {
        let (length, max) = (request.machine_arn.len(), limits::ARN_BYTES_MAX);
        return Err(invalid(
            "InvalidArn",
            format!("`machine_arn` has {length} bytes; at most {max} are allowed"),
        ));
    }
    let machine = MachineName::parse(&request.machine_arn)
        .map_err(|error| invalid("InvalidArn", format!("`machine_arn`: {error}")))?;
    check_role(&request.role_arn).map_err(|problem| invalid("InvalidArn", problem))?;
    let mode = match request.mode() {
        v1::Mode::Unspecified | v1::Mode::Standard => Mode::Standard,
        v1::Mode::Express => Mode::Express,
        v1::Mode::SyncExpress => Mode::SyncExpress,
    };
    let name = request.name.clone();
    let partition = if name.is_empty() || mode != Mode::Standard {
        None
    } else {
        let partition = ids::partition_of_name(machine.execution_segment(), &name, node.partitions);
        Some(partition.map_err(|error| invalid("InvalidName", error.to_string()))?)
    };
    Ok(Asked { machine, mode, name, partition })
}

/// Starts an EXPRESS execution and waits for its end. Whoever no longer waits does not stop it.
pub(super) async fn start_sync(
    node: &Arc<NodeContext>,
    request: v1::StartExecutionRequest,
) -> Result<v1::StartSyncExecutionResponse, Error> {
    if request.mode() == v1::Mode::Standard {
        let message = "a STANDARD execution may run for a year: start it with StartExecution, and look at it";
        return Err(invalid("StateMachineTypeNotSupported", message.to_owned()));
    }
    let request = v1::StartExecutionRequest { mode: v1::Mode::SyncExpress.into(), ..request };
    let started = start_as_asked(node, request).await?;
    end_of(node, started.execution_id).await
}

/// The end of an execution that was started: whatever keeps it from being told, the start is durable, and nobody is to be
/// told to send it again.
async fn end_of(node: &NodeContext, execution: String) -> Result<v1::StartSyncExecutionResponse, Error> {
    let end = async {
        let (execution, shard) = locate(node, &execution)?;
        ask(shard, |reply| Command::Await { execution, reply }).await
    };
    let end: Result<_, Error> = end.await;
    end.map_err(|error| Error::EndUnknown { execution, why: error.to_string() })
}

/// One start by a plain client that does not wait for the end.
pub(super) async fn start(
    node: &Arc<NodeContext>,
    request: v1::StartExecutionRequest,
) -> Result<v1::StartExecutionResponse, Error> {
    if request.mode() == v1::Mode::SyncExpress {
        let message = "a synchronous execution is started with StartSyncExecution";
        return Err(invalid("StateMachineTypeNotSupported", message.to_owned()));
    }
    start_as_asked(node, request).await
}

/// One start by a plain client: it joins a batch, and is answered when that is durable.
async fn start_as_asked(
    node: &Arc<NodeContext>,
    request: v1::StartExecutionRequest,
) -> Result<v1::StartExecutionResponse, Error> {
    if node.health.is_draining() {
        return Err(Error::Draining);
    }
    if !node.health.is_serving() {
        // A start that is let in now would wait as long as the store is away.
        let message = "the node does not serve now: it is starting, its store does not answer, or another node has taken its partitions".to_owned();
        return Err(Error::NotDurable { message, retry_after: super::dispatch::RETRY_AFTER });
    }
    let asked = ask_for(node, &request)?;
    let definition_hash = match (request.definition.is_empty(), request.definition_hash.len()) {
        (false, _) => {
            let hash = put(node, request.definition.clone(), dialect(request.dialect())).await?;
            Bytes::copy_from_slice(&hash)
        }
        (true, 32) => request.definition_hash.clone(),
        (true, length) => {
            let message = format!(
                "neither `definition` nor `definition_hash` is given (the hash has {length} bytes; SHA-256 has 32)"
            );
            return Err(invalid("InvalidDefinition", message));
        }
    };
    let machine = v1::Machine {
        arn: asked.machine.to_string(),
        definition_hash,
        mode: v1::Mode::from(asked.mode).into(),
        dialect: request.dialect,
        retention_seconds: request.retention_seconds,
        role_arn: request.role_arn,
        logging: request.logging,
        origin: request.origin,
    };
    let input = if request.input.is_empty() { Bytes::from_static(b"{}") } else { request.input };
    let (reply, started) = oneshot::channel();
    let name = asked.name.clone();
    let start = Start { machine, input, name, partition: asked.partition, trace: request.trace, reply };
    node.starts.try_send(start).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Error::Overloaded {
            what: "the queue of plain starts",
            limit: super::dispatch::QUEUE_MAX as u64,
            retry_after: super::dispatch::RETRY_AFTER,
        },
        mpsc::error::TrySendError::Closed(_) => Error::Draining,
    })?;
    let started = started.await.map_err(|_| Error::ShardGone)??;
    let name = if asked.name.is_empty() { started.id.to_string() } else { asked.name };
    Ok(v1::StartExecutionResponse {
        execution_id: started.id.to_string(),
        execution_arn: asked.machine.execution(asked.mode, &name, started.id),
        start_time_ms: started.start_time_ms,
    })
}
