//! Numbers that stand for names on one connection.

use castmq_protocol::native::{ErrorCode, Failure};

/// What a connection has announced, by number.
#[derive(Debug)]
pub(crate) struct Aliases<T> {
    what: &'static str,
    limit: u32,
    announced: Vec<Option<T>>,
}

impl<T> Aliases<T> {
    /// None yet. `what` names them in errors.
    pub(crate) fn new(what: &'static str, limit: u32) -> Self {
        Self {
            what,
            limit,
            announced: Vec::new(),
        }
    }

    /// Refuses numbers that are too large.
    pub(crate) fn check(&self, alias: u32) -> Result<(), Failure> {
        if alias >= self.limit {
            return Err(Failure::never(
                ErrorCode::LimitReached,
                format!(
                    "{} number {alias} is too large, a connection may announce 0 to {}",
                    self.what,
                    self.limit - 1
                ),
            ));
        }
        Ok(())
    }

    /// Gives `alias`, which was checked, to something.
    pub(crate) fn set(&mut self, alias: u32, value: T) {
        let index = alias as usize;
        if self.announced.len() <= index {
            self.announced.resize_with(index + 1, || None);
        }
        self.announced[index] = Some(value);
    }

    /// What `alias` stands for.
    #[inline]
    pub(crate) fn get(&self, alias: u32) -> Result<&T, Failure> {
        self.announced
            .get(alias as usize)
            .and_then(Option::as_ref)
            .ok_or_else(|| self.unknown(alias))
    }

    #[cold]
    fn unknown(&self, alias: u32) -> Failure {
        Failure::never(
            ErrorCode::UnknownAlias,
            format!(
                "{} number {alias} was not announced on this connection: announce it first",
                self.what
            ),
        )
    }
}

/// Aliases a connection may have of each kind.
pub(crate) const MAX_ALIASES: u32 = 65_536;
