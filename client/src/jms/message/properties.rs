//! Typed properties, in RocketMQ's properties of strings and a note of their types.

use std::collections::BTreeMap;

use castmq_protocol::model::jms_keys::{self, type_code, type_of};
use castmq_protocol::model::keys;

use super::value::{FromValue, Value, double_text, float_text};
use crate::jms::error::{Error, Result};

/// Names that mean something to brokers and clients (RocketMQ `MessageConst`), beside those that begin with `JMS` and those
/// that brokers alone set.
const RESERVED: [&str; 46] = [
    keys::KEYS,
    keys::TAGS,
    keys::WAIT,
    keys::UNIQ_KEY,
    keys::CHECK_IMMUNITY_SECONDS,
    keys::SHARDING_KEY,
    keys::TRACE_CONTEXT,
    jms_keys::PRIORITY,
    jms_keys::EXPIRES_AT,
    "EXTEND_UNIQ_INFO",
    "DUP_INFO",
    "BUYER_ID",
    "MSG_REGION",
    "TRACE_ON",
    keys::CLUSTER,
    "INSTANCE_ID",
    "__BORNHOST",
    "BORN_TIMESTAMP",
    "TRANSFER_FLAG",
    "CORRECTION_FLAG",
    "MQ2_FLAG",
    "TIMER_DELAY_SEC",
    "TIMER_DELAY_MS",
    "TIMER_DELIVER_MS",
    "TIMER_ENQUEUE_MS",
    "TIMER_DEQUEUE_MS",
    "TIMER_DELAY_LEVEL",
    "RECONSUME_TIME",
    "MAX_RECONSUME_TIMES",
    "CONSUME_START_TIME",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TRANSACTION_CHECK_TIMES",
    "MIN_OFFSET",
    "MAX_OFFSET",
    "POP_CK",
    "POP_CK_OFFSET",
    keys::CORRELATION_ID,
    keys::REPLY_TO_CLIENT,
    keys::TTL,
    "ARRIVE_TIME",
    keys::MESSAGE_TYPE,
    "INNER_NUM",
    "INNER_BASE",
    "INNER_MULTI_DISPATCH",
    "INNER_MULTI_QUEUE_OFFSET",
    "REDIRECT",
];

/// Words of the selector language.
const KEYWORDS: [&str; 11] = [
    "NULL", "TRUE", "FALSE", "NOT", "AND", "OR", "BETWEEN", "LIKE", "IN", "IS", "ESCAPE",
];

/// A message's own properties.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Properties(BTreeMap<String, Value>);

impl Properties {
    pub(super) fn set(&mut self, name: &str, value: Value) -> Result<()> {
        check_name(name)?;
        let is_encodable = match &value {
            Value::Null | Value::Char(_) | Value::Bytes(_) => {
                return Err(Error::format(format!(
                    "property {name:?} cannot be a {}: take a boolean, number or string",
                    value.type_name()
                )));
            }
            Value::Text(text) => !text.contains(['\u{1}', '\u{2}']),
            _ => true,
        };
        if !is_encodable {
            return Err(Error::format(format!(
                "property {name:?} contains the separator \\x01 or \\x02: remove it, or use the body"
            )));
        }
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    pub(super) fn get<T: FromValue>(&self, name: &str) -> Result<Option<T>> {
        let value = self.0.get(name).map(T::from_value).transpose();
        value.map_err(|error| Error::format(format!("property {name:?}: {error}")))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The pairs to store, the note of their types among them.
    pub(super) fn store(&self, mut add: impl FnMut(&str, &str) -> Result<()>) -> Result<()> {
        let mut types = String::new();
        for (name, value) in &self.0 {
            let (code, text) = stored_form(value);
            if let Some(code) = code {
                if !types.is_empty() {
                    types.push(',');
                }
                types.push_str(name);
                types.push('=');
                types.push(code);
            }
            if !text.is_empty() {
                add(name, &text)?;
            }
        }
        if !types.is_empty() {
            add(jms_keys::TYPES, &types)?;
        }
        Ok(())
    }

    /// Reads stored pairs: what is no property of a user's is passed over, and what is not of its noted type is a string.
    pub(super) fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, types: &str) -> Self {
        let mut properties = BTreeMap::new();
        for (name, text) in pairs {
            if check_name(name).is_ok() {
                let value = typed(text, type_of(types, name));
                properties.insert(name.to_owned(), value);
            }
        }
        let pairs = types.split(',').filter_map(|pair| pair.split_once('='));
        let empty = pairs.filter(|(_, code)| code.starts_with(type_code::EMPTY));
        for (name, _) in empty.filter(|(name, _)| check_name(name).is_ok()) {
            properties.insert(name.to_owned(), Value::Text(String::new()));
        }
        Self(properties)
    }
}

/// A value's type code, none for a string, and its text.
fn stored_form(value: &Value) -> (Option<char>, String) {
    match value {
        Value::Bool(truth) => (Some(type_code::BOOL), truth.to_string()),
        Value::Byte(number) => (Some(type_code::BYTE), number.to_string()),
        Value::Short(number) => (Some(type_code::SHORT), number.to_string()),
        Value::Int(number) => (Some(type_code::INT), number.to_string()),
        Value::Long(number) => (Some(type_code::LONG), number.to_string()),
        Value::Float(number) => (Some(type_code::FLOAT), float_text(*number)),
        Value::Double(number) => (Some(type_code::DOUBLE), double_text(*number)),
        Value::Text(text) if text.is_empty() => (Some(type_code::EMPTY), String::new()),
        Value::Text(text) => (None, text.clone()),
        // No properties, as `set` sees to.
        Value::Null | Value::Char(_) | Value::Bytes(_) => (None, String::new()),
    }
}

fn typed(text: &str, code: Option<char>) -> Value {
    let string = Value::Text(text.to_owned());
    let read = match code {
        Some(type_code::BOOL) => bool::from_value(&string).map(Value::Bool),
        Some(type_code::BYTE) => i8::from_value(&string).map(Value::Byte),
        Some(type_code::SHORT) => i16::from_value(&string).map(Value::Short),
        Some(type_code::INT) => i32::from_value(&string).map(Value::Int),
        Some(type_code::LONG) => i64::from_value(&string).map(Value::Long),
        Some(type_code::FLOAT) => f32::from_value(&string).map(Value::Float),
        Some(type_code::DOUBLE) => f64::from_value(&string).map(Value::Double),
        _ => return string,
    };
    read.unwrap_or(string)
}

/// Names are those that selectors can name, and nobody else gives a meaning to.
fn check_name(name: &str) -> Result<()> {
    let refused = |reason: &str| Err(Error::format(format!("property name {name:?} {reason}")));
    let begins = |first: char| first.is_alphabetic() || matches!(first, '_' | '$');
    if !name.starts_with(begins) || !name.chars().all(|c| begins(c) || c.is_numeric()) {
        return refused("is no name: begin with a letter, _ or $, and go on with those and digits");
    }
    if KEYWORDS.iter().any(|word| name.eq_ignore_ascii_case(word)) {
        return refused("is a word of the selector language: choose another one");
    }
    if name.starts_with("JMS") {
        return refused("is JMS's, as all that begin with JMS: set headers by their own functions");
    }
    if RESERVED.contains(&name) || keys::OF_BROKERS.contains(&name) {
        return refused("has a meaning to the broker: choose another one");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(properties: &Properties) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let add = |name: &str, value: &str| {
            pairs.push((name.to_owned(), value.to_owned()));
            Ok(())
        };
        properties.store(add).unwrap();
        pairs
    }

    fn read(pairs: &[(String, String)]) -> Properties {
        let types = pairs.iter().find(|(name, _)| name == jms_keys::TYPES);
        let types = types.map_or("", |(_, types)| types);
        Properties::of(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())), types)
    }

    #[test]
    fn types_are_noted_beside_plain_text() {
        let mut properties = Properties::default();
        properties.set("count", 5.into()).unwrap();
        properties.set("region", "eu".into()).unwrap();
        properties.set("empty", "".into()).unwrap();
        let pairs = stored(&properties);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("count", "5"),
                ("region", "eu"),
                ("JMS_CastMQ_Types", "count=i,empty=e")
            ]
        );
    }

    #[test]
    fn reserved_and_impossible_names_are_refused_with_a_reason() {
        let mut properties = Properties::default();
        for (name, reason) in [
            ("", "is no name"),
            ("1a", "is no name"),
            ("a b", "is no name"),
            ("a.b", "is no name"),
            ("like", "selector language"),
            ("JMSXUserID", "is JMS's"),
            ("JMSFoo", "is JMS's"),
            ("JMS_Vendor", "is JMS's"),
            ("KEYS", "meaning to the broker"),
            ("EXPIRES_AT", "meaning to the broker"),
            ("__SHARDINGKEY", "meaning to the broker"),
            ("PSEQ", "meaning to the broker"),
        ] {
            let error = properties.set(name, 1.into()).unwrap_err();
            assert!(matches!(error, Error::MessageFormat(_)));
            assert!(error.to_string().contains(reason), "{name}: {error}");
        }
        for value in [Value::Null, 'c'.into(), vec![1_u8].into(), "a\u{1}b".into()] {
            assert!(properties.set("a", value).is_err());
        }
        assert_eq!(properties, Properties::default());
    }

    #[test]
    fn what_is_not_of_its_noted_type_is_a_string() {
        let pairs = [
            ("a".to_owned(), "x".to_owned()),
            ("b".to_owned(), "300".to_owned()),
            ("KEYS".to_owned(), "k".to_owned()),
            (
                jms_keys::TYPES.to_owned(),
                "a=i,b=y,c,=,KEYS=e,d=q".to_owned(),
            ),
        ];
        let properties = read(&pairs);
        assert_eq!(properties.iter().count(), 2);
        assert_eq!(properties.get::<Value>("a").unwrap(), Some("x".into()));
        assert_eq!(properties.get::<Value>("b").unwrap(), Some("300".into()));
        assert_eq!(properties.get::<i32>("none").unwrap(), None);
        let error = properties.get::<i32>("a").unwrap_err();
        assert!(error.to_string().contains("property \"a\""), "{error}");
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>()
                .prop_filter("equal to itself", |n| !n.is_nan())
                .prop_map(Value::from),
            any::<f64>()
                .prop_filter("equal to itself", |n| !n.is_nan())
                .prop_map(Value::from),
            "[^\x01\x02]{0,9}".prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn what_was_set_is_read_with_its_type(values in prop::collection::btree_map("[a-zß_$][a-z0-9_$]{0,5}x", value(), 0..9)) {
            let mut properties = Properties::default();
            for (name, value) in values {
                properties.set(&name, value).unwrap();
            }
            prop_assert_eq!(read(&stored(&properties)), properties);
        }
    }
}
