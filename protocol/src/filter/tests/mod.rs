//! What the filters promise, rule by rule.

mod agreement;
mod jms;
mod jms_message;
mod naive;
mod refused;
mod rocketmq;
mod sketch;
mod tags;

/// Properties in the text form, separators included, whatever the pairs contain.
fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs = pairs.iter();
    pairs
        .flat_map(|(name, value)| [name, "\x01", value, "\x02"].concat().into_bytes())
        .collect()
}
