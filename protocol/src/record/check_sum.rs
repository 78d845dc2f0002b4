//! The check sum that a record keeps of its body, made in the same pass that copies the body where processors can do that.
//!
//! A message's bytes are read from memory twice otherwise, once for the sum and once for the copy, and both is what a broker
//! does most. CRC-32 is the remainder of the body, taken as a polynomial, by another one: a piece can be multiplied by a power
//! of x, as far as the next piece is behind it, and added to that, without changing what remains. AVX-512 does so with 64 bytes
//! at once (carry-less multiplication); the last 16 bytes and what does not fill a block are left to `crc32fast`.

/// The lowest 31 bits of a CRC-32, which is what the format has room for.
const KEPT_BITS: u32 = 0x7FFF_FFFF;

/// The check sum that a record keeps of its body: CRC-32 without its top bit, 0 for an empty body.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & KEPT_BITS
}

/// Copies a body to a place that has its length, and returns its [`body_crc`].
#[inline]
pub(super) fn copy_body(body: &[u8], to: &mut [u8]) -> u32 {
    debug_assert_eq!(body.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(crc) = wide::copy(body, to) {
        return crc & KEPT_BITS;
    }
    // In this order: summing up goes on while memory still takes in what was copied before.
    let crc = body_crc(body);
    to.copy_from_slice(body);
    crc
}

#[cfg(target_arch = "x86_64")]
mod wide {
    #![allow(unsafe_code)]

    use std::arch::x86_64::{
        __m128i, __m512i, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_cvtsi128_si64,
        _mm_set_epi64x, _mm_unpackhi_epi64, _mm_xor_si128, _mm512_broadcast_i32x4,
        _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32, _mm512_loadu_si512,
        _mm512_setzero_si512, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
        _mm512_zextsi128_si512,
    };
    use std::ops::RangeInclusive;

    /// Bytes in a register.
    const BLOCK_BYTES: usize = 64;

    /// So many registers are summed up side by side: a multiplication takes as many turns.
    const ABREAST: usize = 4;

    /// For shorter bodies it is not worth it; longer ones are copied by `memcpy` without reading what is there first, which
    /// saves more.
    const LENGTHS: RangeInclusive<usize> = ABREAST * BLOCK_BYTES..=2048;

    type Block = [u8; BLOCK_BYTES];

    /// Copies and returns the CRC-32, if the processor can and the body's length is worth it.
    #[inline]
    pub(super) fn copy(body: &[u8], to: &mut [u8]) -> Option<u32> {
        let can = LENGTHS.contains(&body.len())
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("vpclmulqdq");
        // SAFETY: the processor has what the function is compiled for.
        can.then(|| unsafe { copy_blocks(body, to) })
    }

    /// The remainder of x to the power of `exponent` by CRC-32's polynomial, mirrored as CRC-32 has all its bits.
    const fn power(exponent: u32) -> i64 {
        const POLYNOMIAL: u64 = 0x1_04C1_1DB7;
        let mut remainder: u64 = 1;
        let mut done = 0;
        while done < exponent {
            remainder <<= 1;
            if remainder >> u32::BITS != 0 {
                remainder ^= POLYNOMIAL;
            }
            done += 1;
        }
        // Of 33 bits, the top one of which is not there.
        ((remainder as u32).reverse_bits() as i64) << 1
    }

    /// What the two halves of 16 bytes are multiplied by, to be added to those that lie so many bytes behind.
    const fn powers(bytes: usize) -> [i64; 2] {
        let bits = 8 * bytes as u32;
        [power(bits + 32), power(bits - 32)]
    }

    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
    fn both([low, high]: [i64; 2]) -> __m128i {
        _mm_set_epi64x(high, low)
    }

    /// Multiplies and adds.
    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
    fn fold(sum: __m512i, by: __m512i, next: __m512i) -> __m512i {
        const XOR_OF_THREE: i32 = 0x96;
        let low = _mm512_clmulepi64_epi128::<0x00>(sum, by);
        let high = _mm512_clmulepi64_epi128::<0x11>(sum, by);
        _mm512_ternarylogic_epi64::<XOR_OF_THREE>(low, high, next)
    }

    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
    fn fold_quarter(sum: __m128i, by: __m128i, next: __m128i) -> __m128i {
        let low = _mm_clmulepi64_si128::<0x00>(sum, by);
        let high = _mm_clmulepi64_si128::<0x11>(sum, by);
        _mm_xor_si128(_mm_xor_si128(low, high), next)
    }

    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
    fn copy_block(from: &Block, to: &mut Block) -> __m512i {
        // SAFETY: both are as long as a register, and neither has to be aligned.
        unsafe {
            let block = _mm512_loadu_si512(from.as_ptr().cast());
            _mm512_storeu_si512(to.as_mut_ptr().cast(), block);
            block
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
    fn copy_blocks(body: &[u8], to: &mut [u8]) -> u32 {
        let (blocks, tail) = body.as_chunks::<BLOCK_BYTES>();
        let (places, last_place) = to.as_chunks_mut::<BLOCK_BYTES>();
        let (rows, blocks) = blocks.as_chunks::<ABREAST>();
        let (row_places, places) = places.as_chunks_mut::<ABREAST>();

        // The first four bytes count inverted.
        let mut inverted = _mm512_zextsi128_si512(_mm_cvtsi32_si128(-1));
        let mut sums = [_mm512_setzero_si512(); ABREAST];
        let by = _mm512_broadcast_i32x4(both(const { powers(ABREAST * BLOCK_BYTES) }));
        for (row, row_places) in rows.iter().zip(row_places) {
            let [one, two, three, four] = row;
            let [to_one, to_two, to_three, to_four] = row_places;
            sums = [
                fold(sums[0], by, copy_block(one, to_one)),
                fold(sums[1], by, copy_block(two, to_two)),
                fold(sums[2], by, copy_block(three, to_three)),
                fold(sums[3], by, copy_block(four, to_four)),
            ];
            sums[0] = _mm512_xor_si512(sums[0], inverted);
            inverted = _mm512_setzero_si512();
        }

        let by = _mm512_broadcast_i32x4(both(const { powers(BLOCK_BYTES) }));
        let mut sum = _mm512_setzero_si512();
        for next in sums {
            sum = fold(sum, by, next);
        }
        for (block, place) in blocks.iter().zip(places) {
            sum = fold(sum, by, copy_block(block, place));
        }

        let by = both(const { powers(size_of::<__m128i>()) });
        let first = _mm512_extracti32x4_epi32::<0>(sum);
        let second = fold_quarter(first, by, _mm512_extracti32x4_epi32::<1>(sum));
        let third = fold_quarter(second, by, _mm512_extracti32x4_epi32::<2>(sum));
        let last = fold_quarter(third, by, _mm512_extracti32x4_epi32::<3>(sum));
        last_place.copy_from_slice(tail);
        finish(last, tail)
    }

    /// What remains of the last 16 bytes, which stand for all before them, and of those behind.
    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq,vpclmulqdq")]
    fn finish(last: __m128i, tail: &[u8]) -> u32 {
        const HALF: usize = size_of::<i64>();
        let mut rest = [0; 2 * HALF + BLOCK_BYTES];
        let high = _mm_unpackhi_epi64(last, last);
        rest[..HALF].copy_from_slice(&_mm_cvtsi128_si64(last).to_le_bytes());
        rest[HALF..2 * HALF].copy_from_slice(&_mm_cvtsi128_si64(high).to_le_bytes());
        let end = 2 * HALF + tail.len();
        rest[2 * HALF..end].copy_from_slice(tail);
        // What was inverted is in it already: the sum of what comes before is zero, of which the library wants the inverse.
        let mut hasher = crc32fast::Hasher::new_with_initial(u32::MAX);
        hasher.update(&rest[..end]);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_top_bit_is_cut() {
        // CRC-32 of "a" is 0xE8B7BE43.
        assert_eq!(body_crc(b"a"), 0x68B7_BE43);
        assert_eq!(body_crc(b""), 0);
    }

    fn check(body: &[u8], at: usize) {
        let mut place = vec![0xEE; at + body.len() + 1];
        let crc = copy_body(body, &mut place[at..at + body.len()]);
        assert_eq!(crc, body_crc(body), "{} bytes", body.len());
        assert!(place[..at].iter().all(|byte| *byte == 0xEE));
        assert_eq!(place[at..at + body.len()], *body);
        assert_eq!(place[at + body.len()], 0xEE);
    }

    #[test]
    fn a_body_of_any_length_is_copied_and_summed_up() {
        let bytes: Vec<u8> = (0..2500_u32).map(|n| ((n * n) >> 3) as u8).collect();
        (0..bytes.len()).for_each(|length| check(&bytes[..length], length % 64));
    }

    proptest! {
        #[test]
        fn so_is_one_that_lies_anywhere(
            bytes in prop::collection::vec(any::<u8>(), 0..2500),
            from in 0..64_usize,
            at in 0..64_usize,
        ) {
            check(&bytes[from.min(bytes.len())..], at);
        }
    }
}
