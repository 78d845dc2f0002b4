//! `[runtime]`

use crate::declare::section;
use crate::key::{Rule, Unit};

section!(
    /// Threads.
    RuntimeSettings in runtime {
        /// Threads that carry sessions and queues. The path of a message stays on one of them, so more pay only where one is busy all the time.
        data_arbiters: u32 = 1, Rule::integer(Unit::Count, 1, 1_024);
    }
);
