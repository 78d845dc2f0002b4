//! `castmq store check`.

use castmq_storage::store::check::{Checked, QueueDamage};
use serde_json::{Value, json};

use super::Folder;
use crate::tools::ToolError;
use crate::tools::print;
use crate::tools::print::counted;

/// Damaged places that are named; the rest is counted.
const MAX_NAMED: usize = 100;

pub(super) fn run(folder: &Folder, as_json: bool) -> Result<(), ToolError> {
    let checked = folder.close()?.check()?;
    let damages = damages(&checked, folder);
    print::either(as_json, &describe(&checked, &damages), || {
        report(&checked, &damages)
    })?;
    match damages.len() as u64 {
        0 => Ok(()),
        places => Err(ToolError::Damaged {
            folder: folder.path().to_owned(),
            places: counted(places, "place"),
        }),
    }
}

/// A damaged place, and what to do about it.
struct Found {
    path: String,
    position: Option<u64>,
    what: String,
    to_do: String,
}

fn damages(checked: &Checked, folder: &Folder) -> Vec<Found> {
    let repair = format!("castmq store repair {} --yes", folder.path().display());
    let refusal = checked.outlook.refusal.iter().map(|damage| Found {
        path: damage.path.display().to_string(),
        position: Some(damage.position),
        what: format!(
            "log position {}: {}; a broker does not start, since the log was durable {}",
            damage.offset,
            damage.reason,
            match damage.durable {
                Some(durable) => format!("up to {durable}"),
                None => "behind it".to_owned(),
            }
        ),
        to_do: format!(
            "restore the file from a backup, or cut the log here with `{repair}`, which keeps what it cuts"
        ),
    });
    let outlook = &checked.outlook;
    let cut = outlook.next_valid.filter(|_| outlook.refusal.is_none());
    let cut = cut.into_iter().map(|next| Found {
        path: checked.commit_log.display().to_string(),
        position: None,
        what: format!(
            "whole messages go on at log position {next}, behind damaged bytes at {} that were not known to be durable; the next start cuts the log there, and keeps what it cuts beside it",
            outlook.end
        ),
        to_do: "restore the files from a backup before the next start, or let it cut".to_owned(),
    });
    let stretches = checked.stretches.iter().map(|stretch| Found {
        path: stretch.path.display().to_string(),
        position: Some(stretch.position),
        what: format!(
            "log position {} to {}: {}; a broker starts, but what was there cannot be consumed",
            stretch.range.start, stretch.range.end, stretch.reason
        ),
        to_do: "restore the file from a backup".to_owned(),
    });
    let queues = checked.queues.iter().map(|damage| Found {
        path: damage.path.display().to_string(),
        position: None,
        what: of_queue(damage),
        to_do: format!("build all queues anew from the log with `{repair}`"),
    });
    refusal.chain(cut).chain(stretches).chain(queues).collect()
}

fn of_queue(damage: &QueueDamage) -> String {
    match damage.offset {
        Some(offset) => format!(
            "queue offset {offset}: {}; {} not fit the log",
            damage.reason,
            match damage.count {
                1 => "1 entry does".to_owned(),
                count => format!("{count} entries do"),
            }
        ),
        None => damage.reason.clone(),
    }
}

fn describe(checked: &Checked, damages: &[Found]) -> Value {
    let damage = |found: &Found| json!({ "path": found.path, "position": found.position, "what": found.what, "to_do": found.to_do });
    json!({
        "was_clean": checked.was_clean,
        "segments": checked.segments,
        "log_begin": checked.begin,
        "log_end": checked.outlook.end,
        "messages": checked.records,
        "queue_entries": checked.units,
        "bytes_behind_the_end": checked.outlook.behind.end.0 - checked.outlook.behind.start.0,
        "damages": damages.iter().map(damage).collect::<Vec<_>>(),
    })
}

fn report(checked: &Checked, damages: &[Found]) -> String {
    let mut lines = vec![format!(
        "log: {} in {}, from position {} to {}; the last stop was {}",
        counted(checked.records, "message"),
        counted(checked.segments as u64, "segment"),
        checked.begin,
        checked.outlook.end,
        if checked.was_clean {
            "clean"
        } else {
            "not clean: the next start recovers"
        },
    )];
    lines.push(format!(
        "queues: {} compared with the log; the key index and the metadata were not looked at",
        match checked.units {
            1 => "1 entry".to_owned(),
            units => format!("{units} entries"),
        }
    ));
    let outlook = &checked.outlook;
    let behind = &outlook.behind;
    if behind.end > behind.start && outlook.refusal.is_none() && outlook.next_valid.is_none() {
        let bytes = behind.end.0 - behind.start.0;
        lines.push(format!(
            "note: {} behind the end belong to messages that were not durable: the next start cuts them",
            counted(bytes, "byte")
        ));
    }
    for found in damages.iter().take(MAX_NAMED) {
        let position = found.position.map(|at| format!(" at byte {at}"));
        lines.push(format!(
            "damage: {}{}: {}\n        to do: {}",
            found.path,
            position.unwrap_or_default(),
            found.what,
            found.to_do
        ));
    }
    match damages.len() {
        0 => lines.push("no damage".to_owned()),
        places if places > MAX_NAMED => lines.push(format!("and {} more", places - MAX_NAMED)),
        _ => {}
    }
    lines.push(String::new());
    lines.join("\n")
}
