//! `[log]`

use crate::declare::{choices, section};
use crate::key::Rule;

choices!(
    /// How a log line looks.
    LogFormat {
        /// For people.
        Text = "text";
        /// One JSON object per line.
        Json = "json";
    }
);

section!(
    /// What is logged and how.
    LogSettings in log {
        /// Level, or levels by module: `info`, `info,castmq_storage=debug`.
        filter: String = "info".to_owned(), Rule::text();
        /// Form of a line.
        format: LogFormat = LogFormat::Text, Rule::choice(LogFormat::CHOICES);
    }
);
