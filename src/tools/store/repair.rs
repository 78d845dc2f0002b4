//! `castmq store repair`.

use castmq_storage::commit_log::recovery::inspect::Item;
use castmq_storage::store::check::{Checked, Closed};
use castmq_storage::store::{Store, StoreError, StoreOptions};

use super::{Folder, disk};
use crate::tools::print;
use crate::tools::print::counted;
use crate::tools::{ToolError, remark};

pub(super) fn run(folder: &Folder, yes: bool) -> Result<(), ToolError> {
    let closed = folder.close()?;
    let checked = closed.check()?;
    let has_cut = checked.outlook.refusal.is_some();
    let has_bad_queues = !checked.queues.is_empty();
    for stretch in &checked.stretches {
        remark(&format!(
            "note: {} at byte {}: what was at log position {} to {} is lost unless the file is restored from a backup; a broker serves everything else",
            stretch.path.display(),
            stretch.position,
            stretch.range.start,
            stretch.range.end
        ));
    }
    if !has_cut && !has_bad_queues {
        return Ok(print::text("nothing to repair: a broker starts as it is")?);
    }
    plan(&closed, &checked, yes)?;
    if !yes {
        return Err(ToolError::NotConfirmed {
            folder: folder.path().to_owned(),
        });
    }
    if has_bad_queues {
        let aside = closed.set_queues_aside()?;
        print::text(format!("queues are kept in {}", aside.display()))?;
    }
    repair(closed.into_options())
}

/// Says what is done.
fn plan(closed: &Closed, checked: &Checked, yes: bool) -> Result<(), ToolError> {
    let will = if yes { "will" } else { "would" };
    let outlook = &checked.outlook;
    if let Some(damage) = &outlook.refusal {
        let log = closed.log()?;
        let mut messages = 0;
        for item in log.items(outlook.end) {
            messages += u64::from(matches!(item.map_err(StoreError::from)?, Item::Record(..)));
        }
        print::text(format!(
            "{will} cut the log at byte {} of {} (log position {}): {} behind it, with {} that can still be read, {will} be kept beside the log",
            damage.position,
            damage.path.display(),
            damage.offset,
            counted(outlook.behind.end.0 - outlook.behind.start.0, "byte"),
            counted(messages, "message"),
        ))?;
    }
    if !checked.queues.is_empty() {
        print::text(format!(
            "{will} build all queues anew from the log; those that are there {will} be kept beside"
        ))?;
    }
    Ok(())
}

fn repair(options: StoreOptions) -> Result<(), ToolError> {
    let options = StoreOptions {
        repair: true,
        // A start cuts the key index to the log by itself.
        has_index: false,
        ..options
    };
    let (store, report) = Store::open(disk(), options)?;
    if let Some(cut) = &report.log.cut {
        print::text(format!(
            "cut the log at position {}: {} kept in {}",
            cut.from,
            counted(cut.bytes, "byte"),
            cut.kept_in.display()
        ))?;
    }
    store.close(store.log.appended())?;
    let entries = match report.dispatched {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    Ok(print::text(format!(
        "repaired: the log ends at position {}; queues were given {entries}",
        store.log.appended()
    ))?)
}
