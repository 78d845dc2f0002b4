//! `[retention]`

use crate::declare::section;
use crate::key::{Rule, Unit};

section!(
    /// When stored messages are deleted. A file counts as expired when nothing was written to it for `retention.keep_hours`; the last one never is.
    RetentionSettings in retention {
        /// Hours of the day, local time, at which expired files are deleted. Empty: only when the disk asks for it. As text: separated by `;` or `,`.
        delete_hours: Vec<u8> = vec![4], Rule::integers(0, 23).rocketmq(&["deleteWhen"]);
        /// Age from which a file may be deleted.
        keep_hours: u64 = 72, Rule::integer(Unit::Hours, 1, 8_760_000).rocketmq(&["fileReservedTime"]);
        /// Used part of the disk above which expired files are deleted at any hour.
        disk_max_used_percent: u8 = 75, Rule::integer(Unit::Percent, 10, 95).rocketmq(&["diskMaxUsedSpaceRatio"]).rocketmq_clamps(10, 95);
        /// Used part of the disk above which the oldest files are deleted, expired or not.
        disk_force_clean_percent: u8 = 85, Rule::integer(Unit::Percent, 30, 85).rocketmq(&["diskSpaceCleanForciblyRatio"]).rocketmq_clamps(30, 85);
        /// Used part of the disk above which messages are refused. RocketMQ keeps it between 35 and 90.
        disk_refuse_writes_percent: u8 = 90, Rule::integer(Unit::Percent, 35, 95).rocketmq(&["diskSpaceWarningLevelRatio"]).rocketmq_clamps(35, 90);
        /// Time between two looks at files and disk.
        check_interval_ms: u64 = 10_000, Rule::integer(Unit::Milliseconds, 100, 3_600_000).rocketmq(&["cleanResourceInterval"]);
        /// Whether files may be deleted before they expire when the disk fills up.
        force_clean_enabled: bool = true, Rule::switch().rocketmq(&["cleanFileForciblyEnable"]);
        /// Files deleted at one look at the most.
        delete_batch_max: u32 = 10, Rule::integer(Unit::Count, 1, 10_000).rocketmq(&["deleteFileBatchMax"]);
    }
);
