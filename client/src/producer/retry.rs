//! Whether a failed send is tried again. Pure.

use std::time::Duration;

use castmq_protocol::native::{ErrorCode, Retry};
use tokio::time::Instant;

use crate::error::Error;

/// The first pause before the same broker is tried again; it grows with each attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// What a failed attempt leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The sender is told.
    GiveUp,
    /// Another attempt, after a pause.
    Again {
        /// How long to wait; zero when another broker is there to try.
        pause: Duration,
        /// Whether the attempt counts: one that never left this side does not, nor one at a broker that is no master.
        counts: bool,
    },
}

/// What judging takes into account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Attempts so far.
    pub(super) attempts: u32,
    /// Attempts after the first, at most.
    pub(super) retries: u32,
    /// Whether a message may be stored twice.
    pub(super) allow_duplicates: bool,
    /// Whether another broker can take the message.
    pub(super) elsewhere: bool,
    /// When the sender gives up.
    pub(super) deadline: Instant,
    /// Now.
    pub(super) now: Instant,
}

/// Decides about a failed attempt.
pub(super) fn judge(error: &Error, case: Case) -> Verdict {
    if error.code() == Some(ErrorCode::SequenceForgotten) {
        // It would be refused again.
        return Verdict::GiveUp;
    }
    let never_left = matches!(error, Error::Disconnected { written: false, .. });
    let counts = !never_left && !error.is_not_master();
    let allowed = match error.retry() {
        Retry::Never => false,
        Retry::Safe => true,
        Retry::MayDuplicate => case.allow_duplicates,
    };
    if !allowed || counts && case.attempts > case.retries {
        return Verdict::GiveUp;
    }
    let pause = if case.elsewhere || !counts {
        Duration::ZERO
    } else {
        PAUSE * case.attempts.max(1)
    };
    if case.now + pause >= case.deadline {
        return Verdict::GiveUp;
    }
    Verdict::Again { pause, counts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use castmq_protocol::native::Failure;

    fn case() -> Case {
        let now = Instant::now();
        Case {
            attempts: 1,
            retries: 2,
            allow_duplicates: true,
            elsewhere: true,
            deadline: now + Duration::from_secs(3),
            now,
        }
    }

    fn refused(failure: Failure) -> Error {
        Error::Refused {
            request: "send",
            address: "b:1".into(),
            failure,
        }
    }

    fn again(pause_ms: u64) -> Verdict {
        Verdict::Again {
            pause: Duration::from_millis(pause_ms),
            counts: true,
        }
    }

    #[test]
    fn a_safe_failure_is_tried_again_elsewhere_at_once_and_here_after_a_growing_pause() {
        let busy = refused(Failure::safe(ErrorCode::Busy, "busy"));
        assert_eq!(judge(&busy, case()), again(0));
        let alone = Case {
            elsewhere: false,
            ..case()
        };
        assert_eq!(judge(&busy, alone), again(50));
        assert_eq!(
            judge(
                &busy,
                Case {
                    attempts: 2,
                    ..alone
                }
            ),
            again(100)
        );
        assert_eq!(
            judge(
                &busy,
                Case {
                    attempts: 3,
                    ..alone
                }
            ),
            Verdict::GiveUp
        );
    }

    #[test]
    fn what_may_be_stored_twice_is_sent_again_only_where_that_is_allowed() {
        let unknown = refused(Failure::unknown(ErrorCode::OutcomeUnknown, "?"));
        assert_eq!(judge(&unknown, case()), again(0));
        let once = Case {
            allow_duplicates: false,
            ..case()
        };
        assert_eq!(judge(&unknown, once), Verdict::GiveUp);
        let never = refused(Failure::never(ErrorCode::MessageTooLarge, "no"));
        assert_eq!(judge(&never, case()), Verdict::GiveUp);
    }

    #[test]
    fn an_attempt_that_never_left_does_not_count() {
        let lost = Error::Disconnected {
            address: "b:1".into(),
            reason: "gone".into(),
            written: false,
        };
        let late = Case {
            attempts: 9,
            elsewhere: false,
            ..case()
        };
        let verdict = Verdict::Again {
            pause: Duration::ZERO,
            counts: false,
        };
        assert_eq!(judge(&lost, late), verdict);
    }

    #[test]
    fn a_broker_that_is_no_master_was_the_wrong_one_and_that_does_not_count() {
        let slave = refused(Failure::safe(ErrorCode::NotMaster, "it copies a master"));
        let late = Case {
            attempts: 9,
            elsewhere: false,
            allow_duplicates: false,
            ..case()
        };
        let verdict = Verdict::Again {
            pause: Duration::ZERO,
            counts: false,
        };
        assert_eq!(judge(&slave, late), verdict);
        assert!(slave.hints_at_stale_route());
    }

    #[test]
    fn a_master_that_lacks_slaves_is_one_of_the_attempts() {
        let failure = Failure::safe(ErrorCode::SlaveNotAvailable, "too few in step");
        let lacking = refused(failure);
        let once = Case {
            allow_duplicates: false,
            ..case()
        };
        assert_eq!(judge(&lacking, once), again(0));
        let late = Case {
            attempts: 3,
            ..case()
        };
        assert_eq!(judge(&lacking, late), Verdict::GiveUp);
        assert!(!lacking.hints_at_stale_route());
    }

    #[test]
    fn nothing_is_tried_after_the_deadline() {
        let busy = refused(Failure::safe(ErrorCode::Busy, "busy"));
        let late = Case {
            elsewhere: false,
            deadline: case().now + Duration::from_millis(40),
            ..case()
        };
        assert_eq!(judge(&busy, late), Verdict::GiveUp);
    }
}
