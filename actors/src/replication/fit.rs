//! Whether a slave's log goes on as its master's, and what has to become of it first. Pure: what both logs are.
//!
//! The master says where the copy is to go on. A slave takes its word for no more than it can see itself: a tail is cut off only
//! where, by who wrote both logs, the master's went another way under a later epoch, and messages are given up only
//! when the master had them all.

use castmq_protocol::model::PhysicalOffset;
use castmq_storage::epochs::Epochs;

use crate::broker::standing::Rebase;

/// The end of a log that may be any.
const ANY_END: PhysicalOffset = PhysicalOffset(i64::MAX as u64);

/// A slave's own log.
#[derive(Debug)]
pub(super) struct Own<'a> {
    pub(super) begin: PhysicalOffset,
    pub(super) end: PhysicalOffset,
    pub(super) segment_bytes: u64,
    /// Who wrote it.
    pub(super) epochs: &'a Epochs,
    /// The last change of masters that the slave knows of, from anybody.
    pub(super) epoch: u32,
}

/// What has to be done to a log that the master would go on with `from` a place, and whose own was written by `theirs`; `None`
/// when it goes on as it is.
pub(super) fn fit(
    own: &Own<'_>,
    from: PhysicalOffset,
    theirs: &Epochs,
) -> Result<Option<Rebase>, String> {
    let end = own.end;
    if theirs.last_epoch() < own.epoch {
        return Err(format!(
            "it is the master of epoch {}, and another broker became the master in epoch {}: stop this one, or start it with the \
             name servers that know",
            theirs.last_epoch(),
            own.epoch
        ));
    }
    if own.begin == end {
        // There is nothing to lose.
        return go_on(own, from);
    }
    let common = common(own, theirs)?;
    if from < common {
        return Err(format!(
            "it would send the log from {from} on, and both logs are the same up to {common}: that fits no master of this set"
        ));
    }
    if common < end {
        return Ok(Some(Rebase::Cut { at: common }));
    }
    go_on(own, from)
}

/// Up to where the log is the master's. What lies behind may go when the master wrote something else there later.
fn common(own: &Own<'_>, theirs: &Epochs) -> Result<PhysicalOffset, String> {
    let end = own.end;
    let Some(common) = own.epochs.common_with(end, theirs, ANY_END) else {
        return Err(
            "its log has nothing in common with this slave's: it belongs to another set; give the slave an empty data folder, \
             or the address of its own master"
                .to_owned(),
        );
    };
    let epoch = own.epochs.last_epoch();
    match common < end && theirs.last_epoch() <= epoch {
        true => Err(format!(
            "its log is this slave's up to {common}, and this one ends at {end}, in the same epoch {epoch}: make the slave the master \
             with `castmq admin broker promote`, or give it an empty data folder and lose what it alone has"
        )),
        false => Ok(common),
    }
}

/// At the end, or anew where a segment begins.
fn go_on(own: &Own<'_>, at: PhysicalOffset) -> Result<Option<Rebase>, String> {
    if at == own.end {
        return Ok(None);
    }
    let segment_bytes = own.segment_bytes;
    if at.0 > i64::MAX as u64 - segment_bytes || !at.0.is_multiple_of(segment_bytes) {
        return Err(format!(
            "its log would begin at {at}, which is not the first byte of a segment of {segment_bytes} bytes"
        ));
    }
    Ok(Some(Rebase::BeginAnew { at }))
}

#[cfg(test)]
mod tests {
    use castmq_protocol::native::replication::LogEpoch;

    use super::*;

    const SEGMENT_BYTES: u64 = 100;

    type Entry = (u32, u64, u64);

    fn epochs(entries: &[Entry]) -> Epochs {
        let entries = entries.iter().map(|&(epoch, run, start)| {
            let start = PhysicalOffset(start);
            LogEpoch { epoch, run, start }
        });
        Epochs::of(entries)
    }

    /// A slave whose log has these bytes and writers, of a master that would go on at `from` with its own.
    fn fit_of(
        log: std::ops::Range<u64>,
        ours: &[Entry],
        from: u64,
        theirs: &[Entry],
    ) -> Result<Option<Rebase>, String> {
        let ours = epochs(ours);
        let own = Own {
            begin: PhysicalOffset(log.start),
            end: PhysicalOffset(log.end),
            segment_bytes: SEGMENT_BYTES,
            epoch: ours.last_epoch(),
            epochs: &ours,
        };
        fit(&own, PhysicalOffset(from), &epochs(theirs))
    }

    fn cut(at: u64) -> Result<Option<Rebase>, String> {
        let at = PhysicalOffset(at);
        Ok(Some(Rebase::Cut { at }))
    }

    fn anew(at: u64) -> Result<Option<Rebase>, String> {
        let at = PhysicalOffset(at);
        Ok(Some(Rebase::BeginAnew { at }))
    }

    #[test]
    fn a_log_that_is_the_masters_goes_on() {
        assert_eq!(fit_of(0..0, &[], 0, &[(1, 7, 0)]), Ok(None));
        assert_eq!(fit_of(0..50, &[(1, 7, 0)], 50, &[(1, 7, 0)]), Ok(None));
        let theirs = [(1, 7, 0), (1, 8, 50), (2, 9, 80)];
        assert_eq!(
            fit_of(0..80, &[(1, 7, 0), (1, 8, 50)], 80, &theirs),
            Ok(None)
        );
    }

    #[test]
    fn a_tail_is_cut_where_a_later_epoch_began_and_nowhere_else() {
        let theirs = [(1, 7, 0), (2, 9, 80)];
        assert_eq!(fit_of(0..95, &[(1, 7, 0)], 80, &theirs), cut(80));
        // Whatever the master says, no more goes than what was written otherwise.
        let refused = fit_of(0..95, &[(1, 7, 0)], 10, &theirs);
        assert!(refused.unwrap_err().contains("up to 80"));
        let refused = fit_of(0..95, &[(1, 7, 0)], 10, &[(1, 7, 0)]);
        assert!(refused.unwrap_err().contains("up to 95"));
        // In one epoch nobody else wrote.
        let refused = fit_of(0..95, &[(1, 7, 0)], 80, &[(1, 7, 0), (1, 8, 80)]);
        assert!(refused.unwrap_err().contains("promote"));
    }

    #[test]
    fn messages_are_given_up_only_when_the_master_had_them_all() {
        assert_eq!(fit_of(0..50, &[(1, 7, 0)], 300, &[(1, 7, 0)]), anew(300));
        assert_eq!(fit_of(0..0, &[], 300, &[(1, 8, 250)]), anew(300));
        assert_eq!(
            fit_of(200..200, &[(1, 7, 0)], 100, &[(1, 9, 50)]),
            anew(100)
        );
        // Its own tail is kept aside first.
        let theirs = [(1, 7, 0), (2, 9, 80)];
        assert_eq!(fit_of(0..350, &[(1, 7, 0)], 300, &theirs), cut(80));
        let refused = fit_of(0..50, &[(1, 7, 0)], 300, &[(1, 8, 0)]);
        assert!(refused.unwrap_err().contains("nothing in common"));
        for from in [51, 301, u64::MAX, u64::MAX - 15] {
            let refused = fit_of(0..50, &[(1, 7, 0)], from, &[(1, 7, 0)]);
            assert!(refused.unwrap_err().contains("first byte of a segment"));
        }
    }

    #[test]
    fn a_master_that_was_replaced_is_not_followed() {
        let ours = epochs(&[(1, 7, 0)]);
        let own = Own {
            begin: PhysicalOffset(0),
            end: PhysicalOffset(50),
            segment_bytes: SEGMENT_BYTES,
            epoch: 2,
            epochs: &ours,
        };
        let refused = fit(&own, PhysicalOffset(50), &ours).unwrap_err();
        assert!(refused.contains("epoch 2"), "{refused}");
    }
}
