//! Answers what brokers ask about transactions that nobody ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use castmq_protocol::model::{PhysicalOffset, QueueOffset, keys};
use castmq_protocol::native::request::{EndTransaction, Resolution};
use castmq_protocol::native::{Request, Response, Role};

use super::kept::Keeping;
use super::traced::TracedTransaction;
use crate::client::Client;
use crate::error::Result;
use crate::link::Session;
use crate::message::{Origin, ReceivedMessage};
use crate::raw::{Push, Pushes};

pub(super) type Checking = Pin<Box<dyn Future<Output = Resolution> + Send>>;
pub(super) type Checker = Arc<dyn Fn(ReceivedMessage) -> Checking + Send + Sync>;

/// Answers one broker's questions.
pub(super) struct Checks {
    pub(super) client: Client,
    pub(super) group: Arc<str>,
    pub(super) checker: Checker,
}

impl Keeping for Checks {
    const FOR: &'static str = "transactions";

    async fn open(&self, address: &str) -> Result<(Arc<Session>, Pushes)> {
        let options = self.client.options(Role::Producer, self.client.id());
        let (session, pushes) = Session::open(address, &options).await?;
        let group = self.group.as_ref().to_owned();
        match session
            .ask(Request::JoinProducers { group })
            .await?
            .header
            .response
        {
            Response::Done => Ok((Arc::new(session), pushes)),
            _ => Err(session.unexpected("join producers")),
        }
    }

    fn take(&self, session: &Arc<Session>, push: Push) {
        let Response::CheckTransaction(check) = push.response else {
            return;
        };
        let Some((checking, traced)) = self.check(session, push.payload) else {
            return;
        };
        let session = session.clone();
        tokio::spawn(async move {
            let resolution = checking.await;
            if let Some(traced) = traced {
                traced.end(resolution, true);
            }
            if let Err(error) = end(&session, check.half, check.place, resolution).await {
                tracing::debug!(%error, "a transaction could not be settled, it will be asked about again");
            }
        });
    }
}

impl Checks {
    fn check(
        &self,
        session: &Session,
        mut record: bytes::Bytes,
    ) -> Option<(Checking, Option<Box<TracedTransaction>>)> {
        let origin = |topic: &str| {
            Arc::new(Origin {
                topic: topic.into(),
                broker: session.broker.clone(),
            })
        };
        let message = ReceivedMessage::take(&mut record, Some(&origin("")));
        let message = message.inspect_err(|error| {
            tracing::warn!(%error, "a half message cannot be read");
        });
        let message = message.ok()?;
        let topic = message.property(keys::REAL_TOPIC).unwrap_or_default();
        let traced = TracedTransaction::new(
            &self.client.shared.tracer,
            &self.group,
            topic,
            session,
            |name| message.property(name),
        );
        let origin = origin(topic);
        Some(((self.checker)(message.of(origin)), traced))
    }
}

/// Tells a broker what becomes of a transaction.
pub(super) async fn end(
    session: &Session,
    half: QueueOffset,
    place: PhysicalOffset,
    resolution: Resolution,
) -> Result<()> {
    let request = Request::EndTransaction(EndTransaction {
        half,
        place,
        resolution,
    });
    match session.ask(request).await?.header.response {
        Response::Done => Ok(()),
        _ => Err(session.unexpected("end transaction")),
    }
}
