//! Which slaves keep up with the log. Pure: what the log's end was, and when.

use std::collections::VecDeque;
use std::time::Duration;

use castmq_protocol::model::PhysicalOffset;
use tokio::time::Instant;

use super::replicas::Replica;

/// See the module.
#[derive(Debug)]
pub(crate) struct Steps {
    /// When the log was first seen to end there; oldest first.
    ends: VecDeque<(Instant, PhysicalOffset)>,
    /// Who is further behind is not in step; who is half as far behind is again.
    limit: Duration,
}

impl Steps {
    pub(crate) fn new(limit: Duration) -> Self {
        let ends = VecDeque::new();
        Self { ends, limit }
    }

    /// The log ends there now.
    pub(crate) fn grown(&mut self, end: PhysicalOffset, now: Instant) {
        if self.ends.back().is_none_or(|(_, last)| *last < end) {
            self.ends.push_back((now, end));
        }
        // One that is older than all that matters has to stay: whoever lacks it is too far behind.
        while self.ends.len() > 2
            && let Some((then, _)) = self.ends.get(1)
            && now.duration_since(*then) > 2 * self.limit
        {
            self.ends.pop_front();
        }
    }

    /// How long ago the log was as far as a slave has it.
    pub(crate) fn lag(&self, acknowledged: PhysicalOffset, now: Instant) -> Duration {
        let ahead = self.ends.iter().find(|(_, end)| *end > acknowledged);
        ahead.map_or(Duration::ZERO, |(then, _)| now.duration_since(*then))
    }

    /// Decides about a slave; returns whether it is in step.
    pub(crate) fn judge(&self, replica: &Replica, now: Instant) -> bool {
        let lag = self.lag(replica.acknowledged(), now);
        let limit = match replica.is_in_step() {
            true => self.limit,
            false => self.limit / 2,
        };
        let is_in_step = lag < limit;
        if is_in_step != replica.is_in_step() {
            let broker_id = replica.broker_id;
            match is_in_step {
                true => tracing::info!(broker_id, "a slave is in step"),
                false => tracing::warn!(broker_id, ?lag, "a slave is out of step"),
            }
        }
        let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        replica.set_step(is_in_step, lag_ms);
        is_in_step
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::replication::replicas::{Kind, Replicas};

    const LIMIT: Duration = Duration::from_secs(3);

    #[test]
    fn a_slave_is_as_late_as_the_log_was_there_and_comes_back_when_it_has_caught_up() {
        let mut steps = Steps::new(LIMIT);
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let replicas = Arc::new(Replicas::default());
        let place = replicas.join(1, "s".into(), Kind::Native, PhysicalOffset(0));
        let slave = place.replica();
        steps.grown(PhysicalOffset(0), at(0.0));
        assert!(steps.judge(slave, at(0.0)));
        for tenth in 1..=100 {
            steps.grown(PhysicalOffset(tenth * 10), at(tenth as f64 / 10.0));
        }
        assert!(!steps.judge(slave, at(10.0)), "it has nothing for 10 s");
        // 2 s behind is not enough to be counted on again, 1 s is.
        slave.set_acknowledged(PhysicalOffset(800));
        assert!(!steps.judge(slave, at(10.0)));
        slave.set_acknowledged(PhysicalOffset(900));
        assert!(steps.judge(slave, at(10.0)));
        assert_eq!(slave.lag_ms(), 900);
        // Nothing comes any more, and it still lacks some.
        assert!(steps.judge(slave, at(12.0)));
        assert!(!steps.judge(slave, at(12.2)));
        slave.set_acknowledged(PhysicalOffset(1000));
        assert!(steps.judge(slave, at(100.0)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut steps = Steps::new(LIMIT);
        let start = Instant::now();
        for tick in 0..10_000 {
            steps.grown(
                PhysicalOffset(tick),
                start + Duration::from_millis(tick * 100),
            );
        }
        assert!(steps.ends.len() < 64);
        let now = start + Duration::from_secs(1000);
        assert!(steps.lag(PhysicalOffset(0), now) > LIMIT);
    }
}
