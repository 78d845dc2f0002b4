//! `castmq store export-config` and `castmq store import-config`.

use std::time::{SystemTime, UNIX_EPOCH};

use castmq_storage::store::{Store, StoreError};
use castmq_storage::takeover;

use super::{Folder, disk};
use crate::tools::ToolError;
use crate::tools::print;
use crate::tools::print::counted;

pub(super) fn export(folder: &Folder) -> Result<(), ToolError> {
    let options = folder.close()?.into_options();
    let (store, _) = Store::open(disk(), options)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    });
    let exported = takeover::export(&store, now_ms).map_err(StoreError::from)?;
    // RocketMQ looks for keys in the index alone, and enters none of messages that it finds in the queues.
    store.enter_missing_keys(u64::MAX)?;
    store.close(store.log.appended())?;
    Ok(print::text(format!(
        "wrote {}, {} and {} into {}: RocketMQ can be started on the folder",
        counted(exported.topics as u64, "topic"),
        counted(exported.groups as u64, "group"),
        counted(exported.offsets as u64, "offset"),
        folder.path().join("config").display(),
    ))?)
}

pub(super) fn import(folder: &Folder) -> Result<(), ToolError> {
    let options = folder.close()?.into_options();
    let imported = takeover::import(&*disk(), &options)?;
    Ok(print::text(format!(
        "took {}, {} and {} from {}: the next start goes on from there",
        counted(imported.topics as u64, "topic"),
        counted(imported.groups as u64, "group"),
        counted(imported.offsets as u64, "offset"),
        folder.path().join("config").display(),
    ))?)
}
