//! Ids that clients give messages, so that these can be found and told apart.

/// Bytes of an id as clients make them.
pub const UNIQUE_ID_BYTES: usize = 32;

/// Whether this is an id as clients make them. No letter of it is ever written as an escape, or separates properties.
#[inline]
pub fn is_unique_id(bytes: &[u8]) -> bool {
    let all = |known, byte: &u8| known & byte.is_ascii_alphanumeric();
    bytes.len() == UNIQUE_ID_BYTES && bytes.iter().fold(true, all)
}

/// Bytes that many texts have alike but for such an id, which stands in them once.
#[derive(Debug)]
pub struct AroundUniqueId {
    before: Box<[u8]>,
    behind: Box<[u8]>,
}

impl AroundUniqueId {
    /// Of a text in which this id stands.
    pub fn of(text: &[u8], id: &[u8]) -> Option<Self> {
        if !is_unique_id(id) {
            return None;
        }
        let mut places = memchr::memmem::find_iter(text, id);
        let (Some(at), None) = (places.next(), places.next()) else {
            return None;
        };
        Some(Self {
            before: text.get(..at)?.into(),
            behind: text.get(at + UNIQUE_ID_BYTES..)?.into(),
        })
    }

    /// What stands before the id.
    pub fn before(&self) -> &[u8] {
        &self.before
    }

    /// What stands behind it.
    pub fn behind(&self) -> &[u8] {
        &self.behind
    }

    /// The id in a text that begins like this one but for it, and what comes after that.
    #[inline]
    pub fn split<'a>(&self, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let rest = text.strip_prefix(&*self.before)?;
        let (id, rest) = rest.split_at_checked(UNIQUE_ID_BYTES)?;
        let after = rest.strip_prefix(&*self.behind)?;
        is_unique_id(id).then_some((id, after))
    }
}
