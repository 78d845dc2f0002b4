//! Sends that are like the one before, which the broker understands without decoding them: what is said in each still counts.

use std::collections::HashSet;

use castmq_protocol::model::property_value;
use castmq_protocol::record::RecordView;
use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::headers::topic_admin::DeleteTopic;
use castmq_protocol::remoting::{request_code, response_code};

use crate::messages::{bodies, broker, message, node, pull, send};
use crate::support::{run, stop};
use crate::wire::{Came, Wire};

/// Sends messages that are like each other but for their properties and queues, and tells what was answered to each.
async fn answers(wire: &mut Wire, sends: &[(i32, &str)]) -> Vec<Came> {
    let mut answers = Vec::new();
    for (number, (queue, properties)) in sends.iter().enumerate() {
        let alike = SendMessage {
            queue: *queue,
            born_timestamp_ms: 1_700_000_000_000 + number as i64,
            properties: Some(properties),
            ..message("t")
        };
        let code = request_code::SEND_MESSAGE_V2;
        let body = format!("body {number}");
        let fields = alike.for_code(code);
        answers.push(wire.ask(code, &fields, body.as_bytes()).await);
    }
    answers
}

/// The properties of so many messages as they are stored, behind the first.
async fn stored_properties(wire: &mut Wire, count: usize) -> Vec<Vec<u8>> {
    let mut stored = Vec::new();
    while stored.len() < count {
        let from = 1 + stored.len() as i64;
        let code = request_code::PULL_MESSAGE;
        let pulled = wire.ask(code, &pull("g", "t", from), b"").await;
        let mut rest = &pulled.body[..];
        while let Ok(record) = RecordView::parse(rest) {
            stored.push(record.properties().to_vec());
            rest = &rest[record.total_bytes()..];
        }
    }
    stored
}

#[test]
fn each_has_its_own_queue_properties_and_id() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("t"), "first").await;
        let sends = [
            (0, "UNIQ_KEY\u{1}own\u{2}"),
            (0, ""),
            (-1, "A\u{1}\"quoted\" and \\\u{2}"),
            (7, "UNIQ_KEY\u{1}wrong queue\u{2}"),
            (0, "DELAY\u{1}1\u{2}UNIQ_KEY\u{1}late\u{2}"),
            (0, "UNIQ_KEY\u{1}again\u{2}WAIT\u{1}false\u{2}"),
        ];
        let came = answers(&mut wire, &sends).await;
        let codes: Vec<_> = came.iter().map(|came| came.code).collect();
        let (ok, wrong) = (response_code::SUCCESS, response_code::INVALID_PARAMETER);
        assert_eq!(codes, [ok, ok, ok, wrong, ok, ok]);
        let ids = [0, 4, 5].map(|number: usize| came[number].field("transactionId"));
        assert_eq!(ids, ["own", "late", "again"]);
        // Those that were given one.
        assert_eq!(came[1].field("transactionId").len(), 32);
        assert_ne!(
            came[1].field("transactionId"),
            came[2].field("transactionId")
        );
        let offsets = [0, 1, 2].map(|number: usize| came[number].field("queueOffset"));
        assert_eq!(offsets, ["1", "2", "3"]);

        // The late one comes when it is due.
        let pulled = loop {
            let code = request_code::PULL_MESSAGE;
            let pulled = wire.ask(code, &pull("g", "t", 0), b"").await;
            if bodies(&pulled).len() == 6 {
                break pulled;
            }
        };
        let bodies = bodies(&pulled).into_iter().map(|(body, _)| body);
        let mut bodies: Vec<_> = bodies.collect();
        bodies.sort();
        let all = ["body 0", "body 1", "body 2", "body 4", "body 5", "first"];
        assert_eq!(bodies, all);
        stop(node).await;
    });
}

#[test]
fn what_differs_in_its_id_alone_is_stored_with_it() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("t"), "first").await;
        let id = |number: usize| format!("{number:032X}");
        let like = |number| format!("A\u{1}b\u{2}UNIQ_KEY\u{1}{}\u{2}KEYS\u{1}k", id(number));
        let mut properties: Vec<_> = (0..300).map(like).collect();
        // Others between them, and so many that another one is kept.
        properties[1] = like(1) + "1";
        properties[2] = like(2) + "\u{2}DELAY\u{1}0";
        properties[3] = format!("UNIQ_KEY\u{1}{}\u{2}", id(3));
        let others =
            (0..600).map(|number| format!("KEYS\u{1}{number}\u{2}UNIQ_KEY\u{1}{}", id(number)));
        properties.extend(others);
        let sends: Vec<_> = properties.iter().map(|text| (0, text.as_str())).collect();
        let came = answers(&mut wire, &sends).await;
        for (number, came) in came.iter().enumerate() {
            let expected = if number < 300 { number } else { number - 300 };
            assert_eq!(came.field("transactionId"), id(expected));
            assert_eq!(came.field("queueOffset"), (number + 1).to_string());
        }
        let stored = stored_properties(&mut wire, properties.len()).await;
        for (told, stored) in properties.iter().zip(&stored) {
            let told = told.trim_end_matches('\u{2}');
            assert!(stored.starts_with(told.as_bytes()), "{told:?}");
            let of_broker = stored.get(told.len()..).expect("more");
            assert_eq!(property_value(of_broker, "TRACE_ON"), Some("true"));
            assert_eq!(property_value(of_broker, "UNIQ_KEY"), None);
        }
        stop(node).await;
    });
}

#[test]
fn what_has_no_id_is_given_one_that_is_its_own() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("t"), "first").await;
        let kinds = [
            None,
            Some(""),
            Some("A\u{1}b\u{2}"),
            Some("A\u{1}\"b\"\u{2}WAIT\u{1}false"),
        ];
        // Each kind is like the one before for a while, and then they come by turns.
        let rows = (0..200).map(|number| kinds[number / 50]);
        let sends: Vec<_> = rows
            .chain((0..100).map(|number| kinds[number % 4]))
            .collect();
        let mut ids = Vec::new();
        for properties in &sends {
            let nameless = SendMessage {
                properties: *properties,
                ..message("t")
            };
            let sent = send(&mut wire, nameless, "nameless").await;
            ids.push(sent.field("transactionId").to_owned());
        }
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), sends.len());
        let stored = stored_properties(&mut wire, sends.len()).await;
        for ((told, id), stored) in sends.iter().zip(&ids).zip(&stored) {
            let told = told.unwrap_or_default().trim_end_matches('\u{2}');
            assert!(stored.starts_with(told.as_bytes()), "{told:?}");
            assert!(stored.ends_with(format!("UNIQ_KEY\u{1}{id}\u{2}").as_bytes()));
            assert_eq!(property_value(stored, "TRACE_ON"), Some("true"));
        }
        stop(node).await;
    });
}

#[test]
fn a_topic_that_was_deleted_is_made_anew_for_them() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        send(&mut wire, message("t"), "before").await;
        send(&mut wire, message("t"), "before").await;
        let mut operator = Wire::open(&broker(&node)).await;
        let code = request_code::DELETE_TOPIC_IN_BROKER;
        let deleted = operator.ask(code, &DeleteTopic { topic: "t" }, b"").await;
        assert_eq!(deleted.code, response_code::SUCCESS, "{}", deleted.remark);
        // Offsets are never given twice under one name.
        for offset in ["2", "3"] {
            let sent = send(&mut wire, message("t"), "after").await;
            assert_eq!(sent.field("queueOffset"), offset);
        }
        let code = request_code::PULL_MESSAGE;
        let pulled = wire.ask(code, &pull("g", "t", 2), b"").await;
        assert_eq!(bodies(&pulled).len(), 2);
        stop(node).await;
    });
}

#[test]
fn one_connection_may_send_to_any_number_of_topics_by_turns() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, _client, mut wire) = node(folder.path()).await;
        let topics: Vec<String> = (0..20).map(|number| format!("topic-{number}")).collect();
        for round in 0..10 {
            for topic in &topics {
                let sent = send(&mut wire, message(topic), "x").await;
                assert_eq!(sent.field("queueOffset"), round.to_string(), "{topic}");
            }
        }
        stop(node).await;
    });
}
