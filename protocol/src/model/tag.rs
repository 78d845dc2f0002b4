//! Tags and the hash that stands for them in a consume queue.

/// The number that a consume queue keeps beside each message for filtering.
///
/// For an ordinary message it is the sign-extended Java hash of the `TAGS` property, 0 without tags. For a message in
/// the schedule topic it is the time of delivery in milliseconds since the epoch.
pub type TagsCode = i64;

/// What eight letters in a row are multiplied by.
const EIGHT_POWERS: [i32; 8] = {
    let mut powers = [1_i32; 8];
    let mut at = 7;
    while at > 0 {
        at -= 1;
        powers[at] = powers[at + 1].wrapping_mul(31);
    }
    powers
};

/// Java's `String.hashCode`: over UTF-16 code units, wrapping at 32 bits.
pub fn java_string_hash(text: &str) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if !text.is_ascii() {
        return text.encode_utf16().fold(0, step);
    }
    // Eight steps at once do not wait for each other.
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let hash = eights.iter().fold(0, |hash: i32, eight| {
        let terms = std::iter::zip(eight, EIGHT_POWERS);
        let terms = terms.map(|(byte, power)| i32::from(*byte).wrapping_mul(power));
        let sum = terms.fold(0, i32::wrapping_add);
        hash.wrapping_mul(31_i32.wrapping_pow(8)).wrapping_add(sum)
    });
    rest.iter()
        .fold(hash, |hash, byte| step(hash, (*byte).into()))
}

/// The tags code of a message with these tags.
pub fn tags_code(tags: Option<&str>) -> TagsCode {
    match tags {
        Some(tags) if !tags.is_empty() => java_string_hash(tags).into(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_java() {
        assert_eq!(java_string_hash(""), 0);
        assert_eq!(java_string_hash("TagA"), 2_598_919);
        assert_eq!(java_string_hash("polygenelubricants"), i32::MIN);
        for length in 0..28 {
            let text = &"\u{7f}zA9_~ order 0A0B0C7F~~~~~~\u{7f}\u{7f}"[..length];
            let stepwise = text.bytes().fold(0_i32, |hash, byte| {
                hash.wrapping_mul(31).wrapping_add(byte.into())
            });
            assert_eq!(java_string_hash(text), stepwise);
        }
        // U+1F600 is the surrogate pair D83D DE00 in UTF-16.
        assert_eq!(java_string_hash("\u{1F600}"), 0xD83D_i32 * 31 + 0xDE00_i32);
    }

    #[test]
    fn no_tags_are_code_zero() {
        assert_eq!(tags_code(None), 0);
        assert_eq!(tags_code(Some("")), 0);
        assert_eq!(tags_code(Some("polygenelubricants")), i64::from(i32::MIN));
    }
}
