//! The generated parts of `docs/configuration.md`, so that no key is documented otherwise than it works.

use std::fmt::Write;

use thiserror::Error;

use crate::key::{Adjust, Kind};
use crate::rocketmq::not_yet::NOT_YET;
use crate::rocketmq::unmapped::{NEEDS_NONE, REFUSED};
use crate::settings::{SECTIONS, Settings};
use crate::{KeyInfo, keys};

/// A part of the document that is generated, between `<!-- generated: name -->` and `<!-- end -->`.
struct Part {
    name: &'static str,
    text: fn() -> String,
}

const PARTS: &[Part] = &[
    Part {
        name: "keys",
        text: key_tables,
    },
    Part {
        name: "rocketmq keys",
        text: rocketmq_table,
    },
    Part {
        name: "without effect",
        text: without_effect_table,
    },
    Part {
        name: "not yet",
        text: not_yet_table,
    },
    Part {
        name: "refused",
        text: refused_table,
    },
];

const END: &str = "<!-- end -->";

/// A document that cannot take the generated parts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the document has no place for the generated part {name:?}: it needs the lines {begin} and {END}"
)]
pub struct NoPlace {
    name: &'static str,
    begin: String,
}

/// Puts the generated parts into `document`, each between its marks, in the place of what was there.
///
/// # Errors
///
/// When the marks of a part are missing.
pub fn filled(document: &str) -> Result<String, NoPlace> {
    PARTS
        .iter()
        .try_fold(document.to_owned(), |document, part| {
            let begin = format!("<!-- generated: {} -->", part.name);
            let place = document.split_once(&begin).and_then(|(before, after)| {
                let (_, after) = after.split_once(END)?;
                Some(format!(
                    "{before}{begin}\n\n{}\n{END}{after}",
                    (part.text)()
                ))
            });
            place.ok_or(NoPlace {
                name: part.name,
                begin,
            })
        })
}

fn key_tables() -> String {
    let defaults = Settings::default();
    let tables = SECTIONS.iter().map(|section| {
        let mut table = format!("### `[{}]`\n\n{}\n\n", section.name, prose(section.about));
        table.push_str(
            "| Key | Default | Values | Takes effect | What it is |\n|---|---|---|---|---|\n",
        );
        for info in section.keys {
            let default = info.value_in(&defaults);
            let _ = writeln!(
                table,
                "| `{}` | `{}` | {} | {} | {} |",
                info.key,
                default,
                values(info),
                info.rule.effect,
                prose(info.doc),
            );
        }
        table
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn values(info: &KeyInfo) -> String {
    let allowed = info.rule.allowed();
    let allowed = match info.rule.kind {
        Kind::Choice(_) => format!("`{}`", allowed.replace(", ", "`, `")),
        _ => allowed,
    };
    if info.rule.optional {
        format!("{allowed}, or unset")
    } else {
        allowed
    }
}

fn rocketmq_table() -> String {
    let mut table = "| RocketMQ | CastMQ | Read as |\n|---|---|---|\n".to_owned();
    for info in keys() {
        for name in info.rule.rocketmq_names {
            let _ = writeln!(table, "| `{name}` | `{}` | {} |", info.key, read_as(info));
        }
    }
    table
}

/// What happens to a value on its way from RocketMQ's key to ours.
fn read_as(info: &KeyInfo) -> String {
    let rule = &info.rule;
    match (rule.kind, rule.rocketmq_adjust) {
        (Kind::Choice(choices), _) => {
            let pairs = choices.iter().filter_map(|choice| {
                let rocketmq = choice.rocketmq?;
                Some(format!("`{rocketmq}` is `{}`", choice.value))
            });
            pairs.collect::<Vec<_>>().join(", ")
        }
        (_, Some(Adjust::Clamp { min, max })) => {
            format!("brought to {min} to {max}, with a warning")
        }
        (_, Some(Adjust::RoundUp)) => {
            let step = rule.range.map_or(1, |range| range.step);
            format!("rounded up to a multiple of {step}, with a warning")
        }
        (Kind::Socket, _) => "together: address and port".to_owned(),
        (Kind::HostPorts | Kind::Integers, _) => "separated by `;`".to_owned(),
        (Kind::Integer(_), _) if rule.optional => "0 is unset".to_owned(),
        _ if rule.rocketmq_scale != 1 => format!("times {}", rule.rocketmq_scale),
        _ => "the same".to_owned(),
    }
}

fn without_effect_table() -> String {
    let mut table = "| RocketMQ | Why it needs no setting |\n|---|---|\n".to_owned();
    for group in NEEDS_NONE {
        let names = group.names.join("`, `");
        let _ = writeln!(table, "| `{names}` | {} |", group.reason);
    }
    table
}

fn not_yet_table() -> String {
    let mut table = "| RocketMQ | Its default | It would |\n|---|---|---|\n".to_owned();
    for not_yet in NOT_YET {
        let default = match not_yet.default {
            "" => "–".to_owned(),
            default => format!("`{default}`"),
        };
        let _ = writeln!(
            table,
            "| `{}` | {default} | {} |",
            not_yet.name, not_yet.would
        );
    }
    table
}

fn refused_table() -> String {
    let mut table = "| RocketMQ | Why `true` is refused |\n|---|---|\n".to_owned();
    for refused in REFUSED {
        let _ = writeln!(table, "| `{}` | {} |", refused.name, refused.reason);
    }
    table
}

/// Source lines as one line of a table.
fn prose(doc: &str) -> String {
    let lines = doc.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_a_place_is_refused_by_its_name() {
        let refused = filled("no marks here").unwrap_err();
        assert!(refused.to_string().contains("<!-- generated: keys -->"));
    }

    #[test]
    fn filling_twice_changes_nothing_more() {
        let marks: Vec<_> = PARTS
            .iter()
            .map(|part| format!("<!-- generated: {} -->\nstale text\n{END}", part.name))
            .collect();
        let once = filled(&marks.join("\n")).unwrap();
        assert!(!once.contains("stale text"));
        assert_eq!(filled(&once).unwrap(), once);
    }
}
