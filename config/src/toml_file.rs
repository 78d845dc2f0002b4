//! CastMQ's own file format: TOML, strict. A key that is not known is an error.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::layer::Layer;
use crate::nearest::nearest_key;
use crate::settings::{SECTIONS, find_key};
use crate::value::Raw;
use crate::{Origin, Problem};

/// Reads TOML. Everything wrong in it is reported, not only the first.
pub(crate) fn read(path: &Arc<Path>, content: &[u8]) -> Layer {
    let mut layer = Layer::default();
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            let (good, _) = content.split_at(error.valid_up_to());
            layer.problems.push(Problem::Syntax {
                reason: "the text is not UTF-8".to_owned(),
                origin: Origin::line(path, line_at_end(good)),
            });
            return layer;
        }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let file = File::new(path, text);
    for error in &errors {
        layer.problems.push(Problem::Syntax {
            reason: format!("not TOML: {}", error.message().replace('\n', ", ")),
            origin: file.origin(error.span().map_or(0, |span| span.start)),
        });
    }
    // What the parser made of a broken document may be no longer what was written.
    if errors.is_empty() {
        file.table(&mut layer, "", document.get_ref());
    }
    layer
}

/// Number of the line that the end of `bytes` is on.
fn line_at_end(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| **byte == b'\n').count()
}

struct File<'a> {
    path: &'a Arc<Path>,
    /// Where the line breaks are, in bytes.
    breaks: Vec<usize>,
}

impl<'a> File<'a> {
    fn new(path: &'a Arc<Path>, text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { path, breaks }
    }

    fn origin(&self, at: usize) -> Origin {
        let line = 1 + self.breaks.partition_point(|line_break| *line_break < at);
        Origin::line(self.path, line)
    }

    /// Takes the keys of a table that is called `name`; the document itself is called nothing.
    fn table(&self, layer: &mut Layer, name: &str, table: &DeTable<'_>) {
        // The parser sorts keys by name; people read from the top.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let origin = self.origin(key.span().start);
            let full = match name {
                "" => key.get_ref().to_string(),
                name => format!("{name}.{}", key.get_ref()),
            };
            if let Some(info) = find_key(&full) {
                layer.set(info, &full, &raw(value), origin);
            } else if SECTIONS.iter().any(|section| section.name == full) {
                self.section(layer, &full, value, origin);
            } else {
                let nearest = nearest_key(&full);
                layer.problems.push(Problem::UnknownKey {
                    key: full,
                    nearest,
                    origin,
                });
            }
        }
    }

    fn section(&self, layer: &mut Layer, name: &str, value: &Spanned<DeValue<'_>>, origin: Origin) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(layer, name, table),
            _ => layer.problems.push(Problem::Value {
                name: name.to_owned(),
                value: raw(value).to_string(),
                allowed: format!("a table, written [{name}]"),
                origin,
            }),
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(switch) => Raw::Switch(*switch),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Raw::Other(integer.to_string()), Raw::Integer),
        DeValue::Array(items) => Raw::List(items.iter().map(raw).collect()),
        DeValue::Float(float) => Raw::Other(float.to_string()),
        DeValue::Datetime(datetime) => Raw::Other(datetime.to_string()),
        DeValue::Table(_) => Raw::Other("a table".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::test_path;

    fn problems(content: &str) -> Vec<String> {
        let layer = read(&test_path("b.toml"), content.as_bytes());
        layer.problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn every_wrong_line_is_reported_with_its_number() {
        let content = "[store]\ndata_dirr = 'x'\n\n[retention]\nkeep_hours = 0\ndelete_hours = 4\n";
        assert_eq!(
            problems(content),
            [
                "file b.toml:2: unknown key store.data_dirr: did you mean store.data_dir?",
                "file b.toml:5: retention.keep_hours is 0, allowed is: 1 to 8760000 hours",
                "file b.toml:6: retention.delete_hours is 4, allowed is: a list of 0 to 23",
            ]
        );
    }

    #[test]
    fn a_rocketmq_name_is_answered_with_ours() {
        assert_eq!(
            problems("brokerName = 'a'"),
            ["file b.toml:1: unknown key brokerName: did you mean broker.name?"]
        );
    }

    #[test]
    fn a_section_must_be_a_table() {
        assert_eq!(
            problems("store = 3"),
            ["file b.toml:1: store is 3, allowed is: a table, written [store]"]
        );
    }

    #[test]
    fn broken_toml_and_broken_text_name_their_line() {
        let found = problems("[store]\ndata_dir = \n[broker]\nid = = 1\n");
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("file b.toml:2: not TOML")),
            "{found:?}"
        );
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("file b.toml:4: not TOML")),
            "{found:?}"
        );
        let layer = read(&test_path("b.toml"), b"# ok\n\xff");
        assert_eq!(
            layer.problems[0].to_string(),
            "file b.toml:2: the text is not UTF-8"
        );
    }

    #[test]
    fn numbers_beyond_64_bits_are_out_of_range_like_others() {
        assert_eq!(
            problems("retention.keep_hours = 99999999999999999999"),
            [
                "file b.toml:1: retention.keep_hours is 99999999999999999999, allowed is: 1 to 8760000 hours"
            ]
        );
    }

    #[test]
    fn depth_without_end_is_refused() {
        let keys = ["store"; 100_000].join(".");
        let nested = [
            format!("store.data_dir = {}", "[".repeat(100_000)),
            format!("store.data_dir = {}", "{a=".repeat(100_000)),
            format!("{keys} = 1"),
            format!("[{keys}]"),
        ];
        for content in nested {
            assert!(!problems(&content).is_empty());
        }
    }
}
