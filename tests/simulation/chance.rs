//! What would be random in a process without anybody's asking: the keys of hash maps, and with them the order in which tokio
//! looks at what is ready. Both ask the system for random bytes, and get the same ones in each run.

// The system's own function is replaced, which takes its address and its signature.
#![allow(unsafe_code)]

use std::ffi::{c_uint, c_void};
use std::slice;

/// Any number does.
const BYTE: u8 = 0x5A;

/// Takes the place of the system's in this test's process.
///
/// # Safety
/// As the system's: `buffer` is writable for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    bytes.fill(BYTE);
    length as isize
}
