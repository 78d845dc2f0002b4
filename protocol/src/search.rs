//! Finding bytes that are near: most strings of headers and properties are short, and found sooner by words than by what a longer
//! search has to set up first.

/// Words that are looked at before the rest is left to a longer search.
const WORDS: usize = 4;

/// Where the first of two bytes is.
#[inline]
pub(crate) fn find_either(a: u8, b: u8, bytes: &[u8]) -> Option<usize> {
    let found = |word| bytes_that_are(a, word) | bytes_that_are(b, word);
    find(bytes, found, |rest| memchr::memchr2(a, b, rest))
}

/// Where the first such byte is.
#[inline]
pub(crate) fn find_byte(byte: u8, bytes: &[u8]) -> Option<usize> {
    let found = |word| bytes_that_are(byte, word);
    find(bytes, found, |rest| memchr::memchr(byte, rest))
}

#[inline]
fn find(
    bytes: &[u8],
    in_word: impl Fn(u64) -> u64,
    in_rest: impl FnOnce(&[u8]) -> Option<usize>,
) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().take(WORDS).enumerate() {
        let found = in_word(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = words.len().min(WORDS) * 8;
    Some(start + in_rest(bytes.get(start..)?)?)
}

/// The highest bit of each byte of `word` that is `byte`; those above the lowest may be wrong.
#[inline]
fn bytes_that_are(byte: u8, word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    let differences = word ^ (ONES * u64::from(byte));
    differences.wrapping_sub(ONES) & !differences & HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_found(bytes in prop::collection::vec(0_u8..6, 0..80)) {
            let first = |wanted: &[u8]| bytes.iter().position(|byte| wanted.contains(byte));
            prop_assert_eq!(find_byte(1, &bytes), first(&[1]));
            prop_assert_eq!(find_either(2, 5, &bytes), first(&[2, 5]));
        }
    }
}
