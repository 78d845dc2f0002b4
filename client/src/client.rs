//! The client: what producers, consumers and admin made from it share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::GroupName;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;

use crate::admin::Admin;
use crate::consumer::{PopConsumerBuilder, PullConsumerBuilder, PushConsumerBuilder};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::name_servers::NameServers;
use crate::producer::{ProducerBuilder, TransactionProducerBuilder};
use crate::raw::{Dial, Options, Role, Tcp};
use crate::routes::{Routes, master};
use crate::trace::{Trace, Tracer};

/// Where a name server is when nothing else is said.
pub const DEFAULT_NAME_SERVER: &str = "127.0.0.1:9876";

/// Makes producers, consumers and admins, which share its connections and routes.
///
/// Cheap to clone. Connections close when the client and all that was made from it are gone. A connection that is lost is
/// made again when it is needed, with growing pauses between attempts.
///
/// # Examples
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> castmq_client::Result<()> {
/// use castmq_client::{Client, Message};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let producer = client.producer().build();
/// let receipt = producer.send(Message::new("orders", "hello")).await?;
/// println!("stored as {receipt}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// The shared connections, by address and role, in the order in which they are closed.
type Links = BTreeMap<(Arc<str>, Role), Arc<Link>>;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client_id: String,
    pub(crate) routes: Routes,
    connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    dial: Arc<dyn Dial>,
    /// Where tasks run, whoever starts them.
    pub(crate) runtime: Handle,
    links: Mutex<Links>,
    /// How many push consumers of each group this client has had.
    members: Mutex<HashMap<GroupName, u32>>,
    pub(crate) tracer: Arc<Tracer>,
}

impl Client {
    /// Connects through a name server, or several separated by `;`, with every setting as it comes.
    ///
    /// # Errors
    ///
    /// When the name server cannot be reached.
    pub async fn connect(name_server: impl Into<String>) -> Result<Self> {
        Self::builder().name_servers([name_server]).build().await
    }

    /// Settings first.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Makes a producer.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Makes a consumer that is given messages, as a member of a group.
    pub fn push_consumer(&self, group: &str) -> PushConsumerBuilder {
        PushConsumerBuilder::new(self.clone(), group)
    }

    /// Makes a consumer that asks for messages itself.
    pub fn pull_consumer(&self, group: &str) -> PullConsumerBuilder {
        PullConsumerBuilder::new(self.clone(), group)
    }

    /// Makes a consumer that takes messages to be acknowledged one by one.
    pub fn pop_consumer(&self, group: &str) -> PopConsumerBuilder {
        PopConsumerBuilder::new(self.clone(), group)
    }

    /// Settings of a producer of a group whose messages are seen when they are committed.
    pub fn transaction_producer(&self, group: &str) -> TransactionProducerBuilder {
        TransactionProducerBuilder::new(self.clone(), group)
    }

    /// What operators do.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// The name under which brokers show this client.
    pub fn id(&self) -> &str {
        &self.shared.client_id
    }

    /// Waits until what was [traced](Trace) before is sent, or dropped: before a program ends, say.
    pub async fn flush_traces(&self) {
        self.shared.tracer.flush().await;
    }

    /// Records of traces that were dropped: brokers did not take them, or not as fast as they came.
    pub fn traces_dropped(&self) -> u64 {
        self.shared.tracer.dropped()
    }

    /// The shared connection to an address in a role.
    pub(crate) fn link(&self, address: &Arc<str>, role: Role) -> Arc<Link> {
        let mut links = self.shared.links.lock();
        let entry = links.entry((address.clone(), role));
        let link = entry.or_insert_with(|| self.private_link(address, role, self.id()));
        link.clone()
    }

    /// The shared connection to the master of one of a topic's broker sets. Where that is is asked again when what is known is
    /// older than `max_age`.
    pub(crate) async fn master(
        &self,
        topic: &Arc<str>,
        broker: &str,
        role: Role,
        max_age: Duration,
    ) -> Result<Arc<Link>> {
        let found = self.shared.routes.find(topic, max_age).await?;
        let sets = found.as_ref().map_or(&[][..], |route| &route.brokers);
        let set = sets.iter().find(|set| set.name == broker);
        let set = set.ok_or_else(|| Error::BrokerNotFound {
            broker: broker.into(),
        })?;
        let address = master(set).ok_or_else(|| Error::NoQueue {
            topic: topic.clone(),
            reason: format!("broker {broker} has no master now").into(),
        })?;
        Ok(self.link(&address.into(), role))
    }

    /// A connection that nobody shares.
    pub(crate) fn private_link(&self, address: &Arc<str>, role: Role, id: &str) -> Arc<Link> {
        Arc::new(Link::new(address.clone(), self.options(role, id)))
    }

    pub(crate) fn options(&self, role: Role, id: &str) -> Options {
        Options::new(role, id)
            .connect_timeout(self.shared.connect_timeout)
            .request_timeout(self.shared.request_timeout)
            .dial(self.shared.dial.clone())
    }

    /// An id for one more member of a group: the client's own for the first, with a number behind it for others.
    pub(crate) fn member_id(&self, group: &GroupName) -> String {
        let mut members = self.shared.members.lock();
        let count = members.entry(group.clone()).or_insert(0);
        *count += 1;
        match *count {
            1 => self.id().to_owned(),
            n => format!("{}/{n}", self.id()),
        }
    }
}

/// Settings of a [`Client`].
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> castmq_client::Result<()> {
/// use std::time::Duration;
/// use castmq_client::Client;
///
/// let client = Client::builder()
///     .name_servers(["10.0.0.1:9876", "10.0.0.2:9876"])
///     .client_id("billing-7")
///     .request_timeout(Duration::from_secs(5))
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    name_servers: Vec<String>,
    client_id: Option<String>,
    connect_timeout: Duration,
    request_timeout: Duration,
    dial: Option<Arc<dyn Dial>>,
    trace: Trace,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            name_servers: vec![DEFAULT_NAME_SERVER.to_owned()],
            client_id: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(3),
            dial: None,
            trace: Trace::ByTopic,
        }
    }
}

impl ClientBuilder {
    /// Addresses of name servers, host and port. Default: `127.0.0.1:9876`. One of them, any, is asked until it fails, then
    /// the next. While none answers, producers and consumers go on with what they know.
    ///
    /// One string may hold several, separated by `;` or `,`, as RocketMQ's `NAMESRV_ADDR` does.
    pub fn name_servers<S: Into<String>>(mut self, addresses: impl IntoIterator<Item = S>) -> Self {
        let lists = addresses.into_iter().map(Into::into);
        self.name_servers = lists.flat_map(|list| addresses_in(&list)).collect();
        self
    }

    /// The name under which brokers show the client. Must be unique among the members of a group. Default: the local
    /// address, the process id, and a random number.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// How long connecting may take. Default: 3 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take, for everything but sending, which has a timeout of its own. Default: 3 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Which messages are traced. Default: those of topics that say so.
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// Where byte streams come from, in place of TCP.
    pub fn dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = Some(dial);
        self
    }

    /// Connects to a name server.
    ///
    /// # Errors
    ///
    /// When none can be reached.
    pub async fn build(mut self) -> Result<Client> {
        let Some(first) = self.name_servers.first() else {
            return Err(Error::setting(
                "no name server is configured: name at least one",
            ));
        };
        let client_id = match self.client_id.take() {
            Some(id) => id,
            None if self.dial.is_none() => generated_id(local_ip(first).await),
            None => generated_id(None),
        };
        let dial = self.dial.take().unwrap_or_else(|| Arc::new(Tcp));
        let traces = self.client(format!("{client_id}/traces"), &dial, Tracer::none());
        let client = self.client(client_id, &dial, Tracer::new(self.trace, traces));
        let servers = client.shared.routes.name_servers();
        servers.ask(|_| std::future::ready(Ok(()))).await?;
        Ok(client)
    }

    /// A client in a network, without having looked for a name server.
    #[cfg(test)]
    pub(crate) fn offline(self, dial: Arc<dyn Dial>) -> Client {
        self.client("test".to_owned(), &dial, Tracer::none())
    }

    fn client(&self, client_id: String, dial: &Arc<dyn Dial>, tracer: Tracer) -> Client {
        let options = Options::new(Role::Admin, client_id.as_str())
            .connect_timeout(self.connect_timeout)
            .request_timeout(self.request_timeout)
            .dial(dial.clone());
        let server =
            |address: &String| Arc::new(Link::new(address.as_str().into(), options.clone()));
        let servers = NameServers::new(self.name_servers.iter().map(server).collect());
        let tracer = Arc::new(tracer);
        let runtime = Handle::current();
        Client {
            shared: Arc::new(Shared {
                client_id,
                routes: Routes::new(servers, tracer.clone(), runtime.clone()),
                connect_timeout: self.connect_timeout,
                request_timeout: self.request_timeout,
                dial: dial.clone(),
                runtime,
                links: Mutex::new(BTreeMap::new()),
                members: Mutex::new(HashMap::new()),
                tracer,
            }),
        }
    }
}

fn addresses_in(list: &str) -> Vec<String> {
    let addresses = list.split([';', ',']).map(str::trim);
    let present = addresses.filter(|address| !address.is_empty());
    present.map(str::to_owned).collect()
}

/// RocketMQ's form, `ip@instance`, with the process and a random number as the instance.
fn generated_id(ip: Option<IpAddr>) -> String {
    let ip = ip.map_or_else(|| "localhost".to_owned(), |ip| ip.to_string());
    format!("{ip}@{}#{:08x}", std::process::id(), fastrand::u32(..))
}

/// The local address from which `towards` is reached. Nothing is sent.
async fn local_ip(towards: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.ok()?;
    socket.connect(towards).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn name_servers_may_come_in_one_string_and_there_must_be_one() {
        let builder = Client::builder().name_servers(["a:1; b:2", "c:3,"]);
        assert_eq!(builder.name_servers, ["a:1", "b:2", "c:3"]);
        let nowhere = Client::connect(" ; ").await;
        assert!(matches!(nowhere, Err(Error::Setting(_))));
    }
}
