//! Replies to requests: each is handed to its requester, whichever wire that speaks.

use castmq_protocol::remoting::headers::send::{SendMessage, SendMessageResponse};
use castmq_protocol::remoting::response_code;

use super::*;
use crate::delivery::requesters::PushReply;
use crate::network::replying::Replying;
use crate::supervision::{Lost, Receive, Reply};

/// It is known what became of a reply.
#[derive(Debug)]
pub(super) struct Replied {
    asker: Asker,
    in_flight_bytes: u64,
    outcome: Result<Result<(), Refusal>, Lost>,
}

impl RemotingSession {
    pub(super) fn send_reply(
        &mut self,
        asked: &Asked<'_>,
        batch: &mut Collected,
        ctx: &Ctx<'_, Self>,
    ) -> Handled {
        let header = SendMessage::from_fields(asked.command.code, &asked.command.fields)?;
        let reply = Replying {
            flag: header.flag,
            sys_flag: header.sys_flag,
            born_timestamp_ms: header.born_timestamp_ms,
            properties: header.properties.unwrap_or_default().as_bytes(),
            body: asked.body.bytes,
        };
        reply.check(&self.sending)?;
        let properties = batch.keep(reply.properties);
        reply.store(&self.context, properties, asked.body.range(), batch);
        let peer = self.connection.peer();
        let (requester, record) = reply.for_requester(&self.context, peer, &self.sending)?;
        let in_flight_bytes = record.len() as u64;
        self.sending.take(in_flight_bytes);
        self.under_way += 1;
        let asker = asked.asker;
        // One that is not taken comes back as lost.
        requester.tell(PushReply {
            record: record.into(),
            outcome: Reply::to_mailbox(ctx.me().mailbox(), move |outcome| Replied {
                asker,
                in_flight_bytes,
                outcome,
            }),
        });
        Ok(())
    }
}

impl Receive<Replied> for RemotingSession {
    fn receive(&mut self, replied: Replied, _ctx: &mut Ctx<'_, Self>) {
        self.under_way -= 1;
        self.sending.give_back(replied.in_flight_bytes);
        let fields = SendMessageResponse {
            message_id: "",
            queue: 0,
            queue_offset: 0,
            transaction_id: None,
            batch_unique_id: None,
            recall_handle: None,
            region: None,
            trace_on: None,
        };
        let remark = match replied.outcome {
            Ok(Ok(())) => return self.connection.respond(replied.asker, &fields, b""),
            Ok(Err(refusal)) => refusal.message,
            Err(Lost) => "the requester's connection ended before it took the reply".to_owned(),
        };
        let said = (response_code::SYSTEM_ERROR, Some(remark.as_str()));
        self.connection
            .respond_as(replied.asker, said, &fields, b"");
    }
}
