//! Takes the replies that come from brokers.

use std::sync::Arc;

use castmq_protocol::model::keys;
use castmq_protocol::native::{Request, Response, Role};

use super::kept::Keeping;
use super::outstanding::Outstanding;
use crate::client::Client;
use crate::error::Result;
use crate::link::Session;
use crate::message::ReceivedMessage;
use crate::raw::{Payload, Push, Pushes};

/// See the module.
#[derive(Debug)]
pub(super) struct Replies {
    pub(super) client: Client,
    /// Names this side to brokers: replies are sent to it.
    pub(super) id: Arc<str>,
    pub(super) outstanding: Arc<Outstanding>,
}

impl Keeping for Replies {
    const FOR: &'static str = "replies";

    async fn open(&self, address: &str) -> Result<(Arc<Session>, Pushes)> {
        let options = self.client.options(Role::Producer, &self.id);
        let (session, pushes) = Session::open(address, &options).await?;
        match session.ask(Request::TakeReplies).await?.header.response {
            Response::Done => Ok((Arc::new(session), pushes)),
            _ => Err(session.unexpected("take replies")),
        }
    }

    fn take(&self, session: &Arc<Session>, push: Push) {
        let Response::Reply(pushed) = push.response else {
            return;
        };
        let reply = ReceivedMessage::from_record(push.payload);
        let is_awaited = reply.is_ok_and(|reply| {
            let correlation = reply.property(keys::CORRELATION_ID).map(str::to_owned);
            correlation.is_some_and(|correlation| self.outstanding.settle(&correlation, reply))
        });
        let taken = Request::ReplyTaken {
            number: pushed.number,
            is_awaited,
        };
        // On a connection that has ended there is nobody to tell.
        let _ = session.connection.tell(taken, Payload::none());
    }
}
