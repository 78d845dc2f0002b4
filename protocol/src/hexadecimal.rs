//! Numbers as hexadecimal digits, as ids and escapes have them.

/// A number's eight upper-case hexadecimal digits, all at once.
pub fn hexadecimal(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Each digit into a byte of its own.
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_FFFF_0000_FFFF;
    digits = (digits | digits << 8) & 0x00FF_00FF_00FF_00FF;
    digits = (digits | digits << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    // 16 and more, once 6 is added, are letters.
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    let zero = ONES * u64::from(b'0');
    (digits + zero + letters * u64::from(b'A' - b'9' - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_formatting(number in any::<u32>()) {
            let formatted = format!("{number:08X}");
            prop_assert_eq!(&hexadecimal(number)[..], formatted.as_bytes());
        }
    }
}
