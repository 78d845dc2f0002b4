//! Ids that clients give messages, so that these can be found and told apart.

/// Bytes of an id as clients make them.
pub const UNIQUE_ID_BYTES: usize = 32;

/// Whether this is an id as clients make them. No letter of it is ever written as an escape, or separates properties.
#[inline]
pub fn is_unique_id(bytes: &[u8]) -> bool {
    let all = |known, byte: &u8| known & byte.is_ascii_alphanumeric();
    bytes.len() == UNIQUE_ID_BYTES && bytes.iter().fold(true, all)
}

/// What stands before and behind such an id, which stands there once.
pub fn around_unique_id<'a>(text: &'a [u8], id: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if !is_unique_id(id) {
        return None;
    }
    let mut places = memchr::memmem::find_iter(text, id);
    let (Some(at), None) = (places.next(), places.next()) else {
        return None;
    };
    Some((text.get(..at)?, text.get(at + UNIQUE_ID_BYTES..)?))
}
