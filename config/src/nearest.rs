//! What a misspelled key was meant to be.

use crate::rocketmq;
use crate::settings::{SECTIONS, keys};

/// Likeness from which a guess helps more than it misleads.
const LIKE_ENOUGH: f64 = 0.6;

/// The key of ours that `given` most likely stands for; RocketMQ's names count.
pub(crate) fn nearest_key(given: &str) -> Option<String> {
    let last = last_part(given);
    if let Some(info) = keys().find(|info| info.rule.rocketmq_names.contains(&last)) {
        return Some(info.key.to_owned());
    }
    // What stands in no section may be one.
    let sections = SECTIONS.iter().filter(|_| !given.contains('.'));
    let names = sections.map(|section| section.name);
    best(given, keys().map(|info| info.key).chain(names))
}

/// The name in a RocketMQ file that `given` most likely stands for: one of RocketMQ's or one of ours.
pub(crate) fn nearest_rocketmq_name(given: &str) -> Option<String> {
    best(
        given,
        rocketmq::known_names().chain(keys().map(|info| info.key)),
    )
}

fn best<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    for name in known {
        let likeness = likeness(given, name);
        if likeness >= LIKE_ENOUGH && best.is_none_or(|(score, _)| likeness > score) {
            best = Some((likeness, name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

/// 0.0 to 1.0: how alike two keys are, with or without their sections, whatever their case.
fn likeness(given: &str, known: &str) -> f64 {
    let (given, known) = (given.to_ascii_lowercase(), known.to_ascii_lowercase());
    let whole = strsim::normalized_damerau_levenshtein(&given, &known);
    // A right name in a wrong section is worth a little less than a wrong letter in the right one.
    let names = strsim::normalized_damerau_levenshtein(last_part(&given), last_part(&known));
    whole.max(names * 0.9)
}

fn last_part(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_keys_are_recognized() {
        let guess = |given| nearest_key(given).unwrap_or_default();
        assert_eq!(guess("store.dat_dir"), "store.data_dir");
        assert_eq!(guess("broker.keep_hours"), "retention.keep_hours");
        assert_eq!(guess("dataDir"), "store.data_dir");
        assert_eq!(guess("broker.brokerClusterName"), "broker.cluster_name");
        assert_eq!(guess("brokr"), "broker");
        assert_eq!(nearest_key("replication.qqqq"), None);
        assert_eq!(nearest_key("zzz.qqqqqqqqqqqq"), None);
    }

    #[test]
    fn rocketmqs_names_are_recognized_in_its_files() {
        let guess = |given| nearest_rocketmq_name(given).unwrap_or_default();
        assert_eq!(guess("brokerNmae"), "brokerName");
        assert_eq!(guess("flushDiskTyp"), "flushDiskType");
        assert_eq!(guess("limits.max_frame_byte"), "limits.max_frame_bytes");
    }
}
