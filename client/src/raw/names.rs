//! What requests are called in errors.

use castmq_protocol::native::Request;

/// What a request is called in errors.
pub(crate) fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Hello(_) => "hello",
        Request::Heartbeat => "heartbeat",
        Request::AnnounceTopic { .. } => "announce topic",
        Request::AnnounceGroup { .. } => "announce group",
        Request::Send(_) => "send",
        Request::SendBatch(_) => "send batch",
        Request::Subscribe(_) => "subscribe",
        Request::Credit { .. } => "credit",
        Request::Unsubscribe { .. } => "unsubscribe",
        Request::Pull(_) => "pull",
        Request::CommitOffsets { .. } => "commit offsets",
        Request::QueryOffset { .. } => "query offset",
        Request::QueueRange { .. } => "queue range",
        Request::OffsetAtTime { .. } => "offset at time",
        Request::JoinGroup(_) => "join group",
        Request::LeaveGroup { .. } => "leave group",
        Request::ReleaseQueues { .. } => "release queues",
        Request::Route { .. } => "route",
        Request::RegisterBroker(_) => "register broker",
        Request::UnregisterBroker { .. } => "unregister broker",
        Request::Admin(_) => "admin request",
        Request::SendBack(_) => "send back",
        Request::JoinProducers { .. } => "join producers",
        Request::EndTransaction(_) => "end transaction",
        Request::CancelDelivery { .. } => "cancel delivery",
        Request::Pop(_) => "pop",
        Request::Acknowledge(_) => "acknowledge",
        Request::ChangeInvisible(_) => "change invisible time",
        Request::TakeReplies => "take replies",
        Request::SendReply(_) => "send reply",
        Request::ReplyTaken { .. } => "reply taken",
        Request::Follow(_) => "follow",
        Request::SyncMetadata(_) => "sync metadata",
    }
}
