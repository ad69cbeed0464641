//! The client handle and its builder.

use crate::{
    admin::Admin, consumer::ConsumerBuilder, core::Core, error::Error, name_servers::NameServers,
    producer::ProducerBuilder, transport::Identity, worker::Worker,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Name servers asked when none are given.
pub const DEFAULT_NAME_SERVER: &str = "127.0.0.1:9876";

/// A connection to a RingMQ cluster. Clones are cheap and share all connections.
///
/// ```no_run
/// # async fn example() -> Result<(), ringmq::Error> {
/// let client = ringmq::Client::builder().namesrv(["127.0.0.1:9876"]).build().await?;
/// let producer = client.producer().build();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    core: Arc<Core>,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    name_servers: Vec<String>,
    client_id: Option<String>,
    connect_timeout: Duration,
    request_timeout: Duration,
    connect_lazily: bool,
}

impl Client {
    /// Starts with the default settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            name_servers: Vec::new(),
            client_id: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            connect_lazily: false,
        }
    }

    /// A producer; one serves any number of topics and tasks.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.core))
    }

    /// A consumer; add topics and, usually, a group.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.core))
    }

    /// A consumer that runs a handler for each message, several at a time.
    pub fn worker(&self, topic: impl Into<String>, group: impl Into<String>) -> Worker {
        Worker::new(self.consumer().topic(topic).group(group))
    }

    /// Topics, groups, single messages, the cluster.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.core))
    }

    /// The name under which servers know this client.
    pub fn client_id(&self) -> &str {
        &self.core.client_id
    }
}

impl ClientBuilder {
    /// The name servers, `host:port` each; any one of them will do. Default: [`DEFAULT_NAME_SERVER`].
    pub fn namesrv<S: Into<String>>(mut self, addresses: impl IntoIterator<Item = S>) -> Self {
        self.name_servers = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Shown in listings and logs; must be unique. Default: made from host name, process id and a random number.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Bound on one attempt to connect. Default 3 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Deadline of one administrative operation, retries included. Default 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Lets [`Self::build`] succeed while no name server can be reached.
    pub fn connect_lazily(mut self, lazily: bool) -> Self {
        self.connect_lazily = lazily;
        self
    }

    /// Starts the client; must be called within a tokio runtime.
    pub async fn build(self) -> Result<Client, Error> {
        let mut addresses = self.name_servers;
        if addresses.is_empty() {
            addresses.push(DEFAULT_NAME_SERVER.to_owned());
        }
        if let Some(bad) = addresses
            .iter()
            .find(|address| !looks_like_address(address))
        {
            let why = "a name server address is host:port";
            return Err(Error::invalid("build client", bad, why));
        }
        let client_id = self.client_id.unwrap_or_else(default_client_id);
        if client_id.is_empty() || client_id.len() > ringmq_wire::limits::CLIENT_ID_BYTES_MAX {
            return Err(Error::invalid(
                "build client",
                &client_id,
                "a client id has 1 to 255 bytes",
            ));
        }
        let start = rand::random_range(0..addresses.len());
        let identity = Identity {
            client_id: client_id.clone(),
            connect_timeout: self.connect_timeout,
        };
        let name_servers = NameServers::new(addresses, start);
        let core = Core::start(client_id, identity, name_servers, self.request_timeout);
        if !self.connect_lazily {
            let servers = core.name_servers.all();
            let deadline = Instant::now() + self.connect_timeout.min(self.request_timeout);
            let reached = core.name_server(deadline).await;
            reached.map_err(|e| e.during("connect to a name server", servers))?;
        }
        Ok(Client { core })
    }
}

fn looks_like_address(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn default_client_id() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|h| !h.is_empty());
    let host = host.unwrap_or_else(|| "host".to_owned());
    let host: String = host
        .chars()
        .filter(char::is_ascii_graphic)
        .take(100)
        .collect();
    format!(
        "{host}@{}@{:08x}",
        std::process::id(),
        rand::random::<u32>()
    )
}
