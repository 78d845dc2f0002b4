//! How long connections may say nothing.

use std::time::Duration;

use castmq_config::Settings;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// With anybody.
    pub(super) idle: Duration,
    /// With a broker that has registered: as long as it may be silent before it is dropped.
    broker: Duration,
}

impl Patience {
    pub(super) fn new(settings: &Settings) -> Self {
        let idle = Duration::from_millis(settings.limits.idle_timeout_ms);
        let expiry = Duration::from_millis(settings.name_server.broker_expiry_ms);
        Self {
            idle,
            broker: idle.max(expiry),
        }
    }

    pub(super) fn with(&self, has_registered: bool) -> Duration {
        match has_registered {
            true => self.broker,
            false => self.idle,
        }
    }
}
