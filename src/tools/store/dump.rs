//! `castmq store dump`.

use bytes::Bytes;
use castmq_client::ReceivedMessage;
use castmq_protocol::model::PhysicalOffset;
use castmq_storage::commit_log::recovery::inspect::{Inspection, Item};
use castmq_storage::store::StoreError;
use clap::Args;

use super::Folder;
use crate::tools::message::MessageJson;
use crate::tools::print::counted;
use crate::tools::print::{self, OutputError};
use crate::tools::{ToolError, remark};

/// Bytes of lines that are written together.
const BUFFER_BYTES: usize = 64 * 1024;

/// What is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct DumpFlags {
    #[command(flatten)]
    folder: Folder,
    /// Only messages of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Begin at this log position, where a message begins.
    #[arg(long, value_name = "PHYSICAL_OFFSET")]
    from: Option<u64>,
    /// End after this many messages.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Print each message as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(flags: &DumpFlags) -> Result<(), ToolError> {
    let closed = flags.folder.close()?;
    let log = closed.log()?;
    let damaged = print_all(flags, &log)?;
    match damaged {
        0 => Ok(()),
        places => Err(ToolError::Damaged {
            folder: flags.folder.path().to_owned(),
            places: counted(places, "place"),
        }),
    }
}

/// Returns how many damaged places were passed over.
fn print_all(flags: &DumpFlags, log: &Inspection<'_>) -> Result<u64, ToolError> {
    let mut lines = Vec::new();
    let (mut printed, mut damaged) = (0, 0);
    for item in log.items(begin(flags, log)?) {
        if flags.max.is_some_and(|max| printed >= max) {
            break;
        }
        let record = match item.map_err(StoreError::from)? {
            Item::Record(_, record) => record,
            Item::Damaged(stretch) => {
                damaged += 1;
                remark(&format!(
                    "castmq: passed over log position {} to {} at byte {} of {}: {}",
                    stretch.range.start,
                    stretch.range.end,
                    stretch.position,
                    stretch.path.display(),
                    stretch.reason
                ));
                continue;
            }
        };
        let is_wanted = |topic: &String| record.topic().is_ok_and(|its| its == topic);
        if !flags.topic.as_ref().is_none_or(is_wanted) {
            continue;
        }
        let message = ReceivedMessage::from_record(Bytes::copy_from_slice(record.as_bytes()))?;
        let message = MessageJson::new(&message)?;
        match flags.json {
            true => lines.extend(serde_json::to_vec(&message).map_err(OutputError::from)?),
            false => lines.extend(message.line().into_bytes()),
        }
        lines.push(b'\n');
        printed += 1;
        if lines.len() >= BUFFER_BYTES {
            print::bytes(&lines)?;
            lines.clear();
        }
    }
    print::bytes(&lines)?;
    Ok(damaged)
}

fn begin(flags: &DumpFlags, log: &Inspection<'_>) -> Result<PhysicalOffset, ToolError> {
    let Some(from) = flags.from.map(PhysicalOffset) else {
        return Ok(log.begin());
    };
    if log.record(from).is_some() {
        return Ok(from);
    }
    let next = log.next_record(from).map_err(StoreError::from)?;
    Err(ToolError::NoRecord {
        from: from.0,
        next: next.map(|next| next.0),
    })
}
