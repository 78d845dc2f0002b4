//! Writing traces.

use std::fmt::{self, Write};

use super::{FIELD_END, NONE, RECORD_END, TraceRecord};
use crate::native::request::Resolution;

/// Adds a record to a body.
pub fn encode(record: &TraceRecord, body: &mut String) {
    let mut fields = Fields {
        body,
        is_first: true,
    };
    match record {
        TraceRecord::Produced(sent) => {
            fields.add("Pub");
            fields.add(sent.timestamp_ms);
            fields.add(&sent.region);
            fields.add(&sent.group);
            fields.add(&sent.topic);
            fields.add(&sent.message_id);
            fields.add_some(&sent.tag);
            fields.add_some(&sent.keys);
            fields.add_some(&sent.store_host);
            fields.add(sent.body_bytes);
            fields.add(sent.cost_ms);
            fields.add(sent.kind as u8);
            fields.add_some(&sent.stored_id);
            fields.add(sent.is_success);
            if sent.client_host.is_some() {
                fields.add_some(&sent.client_host);
            }
        }
        TraceRecord::Delivered(begun) => {
            fields.add("SubBefore");
            fields.add(begun.timestamp_ms);
            fields.add(&begun.region);
            fields.add(&begun.group);
            fields.add(&begun.request_id);
            fields.add(&begun.message_id);
            fields.add(begun.retries);
            fields.add_some(&begun.keys);
        }
        TraceRecord::Acknowledged(done) => {
            fields.add("SubAfter");
            fields.add(&done.request_id);
            fields.add(&done.message_id);
            fields.add(done.cost_ms);
            fields.add(done.is_success);
            fields.add_some(&done.keys);
            fields.add(done.outcome as u8);
            fields.add(done.timestamp_ms);
            fields.add(&done.group);
        }
        TraceRecord::TransactionEnded(ended) => {
            fields.add("EndTransaction");
            fields.add(ended.timestamp_ms);
            fields.add(&ended.region);
            fields.add(&ended.group);
            fields.add(&ended.topic);
            fields.add(&ended.message_id);
            fields.add_some(&ended.tag);
            fields.add_some(&ended.keys);
            fields.add_some(&ended.store_host);
            fields.add(ended.kind as u8);
            fields.add(&ended.transaction_id);
            fields.add(match ended.resolution {
                Resolution::Commit => "COMMIT_MESSAGE",
                Resolution::Rollback => "ROLLBACK_MESSAGE",
                Resolution::Unknown => "UNKNOW",
            });
            fields.add(ended.from_check);
        }
    }
    body.push(RECORD_END);
}

struct Fields<'a> {
    body: &'a mut String,
    is_first: bool,
}

impl Fields<'_> {
    fn add(&mut self, value: impl fmt::Display) {
        if !std::mem::take(&mut self.is_first) {
            self.body.push(FIELD_END);
        }
        let start = self.body.len();
        // Writing to a string cannot fail.
        let _ = write!(Plain(self.body), "{value}");
        if self.body.len() == start {
            self.body.push_str(NONE);
        }
    }

    fn add_some(&mut self, value: &Option<String>) {
        self.add(value.as_deref().unwrap_or_default());
    }
}

/// Leaves out what would end a field.
struct Plain<'a>(&'a mut String);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let ends = |letter: char| matches!(letter, FIELD_END | RECORD_END);
        self.0.extend(text.split(ends));
        Ok(())
    }
}
