//! registrar: keeps this broker known to one name server. Each name server has its own, so that a dead one blocks none.
//!
//! - [`link`]: the connection, which is a [`native_link`] to a name server of CastMQ, or a [`remoting_link`] to one of RocketMQ.
//! - [`parts`]: registrations that do not fit one frame.
//! - [`questions`]: where topics are, for others who want to know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use castmq_protocol::native::route::{DataVersion, RegisterBroker, Registered, TopicsReport};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use self::link::{Goodbye, Link, RegisterError};
use self::questions::Questions;
use crate::broker::context::BrokerContext;
use crate::supervision::{Cast, Ctx, Failure, Receive};

mod link;
mod native_link;
mod parts;
pub(crate) mod questions;
mod remoting_link;

/// After a failure, the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time between tries of a broker that is refused.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// After a connection was lost, the first try: soon, since the name server has forgotten the broker.
const RECONNECT: Duration = Duration::from_millis(100);

/// Time for saying goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// Topics have changed.
#[derive(Debug)]
pub(crate) struct RegisterNow;

/// See the module.
pub(crate) struct Registrar {
    context: Arc<BrokerContext>,
    name_server: String,
    link: Option<Link>,
    /// What is spoken over it, also while somebody uses it.
    protocol: Option<&'static str>,
    /// The state that the name server has confirmed over this connection.
    confirmed: Option<DataVersion>,
    is_busy: bool,
    is_called_again: bool,
    /// The time for the next try has not come.
    is_pausing: bool,
    /// How long to wait when the name server refuses the broker again.
    refused_pause: Duration,
    /// Over this connection the name server has told of an epoch after this master's.
    knows_better: bool,
    last_error: Option<String>,
    questions: Questions,
}

/// What the live tree shows.
#[derive(Debug, Serialize)]
pub(crate) struct RegistrarState {
    name_server: String,
    /// What is spoken with it: `castmq` or `rocketmq`.
    protocol: Option<&'static str>,
    is_registered: bool,
    /// The set's master, as all name servers together know it.
    master: Option<String>,
    /// The set's brokers, as all name servers together know them.
    members: BTreeMap<u64, String>,
    last_error: Option<String>,
}

/// What came of a try.
struct Told {
    link: Link,
    /// The state of the topics that was told.
    version: DataVersion,
    registered: Registered,
}

impl Registrar {
    pub(crate) fn new(context: Arc<BrokerContext>, name_server: String) -> Self {
        Self {
            context,
            name_server,
            link: None,
            protocol: None,
            confirmed: None,
            is_busy: false,
            is_called_again: false,
            is_pausing: false,
            refused_pause: RETRY,
            knows_better: false,
            last_error: None,
            questions: Questions::default(),
        }
    }

    fn register(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_pausing {
            return;
        }
        if self.is_busy {
            self.is_called_again = true;
            return;
        }
        if self.is_outdated() {
            return;
        }
        self.is_busy = true;
        let context = self.context.clone();
        let name_server = self.name_server.clone();
        let link = self.link.take();
        let confirmed = self.confirmed.filter(|_| link.is_some());
        let telling = async move {
            let link = match link {
                Some(link) => link,
                None => Link::open(&name_server, client_id(&context)).await?,
            };
            tell(&context, &name_server, link, confirmed).await
        };
        ctx.then(telling, Self::told);
    }

    fn told(&mut self, result: Result<Told, RegisterError>, ctx: &mut Ctx<'_, Self>) {
        self.is_busy = false;
        let again = std::mem::take(&mut self.is_called_again);
        let told = match result {
            Ok(told) => told,
            Err(error) => {
                let pause = match error.is_refusal() {
                    true => self.next_refused_pause(),
                    false => RETRY,
                };
                self.not_registered(error.to_string());
                self.questions.forget();
                self.context.set.tried(&self.name_server);
                return self.pause(pause, ctx);
            }
        };
        self.protocol = Some(told.link.protocol());
        self.link = Some(told.link);
        self.refused_pause = RETRY;
        self.context.set.hear(&self.name_server, &told.registered);
        self.context.look_for_another_master();
        self.context.set.tried(&self.name_server);
        self.knows_better = is_outdated_by(&self.context, &told.registered);
        if let Some(reason) = outdated(&self.context) {
            self.not_registered(reason);
            return self.ask_on(ctx);
        }
        if self.last_error.take().is_some() || self.confirmed.is_none() {
            tracing::info!(
                name_server = self.name_server,
                "registered with the name server"
            );
        }
        self.confirmed = Some(told.version);
        self.context.told.confirm(&self.name_server, told.version);
        self.context.registered.notify_one();
        if again || self.context.topics.version() != told.version {
            self.register(ctx);
        }
        self.ask_on(ctx);
    }

    /// A master that was replaced goes: a name server that does not know of it yet would send producers here. Those that
    /// know it are asked on, for where the new one is.
    fn is_outdated(&mut self) -> bool {
        let Some(reason) = outdated(&self.context) else {
            return false;
        };
        if self.link.is_some() && self.knows_better {
            return false;
        }
        self.link = None;
        self.not_registered(reason);
        true
    }

    fn watch_set(&mut self, mut changes: watch::Receiver<()>, ctx: &mut Ctx<'_, Self>) {
        let changed = async move {
            // It is told as long as there is a context, which the actor has.
            let _ = changes.changed().await;
            changes
        };
        ctx.then(changed, |registrar, changes, ctx| {
            registrar.is_outdated();
            registrar.watch_set(changes, ctx);
        });
    }

    fn next_refused_pause(&mut self) -> Duration {
        let pause = self.refused_pause;
        self.refused_pause = (pause * 2).min(LONGEST_RETRY);
        pause
    }

    /// Says why, once: it is tried again and again.
    fn not_registered(&mut self, reason: String) {
        if self.last_error.as_ref() != Some(&reason) {
            tracing::warn!(
                name_server = self.name_server,
                reason,
                "not registered with the name server"
            );
        }
        if self.link.is_none() {
            self.protocol = None;
            self.knows_better = false;
            self.context.set.lose(&self.name_server);
        }
        self.confirmed = None;
        self.context.told.lose(&self.name_server);
        self.last_error = Some(reason);
    }

    fn pause(&mut self, pause: Duration, ctx: &mut Ctx<'_, Self>) {
        self.is_pausing = true;
        ctx.after(pause, |registrar, ctx| {
            registrar.is_pausing = false;
            registrar.register(ctx);
        });
    }

    /// Between registrations the name server tells what changes in the set, and of the end of the connection.
    fn watch(&mut self, ctx: &mut Ctx<'_, Self>, cx: &mut Context<'_>) {
        while let Some(link) = &mut self.link {
            match link.poll_push(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(registered)) => {
                    self.context.set.hear(&self.name_server, &registered);
                }
                Poll::Ready(Err(error)) => {
                    self.link = None;
                    self.not_registered(error.to_string());
                    self.questions.forget();
                    self.pause(RECONNECT, ctx);
                }
            }
        }
    }
}

/// Tells a name server what it does not know. Where that is not clear it is asked first: what is told then costs the same
/// whatever topics there are.
async fn tell(
    context: &BrokerContext,
    name_server: &str,
    mut link: Link,
    confirmed: Option<DataVersion>,
) -> Result<Told, RegisterError> {
    let known = confirmed.unwrap_or_else(|| context.topics.version());
    let (mut version, mut topics) = context.topics.report(Some(known));
    let mut registered = link
        .register(registration(context, version, topics))
        .await?;
    // Once with what changed since the state that it knows, once with everything.
    for is_last in [false, true] {
        if registered.version == version || is_outdated_by(context, &registered) {
            break;
        }
        let since = Some(registered.version).filter(|_| !is_last);
        (version, topics) = context.topics.report(since);
        registered = link
            .register(registration(context, version, topics))
            .await?;
    }
    if registered.version != version && !is_outdated_by(context, &registered) {
        return Err(RegisterError::NotTaken(name_server.to_owned()));
    }
    Ok(Told {
        link,
        version,
        registered,
    })
}

/// Whether a name server says that another master came after this one.
fn is_outdated_by(context: &BrokerContext, registered: &Registered) -> bool {
    let standing = &context.standing;
    !standing.is_slave() && registered.master_epoch > standing.epoch
}

/// Why this broker is not its set's master any more, if any name server says so.
fn outdated(context: &BrokerContext) -> Option<String> {
    let standing = &context.standing;
    let known = context.set.epoch();
    if standing.is_slave() || known <= standing.epoch {
        return None;
    }
    let master = context.set.master().filter(|master| master.epoch == known);
    Some(format!(
        "another broker, {}, was made the master of {} in epoch {known}: this one, of epoch {}, is not the master any more",
        master.map_or("which is not there".to_owned(), |master| master.address),
        context.settings.broker.name,
        standing.epoch
    ))
}

fn client_id(context: &BrokerContext) -> String {
    let name = &context.settings.broker.name;
    format!("{name}:{}", context.standing.id)
}

fn registration(
    context: &BrokerContext,
    version: DataVersion,
    topics: TopicsReport,
) -> RegisterBroker {
    let settings = &context.settings;
    let broker = &settings.broker;
    // A slave takes none.
    let ha_address = context.ha_address.get();
    RegisterBroker {
        cluster: broker.cluster_name.clone(),
        broker: broker.name.clone(),
        broker_id: context.standing.id,
        configured_id: broker.id.into(),
        epoch: context.standing.epoch,
        address: context.store_host.to_string(),
        ha_address: ha_address.map_or_else(String::new, SocketAddr::to_string),
        expiry_ms: u32::try_from(settings.name_server.broker_expiry_ms).unwrap_or(u32::MAX),
        version,
        topics,
    }
}

impl Cast for Registrar {
    type State = RegistrarState;

    fn started(&mut self, ctx: &mut Ctx<'_, Self>) -> Result<(), Failure> {
        let interval = self.context.settings.broker.register_interval_ms;
        ctx.every(Duration::from_millis(interval), Self::register);
        ctx.poll_with(|registrar, ctx, cx| {
            registrar.watch(ctx, cx);
            Poll::Pending
        });
        self.watch_set(self.context.set.changes(), ctx);
        self.register(ctx);
        Ok(())
    }

    fn stopping(&mut self, ctx: &mut Ctx<'_, Self>) {
        let Some(link) = self.link.take() else {
            return;
        };
        let broker = &self.context.settings.broker;
        let goodbye = link.say_goodbye(Goodbye {
            cluster: broker.cluster_name.clone(),
            broker: broker.name.clone(),
            broker_id: self.context.standing.id,
            address: self.context.store_host.to_string(),
        });
        let hold = ctx.hold();
        ctx.spawn(async move {
            let _ = timeout(GOODBYE_WITHIN, goodbye).await;
            drop(hold);
        });
    }

    fn observe(&self) -> RegistrarState {
        RegistrarState {
            name_server: self.name_server.clone(),
            protocol: self.protocol,
            is_registered: self.confirmed.is_some(),
            master: self.context.set.master().map(|master| master.address),
            members: self.context.set.members(),
            last_error: self.last_error.clone(),
        }
    }
}

impl Receive<RegisterNow> for Registrar {
    fn receive(&mut self, RegisterNow: RegisterNow, ctx: &mut Ctx<'_, Self>) {
        self.register(ctx);
    }
}
