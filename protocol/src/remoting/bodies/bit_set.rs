//! Sets of small numbers, as Java's `BitSet` stands in JSON: its bytes in Base64.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::remoting::base64::{BASIC, decode, encode};

/// A set of small numbers.
///
/// Number `n` is bit `n % 8` of byte `n / 8`, the lowest bit being 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitSet {
    bytes: Vec<u8>,
}

impl BitSet {
    /// Adds a number.
    pub fn insert(&mut self, number: u16) {
        let at = usize::from(number / 8);
        if self.bytes.len() <= at {
            self.bytes.resize(at + 1, 0);
        }
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte |= 1 << (number % 8);
        }
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: usize) -> bool {
        let byte = self.bytes.get(number / 8);
        byte.is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }

    /// The numbers, from the smallest on.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let numbers = 0..self.bytes.len() * 8;
        numbers.filter(|number| self.contains(*number))
    }

    fn to_base64(&self) -> String {
        encode(BASIC, &self.bytes)
    }

    fn from_base64(text: &str) -> Option<Self> {
        let mut bytes = decode(text)?;
        // Java leaves zeros out at the end; so that equal sets are equal, they are left out here, too.
        while bytes.pop_if(|last| *last == 0).is_some() {}
        Some(Self { bytes })
    }
}

impl FromIterator<u16> for BitSet {
    fn from_iter<I: IntoIterator<Item = u16>>(numbers: I) -> Self {
        let mut set = Self::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

impl Serialize for BitSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_base64(&text)
            .ok_or_else(|| serde::de::Error::custom("a set of bits is not Base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_are_javas() {
        let set: BitSet = [0, 1, 2, 8, 17].into_iter().collect();
        assert_eq!(set.to_base64(), "BwEC");
        assert_eq!(BitSet::from_base64("BwEC"), Some(set));
        let one: BitSet = [3].into_iter().collect();
        assert_eq!(one.to_base64(), "CA==");
        assert!(one.contains(3) && !one.contains(4) && !one.contains(usize::MAX));
        assert_eq!(BitSet::from_base64(""), Some(BitSet::default()));
        assert_eq!(BitSet::from_base64("AAAA"), Some(BitSet::default()));
        assert_eq!(BitSet::from_base64("*"), None);
    }

    proptest! {
        #[test]
        fn sets_survive_their_text(numbers in prop::collection::btree_set(0_u16..2000, 0..60)) {
            let set: BitSet = numbers.iter().copied().collect();
            prop_assert_eq!(BitSet::from_base64(&set.to_base64()), Some(set.clone()));
            prop_assert!(set.iter().eq(numbers.into_iter().map(usize::from)));
        }
    }
}
