//! What dispatching needs of a record's properties.

use castmq_protocol::model::{AroundUniqueId, TagsCode, keys, property_pairs, tags_code};

use crate::index::Keys;

/// Records with other properties, before those that are kept are forgotten.
const MISSES_A_CHANGE: u32 = 64;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Properties<'a> {
    pub(crate) tags_code: TagsCode,
    pub(crate) keys: Keys<'a>,
    pub(crate) expires: bool,
}

impl<'a> Properties<'a> {
    /// Finds it in one pass.
    #[inline]
    pub(crate) fn of(encoded: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in property_pairs(encoded) {
            if name == keys::TAGS.as_bytes() {
                found.tags_code = tags_code(std::str::from_utf8(value).ok());
            } else if name == keys::EXPIRES_AT.as_bytes() {
                found.expires = true;
            } else {
                found.keys.note(name, value);
            }
        }
        found
    }
}

/// Properties of a record before: those of others are often the same but for the id, and are not looked at again then.
#[derive(Debug, Default)]
pub(crate) struct LastProperties {
    kept: Option<Kept>,
    misses: u32,
}

#[derive(Debug)]
struct Kept {
    around_id: AroundUniqueId,
    tags_code: TagsCode,
    expires: bool,
}

impl Kept {
    fn of(encoded: &[u8], found: &Properties<'_>) -> Option<Self> {
        Some(Self {
            around_id: AroundUniqueId::of(encoded, found.keys.only_unique()?)?,
            tags_code: found.tags_code,
            expires: found.expires,
        })
    }

    #[inline]
    fn read<'a>(&self, encoded: &'a [u8]) -> Option<Properties<'a>> {
        let (id, behind) = self.around_id.split(encoded)?;
        behind.is_empty().then(|| Properties {
            tags_code: self.tags_code,
            keys: Keys::unique(id),
            expires: self.expires,
        })
    }
}

impl LastProperties {
    #[inline]
    pub(crate) fn read<'a>(&mut self, encoded: &'a [u8]) -> Properties<'a> {
        if encoded.is_empty() {
            return Properties::default();
        }
        let like = self.kept.as_ref().and_then(|kept| kept.read(encoded));
        like.unwrap_or_else(|| self.read_anew(encoded))
    }

    fn read_anew<'a>(&mut self, encoded: &'a [u8]) -> Properties<'a> {
        let found = Properties::of(encoded);
        if self.misses == 0 {
            self.kept = Kept::of(encoded, &found);
        }
        self.misses = (self.misses + 1) % MISSES_A_CHANGE;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few names and values, so that many are like the one before but for the id, and some begin like it.
    fn any_properties() -> impl Strategy<Value = Vec<u8>> {
        let id = prop_oneof![
            8 => "[0-9A-F]{32}",
            1 => "[0-9A-F]{31}[\u{1}\u{2}é]",
            1 => Just(String::new()),
        ];
        let other = prop_oneof![6 => Just(("", "")), 1 => Just((keys::TAGS, "b")), 1 => Just((keys::KEYS, "k")),
            1 => Just((keys::EXPIRES_AT, "7"))];
        (id, other, 0..4_u8).prop_map(|(id, (name, value), order)| {
            let unique = format!("{}\u{1}{id}\u{2}", keys::UNIQ_KEY);
            let tags = format!("{}\u{1}a\u{2}", keys::TAGS);
            let other = format!("{name}\u{1}{value}\u{2}");
            match order {
                0..2 => unique + &tags + &other,
                2 => other + &tags + &unique,
                _ => unique.clone() + &other + &unique,
            }
            .into_bytes()
        })
    }

    proptest! {
        #[test]
        fn properties_like_those_before_are_what_looking_at_them_finds(
            all in prop::collection::vec(any_properties(), 0..200),
        ) {
            let mut last = LastProperties::default();
            for encoded in &all {
                prop_assert_eq!(last.read(encoded), Properties::of(encoded));
            }
        }
    }

    #[test]
    fn those_that_are_the_same_but_for_the_id_are_not_looked_at() {
        let mut last = LastProperties::default();
        for number in 0..1000 {
            let id = format!("{number:032X}");
            let encoded = format!("{}\u{1}a\u{2}{}\u{1}{id}\u{2}", keys::TAGS, keys::UNIQ_KEY);
            let found = last.read(encoded.as_bytes());
            assert_eq!(found.keys, Keys::unique(id.as_bytes()));
            assert_eq!(last.misses, 1);
        }
    }
}
