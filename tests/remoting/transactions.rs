//! Half messages.

use castmq_protocol::model::PhysicalOffset;
use castmq_protocol::record::{MessageId, RecordView};
use castmq_protocol::remoting::headers::transaction::{EndTransaction, TRANSACTION_COMMIT};
use castmq_protocol::remoting::request_code;

use crate::messages::{broker, message, pull, send};
use crate::support::{read_until, run, started, stop, text, with_queues};
use crate::wire::Wire;

#[test]
fn a_half_message_is_seen_when_its_producer_says_so_or_was_asked() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.transaction_timeout_ms = 50;
        settings.broker.transaction_check_interval_ms = 20;
        settings.broker.transaction_check_max = 100_000;
        let (node, client) = started(&settings).await;
        let mut wire = Wire::open(&broker(&node)).await;
        wire.heartbeat("one", "g", "paid").await;
        let half = |id: &'static str| castmq_protocol::remoting::headers::send::SendMessage {
            properties: Some(id),
            sys_flag: 4,
            ..message("paid")
        };
        let at_once = half("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}producers\u{2}UNIQ_KEY\u{1}a");
        let sent = send(&mut wire, at_once, "at once").await;
        let place: MessageId = sent.field("msgId").parse().expect("an id");
        let end = |half_queue_offset, physical_offset| EndTransaction {
            topic: None,
            producer_group: "producers",
            half_queue_offset,
            physical_offset,
            decision: TRANSACTION_COMMIT,
            from_check: false,
            message_id: "a",
            transaction_id: None,
            broker_name: None,
        };
        let offset = sent.field("queueOffset").parse().expect("an offset");
        let end_first = end(offset, place.physical_offset.0 as i64);
        wire.ask(request_code::END_TRANSACTION, &end_first, b"")
            .await;

        let later = half("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}producers\u{2}UNIQ_KEY\u{1}b");
        send(&mut wire, later, "asked").await;
        let asked = loop {
            let asked = wire.told(request_code::CHECK_TRANSACTION_STATE).await;
            if asked.field("msgId") == "b" {
                break asked;
            }
        };
        let shown = RecordView::parse(&asked.body).expect("a record");
        assert_eq!((shown.topic(), shown.body()), (Ok("paid"), &b"asked"[..]));
        let number = |name| asked.field(name).parse().expect("a number");
        let end_second = end(number("tranStateTableOffset"), number("commitLogOffset"));
        wire.ask(request_code::END_TRANSACTION, &end_second, b"")
            .await;
        let read = read_until(&client, "paid", |read| read.len() >= 2).await;
        assert_eq!(
            read.iter().map(text).collect::<Vec<_>>(),
            ["at once", "asked"]
        );
        stop(node).await;
    });
}

#[test]
fn a_half_message_that_was_given_up_is_asked_about_anew_when_an_operator_wants_that() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = with_queues(folder.path(), 1);
        settings.broker.transaction_timeout_ms = 1;
        settings.broker.transaction_check_interval_ms = 10;
        settings.broker.transaction_check_max = 1;
        let (node, _client) = started(&settings).await;
        let mut wire = Wire::open(&broker(&node)).await;
        wire.heartbeat("one", "g", "paid").await;
        let half = castmq_protocol::remoting::headers::send::SendMessage {
            properties: Some("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}producers\u{2}UNIQ_KEY\u{1}a"),
            sys_flag: 4,
            ..message("paid")
        };
        let sent = send(&mut wire, half, "half").await;
        wire.told(request_code::CHECK_TRANSACTION_STATE).await;
        let aside = pull("g", "TRANS_CHECK_MAX_TIME_TOPIC", 0);
        let aside = loop {
            let came = wire.ask(request_code::PULL_MESSAGE, &aside, b"").await;
            if !came.body.is_empty() {
                break came;
            }
        };
        let record = RecordView::parse(&aside.body).expect("a record");
        let id = MessageId {
            store_host: record.store_host(),
            physical_offset: PhysicalOffset(record.physical_offset() as u64),
        };
        let code = request_code::RESUME_CHECK_HALF_MESSAGE;
        // The one that was settled is open no more.
        let settled = [("msgId", sent.field("msgId"))];
        let refused = wire.ask(code, &settled, b"").await;
        assert_eq!(refused.code, 1, "{}", refused.remark);
        let id = id.to_string();
        let resumed = wire.ask(code, &[("msgId", id.as_str())], b"").await;
        assert_eq!(resumed.code, 0, "{}", resumed.remark);
        let asked = wire.told(request_code::CHECK_TRANSACTION_STATE).await;
        assert_eq!(asked.field("tranStateTableOffset"), "1");
        let shown = RecordView::parse(&asked.body).expect("a record");
        assert_eq!(shown.body(), b"half");
        stop(node).await;
    });
}
