//! Committing what a transacted session has received and sent.
//!
//! First its messages are sent, then those that it received are acknowledged. A crash before the first lets everything come
//! again, and nothing was sent. One in between leaves messages sent, some or all, and those received come again: so a
//! transaction may be done twice, and is never half forgotten. What a listener must not do twice it has to recognize.

use std::sync::Arc;

use super::delivery::{Held, is_any_lost, settle};
use super::error::{Error, Result};
use super::session::Session;
use crate::Retry;

/// What a transaction received, while that is being committed. However it ends, the session keeps none of it any longer: what is
/// not acknowledged comes again, though the application may still have it.
struct Received(Vec<Arc<Held>>);

impl Drop for Received {
    fn drop(&mut self) {
        self.0.iter().for_each(|held| held.release());
    }
}

impl Session {
    /// Sends what the transaction sent, acknowledges what it received, and begins another. To be run to its end: dropped on
    /// the way it leaves what a crash would.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionRolledBack`] when nothing of it happened. [`Error::TransactionInDoubt`] when some of its messages
    /// may be sent, or those that it received may come again although it sent. Either way what is not acknowledged is
    /// delivered again. [`Error::IllegalState`] when the session is not transacted, or closed.
    pub async fn commit(&self) -> Result<()> {
        self.check_transacted()?;
        let (sends, held) = self.core().take_transaction();
        let mut received = Received(held);
        let connection = &self.core().connection;
        let delay = connection.settings.redelivery_delay;
        if is_any_lost(&received.0) {
            let held = std::mem::take(&mut received.0);
            self.core().give_back(held, delay).await;
            let lost = "a message that it received was not kept and may be with another consumer";
            return Err(Error::TransactionRolledBack(Error::state(lost).into()));
        }
        let count = sends.len();
        let mut sent = 0;
        let mut is_doubtful = false;
        let mut first = None;
        for result in connection.producer.send_all(sends).await {
            match result {
                Ok(_) => sent += 1,
                Err(error) => {
                    is_doubtful |= error.retry() == Retry::MayDuplicate;
                    first.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first {
            let held = std::mem::take(&mut received.0);
            self.core().give_back(held, delay).await;
            let cause = Box::new(Error::from(error));
            return Err(match sent == 0 && !is_doubtful {
                true => Error::TransactionRolledBack(cause),
                false => in_doubt(sent, count, "comes again", cause),
            });
        }
        settle(&received.0).await.map_err(|error| {
            let received = "may come again";
            in_doubt(sent, count, received, Box::new(error))
        })
    }
}

fn in_doubt(sent: usize, sends: usize, received: &'static str, cause: Box<Error>) -> Error {
    Error::TransactionInDoubt {
        sent,
        sends,
        received,
        cause,
    }
}
