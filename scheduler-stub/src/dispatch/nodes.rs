//! Connections to nodes: one channel for each address, made when first used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{self, PutDefinitionRequest};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use trust::Trust;

use crate::error::Error;
use crate::templates::Template;

/// How long a node may take to answer a call that is no stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message in either direction, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Addresses that keep their channel. Beyond, all are forgotten and made anew.
const CHANNELS_MAX: usize = 4_096;

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Clients of nodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct NodeClients {
    channels: Arc<Mutex<HashMap<Arc<str>, Channel>>>,
    trust: Option<Trust>,
}

/// The endpoint of `host:port` or of a URL.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|error| {
        Error::invalid(
            "InvalidAddress",
            format!("{address:?} is no address ({error}): give HOST:PORT, or http://HOST:PORT"),
        )
    })?;
    Ok(trust::lively(endpoint)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

impl NodeClients {
    /// Clients that show our certificate and ask for the nodes'; plain text without.
    #[must_use]
    pub fn new(trust: Option<Trust>) -> Self {
        Self { channels: Arc::default(), trust: trust.map(|trust| trust.towards_nodes()) }
    }

    /// The client of a node's or a shard's port. Connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the address is none.
    pub fn client(&self, address: &str) -> Result<ExecutorClient<Channel>, Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let channel = trust::channel_lazy(&endpoint(address)?, self.trust.as_ref());
                if channels.len() >= CHANNELS_MAX {
                    channels.clear();
                }
                channels.insert(address.into(), channel.clone());
                channel
            }
        };
        Ok(ExecutorClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Gives a node a definition that it lacks.
    ///
    /// # Errors
    /// What the node answers.
    pub async fn put_definition(&self, address: &str, template: &Template) -> Result<(), Status> {
        let dialect = match template.dialect {
            asl::Dialect::Asl => v1::Dialect::Asl,
            asl::Dialect::Tcsl => v1::Dialect::Tcsl,
        };
        let message =
            PutDefinitionRequest { definition: template.definition.clone(), dialect: dialect.into() };
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        self.client(address).map_err(Status::from)?.put_definition(request).await?;
        Ok(())
    }
}
