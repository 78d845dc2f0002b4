//! What is wrong, said once: whoever is refused or fails comes back every second.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What did not happen for so long is news again.
const QUIET: Duration = Duration::from_secs(60);

/// Those about whom something was said. When there are more, somebody makes them up, and all are forgotten.
const MAX_KNOWN: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<HashMap<String, Said>>);

#[derive(Debug)]
struct Said {
    what: String,
    last: Instant,
}

impl Complaints {
    /// Whether this was not said about this one just now.
    pub(crate) fn is_news(&self, about: &str, what: &str, now: Instant) -> bool {
        let mut known = self.0.lock();
        let said = known.get(about);
        let is_news =
            said.is_none_or(|said| said.what != what || now.duration_since(said.last) > QUIET);
        if known.len() >= MAX_KNOWN && !known.contains_key(about) {
            known.clear();
        }
        let what = what.to_owned();
        known.insert(about.to_owned(), Said { what, last: now });
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_said_once_and_what_comes_back_is_said_again() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let is_news = |about: &str, what: &str, seconds| {
            complaints.is_news(about, what, start + Duration::from_secs(seconds))
        };
        assert!(is_news("slave 1", "refused", 0));
        for second in 1..200 {
            assert!(!is_news("slave 1", "refused", second));
        }
        assert!(is_news("slave 2", "refused", 200));
        assert!(is_news("slave 1", "silent", 201));
        assert!(is_news("slave 1", "silent", 300));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let complaints = Complaints::default();
        for number in 0..10_000 {
            let about = format!("slave {number}");
            assert!(complaints.is_news(&about, "refused", Instant::now()));
        }
        assert!(complaints.0.lock().len() <= MAX_KNOWN);
    }
}
