//! Reading traces, those of RocketMQ's older clients too.

use std::str::FromStr;

use super::{
    Acknowledged, Consumed, Delivered, FIELD_END, MessageKind, NONE, Produced, RECORD_END,
    TraceError, TraceRecord, TransactionEnded,
};
use crate::native::request::Resolution;

/// The records of a body, in order. One that cannot be read leaves those behind it readable.
pub fn decode(body: &str) -> impl Iterator<Item = Result<TraceRecord, TraceError>> {
    let records = body.split(RECORD_END);
    records.filter(|record| !record.is_empty()).map(record)
}

fn record(text: &str) -> Result<TraceRecord, TraceError> {
    let fields: Vec<_> = text.split(FIELD_END).collect();
    let named = |kind| Fields {
        kind,
        fields: &fields,
    };
    match fields.first().copied().unwrap_or_default() {
        "Pub" => produced(&named("Pub")).map(TraceRecord::Produced),
        "SubBefore" => delivered(&named("SubBefore")).map(TraceRecord::Delivered),
        "SubAfter" => acknowledged(&named("SubAfter")).map(TraceRecord::Acknowledged),
        "EndTransaction" => ended(&named("EndTransaction")).map(TraceRecord::TransactionEnded),
        other => Err(TraceError::Kind {
            kind: other.chars().take(40).collect(),
        }),
    }
}

fn produced(fields: &Fields<'_>) -> Result<Produced, TraceError> {
    // Before there were ids that say where a message is stored, the outcome stood in their place.
    let has_stored_id = fields.count() > 13;
    Ok(Produced {
        timestamp_ms: fields.parsed(1)?,
        region: fields.text(2)?,
        group: fields.text(3)?,
        topic: fields.text(4)?,
        message_id: fields.text(5)?,
        tag: fields.some(6)?,
        keys: fields.some(7)?,
        store_host: fields.some(8)?,
        body_bytes: fields.parsed(9)?,
        cost_ms: fields.parsed(10)?,
        kind: fields.kind(11)?,
        stored_id: match has_stored_id {
            true => fields.some(12)?,
            false => None,
        },
        is_success: fields.parsed(if has_stored_id { 13 } else { 12 })?,
        client_host: match fields.count() {
            15.. => fields.some(14)?,
            _ => None,
        },
    })
}

fn delivered(fields: &Fields<'_>) -> Result<Delivered, TraceError> {
    Ok(Delivered {
        timestamp_ms: fields.parsed(1)?,
        region: fields.text(2)?,
        group: fields.text(3)?,
        request_id: fields.text(4)?,
        message_id: fields.text(5)?,
        retries: fields.parsed(6)?,
        keys: fields.some(7)?,
    })
}

fn acknowledged(fields: &Fields<'_>) -> Result<Acknowledged, TraceError> {
    let is_success = fields.parsed(4)?;
    let count = fields.count();
    Ok(Acknowledged {
        request_id: fields.text(1)?,
        message_id: fields.text(2)?,
        cost_ms: fields.parsed(3)?,
        is_success,
        keys: fields.some(5)?,
        outcome: match count {
            7.. => fields.outcome(6)?,
            _ if is_success => Consumed::Success,
            _ => Consumed::Failed,
        },
        timestamp_ms: if count > 7 { fields.parsed(7)? } else { 0 },
        group: match count {
            9.. => fields.text(8)?,
            _ => String::new(),
        },
    })
}

fn ended(fields: &Fields<'_>) -> Result<TransactionEnded, TraceError> {
    Ok(TransactionEnded {
        timestamp_ms: fields.parsed(1)?,
        region: fields.text(2)?,
        group: fields.text(3)?,
        topic: fields.text(4)?,
        message_id: fields.text(5)?,
        tag: fields.some(6)?,
        keys: fields.some(7)?,
        store_host: fields.some(8)?,
        kind: fields.kind(9)?,
        transaction_id: fields.text(10)?,
        resolution: match fields.raw(11)? {
            "COMMIT_MESSAGE" => Resolution::Commit,
            "ROLLBACK_MESSAGE" => Resolution::Rollback,
            "UNKNOW" => Resolution::Unknown,
            _ => return Err(fields.wrong(11)),
        },
        from_check: fields.parsed(12)?,
    })
}

struct Fields<'a> {
    kind: &'static str,
    fields: &'a [&'a str],
}

impl<'a> Fields<'a> {
    fn count(&self) -> usize {
        self.fields.len()
    }

    fn wrong(&self, place: usize) -> TraceError {
        let text = self.fields.get(place).copied().unwrap_or_default();
        TraceError::Field {
            kind: self.kind,
            place,
            text: text.chars().take(40).collect(),
        }
    }

    fn raw(&self, place: usize) -> Result<&'a str, TraceError> {
        let field = self.fields.get(place).copied();
        field.ok_or_else(|| self.wrong(place))
    }

    fn text(&self, place: usize) -> Result<String, TraceError> {
        self.raw(place).map(str::to_owned)
    }

    fn some(&self, place: usize) -> Result<Option<String>, TraceError> {
        let field = self.raw(place)?;
        Ok((!matches!(field, "" | NONE)).then(|| field.to_owned()))
    }

    fn parsed<T: FromStr>(&self, place: usize) -> Result<T, TraceError> {
        self.raw(place)?.parse().map_err(|_| self.wrong(place))
    }

    fn kind(&self, place: usize) -> Result<MessageKind, TraceError> {
        Ok(match self.raw(place)? {
            "0" => MessageKind::Normal,
            "1" => MessageKind::Half,
            "2" => MessageKind::Committed,
            "3" => MessageKind::Delayed,
            "4" => MessageKind::Ordered,
            _ => return Err(self.wrong(place)),
        })
    }

    fn outcome(&self, place: usize) -> Result<Consumed, TraceError> {
        Ok(match self.raw(place)? {
            "0" => Consumed::Success,
            "1" => Consumed::TimedOut,
            "2" => Consumed::Exception,
            "3" => Consumed::ReturnedNull,
            "4" => Consumed::Failed,
            _ => return Err(self.wrong(place)),
        })
    }
}
