//! Patterns of `LIKE`.

use std::str::Chars;

/// A pattern: `_` stands for one character, `%` for any number of them, everything else for itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    text: Box<str>,
    escape: Option<char>,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    This(char),
    One,
    Many,
}

impl Pattern {
    /// Compiles a pattern. The character after an escape stands for itself; `None` where there is none after the last.
    pub(super) fn new(text: &str, escape: Option<char>) -> Option<Self> {
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            parts.push(match character {
                _ if Some(character) == escape => Part::This(characters.next()?),
                '_' => Part::One,
                '%' => Part::Many,
                _ => Part::This(character),
            });
        }
        // One after another they stand for the same as one, and each would start the search again.
        parts.dedup_by(|later, earlier| *later == Part::Many && *earlier == Part::Many);
        Some(Self {
            text: text.into(),
            escape,
            parts: parts.into(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn escape(&self) -> Option<char> {
        self.escape
    }

    /// Whether all of the text is what the pattern stands for.
    ///
    /// When a character does not fit, only the last `%` takes one more: what an earlier one could take, the last one can
    /// as well. This bounds the work by the product of both lengths.
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut parts: &[Part] = &self.parts;
        let mut rest = text.chars();
        let mut last_many: Option<(&[Part], Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (parts.split_first(), rest.next()) {
                (Some((Part::Many, after)), _) => {
                    rest = before;
                    parts = after;
                    last_many = Some((parts, rest.clone()));
                }
                (None, None) => return true,
                (Some((Part::One, after)), Some(_)) => parts = after,
                (Some((Part::This(wanted), after)), Some(found)) if *wanted == found => {
                    parts = after;
                }
                _ => {
                    let Some((after, taken)) = &mut last_many else {
                        return false;
                    };
                    if taken.next().is_none() {
                        return false;
                    }
                    parts = after;
                    rest = taken.clone();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern, None).unwrap().matches(text)
    }

    #[test]
    fn patterns_stand_for_what_jms_says() {
        for (text, pattern, expected) in [
            ("lose", "l_se", true),
            ("loose", "l_se", false),
            ("123", "12%3", true),
            ("12993", "12%3", true),
            ("1234", "12%3", false),
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("a", "", false),
            ("aaab", "%ab", true),
            ("abab", "a%ab%", true),
            ("axbxc", "a%b%c", true),
            ("axbxcx", "%a%b%c", false),
            ("mississippi", "m%iss%ip_i", true),
            ("mississippi", "m%iss%xp_i", false),
            ("größe", "gr__e", true),
            ("😀", "_", true),
            ("a.c", "a.c", true),
            ("abc", "a.c", false),
            ("ab", "%%_%_%%", true),
            ("a", "%%_%_%%", false),
        ] {
            assert_eq!(like(text, pattern), expected, "{text:?} LIKE {pattern:?}");
        }
    }

    #[test]
    fn an_escaped_character_stands_for_itself() {
        let pattern = Pattern::new(r"\_%\\\%", Some('\\')).unwrap();
        assert!(pattern.matches(r"_foo\%"));
        assert!(!pattern.matches(r"xfoo\%"));
        assert!(!pattern.matches(r"_foo\x"));
        assert_eq!(Pattern::new(r"abc\", Some('\\')), None);
    }
}
