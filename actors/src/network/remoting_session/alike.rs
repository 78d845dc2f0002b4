//! Sends that are like one before: they are stored without being decoded.

use castmq_protocol::remoting::headers::send::SendMessage;
use castmq_protocol::remoting::template::{SendTemplate, Varying, VaryingProperties};

use super::properties::{Stamp, Stamped};
use super::unique_ids::UniqueId;
use super::*;
use crate::broker::topics::Topic;

/// Sends that are kept, so of so many topics or kinds that a client sends by turns.
const MAX_KEPT: usize = 8;

/// Sends that are like none that is kept, before one is kept in the place of another: keeping one takes as long as decoding it.
const MISSES_A_CHANGE: u32 = 32;

/// Sends with other properties, before the one that they are like is forgotten, and the next of them kept in its place.
const OTHERS_A_CHANGE: u32 = 256;

/// What was written properties to is not kept when it grew beyond this.
const KEPT_SCRATCH_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Alike {
    /// The oldest first.
    kept: Vec<Kept>,
    misses: u32,
    /// The last one could not be kept.
    has_failed: bool,
    /// Where properties are written that do not stand in a header as they are.
    scratch: Vec<u8>,
}

/// A send of one message to a topic that is there.
struct Kept {
    template: SendTemplate,
    topic: Arc<Topic>,
    asker: Asker,
    /// Its properties, where most have the same.
    stamped: Option<Stamped>,
    /// How many had others since it is kept.
    others: u32,
    /// What those like it say as well, but for texts.
    header: SendMessage<'static>,
}

impl Alike {
    /// Keeps a send that none was like.
    pub(super) fn learn(
        &mut self,
        asked: &Asked<'_>,
        topic: &Arc<Topic>,
        header: &SendMessage<'_>,
        buffer: &Bytes,
        stamp: &Stamp,
        made_bytes: usize,
    ) {
        self.kept.retain(Kept::counts);
        self.misses += 1;
        let is_full = self.kept.len() == MAX_KEPT;
        if (is_full || self.has_failed) && self.misses < MISSES_A_CHANGE {
            return;
        }
        self.misses = 0;
        let bytes = buffer.get(asked.frame.clone()).unwrap_or_default();
        let frame = Frames::new(bytes, usize::MAX).next();
        let stamped = Stamped::of(stamp, header, made_bytes);
        let keeps_properties = stamped.as_ref().is_some_and(|stamped| stamped.has_id);
        let template =
            frame.and_then(|frame| SendTemplate::of(&frame.ok()?, asked.command, keeps_properties));
        self.has_failed = template.is_none();
        let Some(template) = template else {
            return;
        };
        let kept = Kept {
            stamped: stamped.filter(|stamped| !stamped.has_id || template.keeps_properties()),
            template,
            topic: topic.clone(),
            asker: asked.asker,
            others: 0,
            header: SendMessage {
                sys_flag: header.sys_flag,
                flag: header.flag,
                reconsume_times: header.reconsume_times,
                ..SendMessage::default()
            },
        };
        if is_full {
            self.kept.remove(0);
        }
        self.kept.push(kept);
    }
}

impl Kept {
    /// Whether it is still one that others are like.
    fn counts(&self) -> bool {
        !self.topic.is_deleted() && self.others < OTHERS_A_CHANGE
    }
}

/// The send that this one is like, and what this one says.
fn find<'k, 'a>(kept: &'k mut [Kept], frame: &Frame<'a>) -> Option<(&'k mut Kept, Varying<'a>)> {
    let mut there = kept.iter_mut().filter(|kept| kept.counts());
    there.find_map(|kept| {
        let varying = kept.template.read(frame)?;
        Some((kept, varying))
    })
}

impl RemotingSession {
    /// Stores a frame's message, if it is like one that is kept.
    #[inline]
    pub(super) fn send_alike(
        &mut self,
        frame: &Frame<'_>,
        body: Payload<'_>,
        batch: &mut Collected,
    ) -> bool {
        let mut alike = std::mem::take(&mut self.alike);
        let Alike { kept, scratch, .. } = &mut alike;
        let is_found = self.send_like(kept, scratch, frame, body, batch).is_some();
        if scratch.capacity() > KEPT_SCRATCH_BYTES {
            *scratch = Vec::new();
        }
        self.alike = alike;
        is_found
    }

    /// With an id of the broker's making.
    fn named<'s>(&mut self, stamped: &'s Stamped) -> (&'s Stamped, UniqueId) {
        (stamped, self.unique_ids.next(self.read_ms))
    }

    fn send_like(
        &mut self,
        kept: &mut [Kept],
        scratch: &mut Vec<u8>,
        frame: &Frame<'_>,
        body: Payload<'_>,
        batch: &mut Collected,
    ) -> Option<()> {
        let (like, varying) = find(kept, frame)?;
        let mut header = SendMessage {
            queue: varying.queue,
            born_timestamp_ms: varying.born_timestamp_ms,
            ..like.header
        };
        let nameless = like.stamped.as_ref().filter(|stamped| !stamped.has_id);
        let mut same = None;
        match varying.properties {
            Some(VaryingProperties::Same { unique_id }) => {
                same = Some((like.stamped.as_ref()?, UniqueId::from_slice(unique_id)));
            }
            Some(VaryingProperties::Other(text)) => {
                let text = text.read(scratch)?;
                match nameless {
                    Some(stamped) if stamped.told == text => same = Some(self.named(stamped)),
                    _ => like.others += 1,
                }
                header.properties = Some(text);
            }
            None => same = nameless.map(|stamped| self.named(stamped)),
        }
        let asker = Asker {
            opaque: varying.opaque,
            ..like.asker
        };
        let stored = match (self.context.standing.check_master(), same) {
            (Ok(()), Some(same)) => self.store_same(asker, &like.topic, &header, same, body, batch),
            (Ok(()), None) => self.store(asker, &like.topic, &header, body, batch),
            (Err(refusal), _) => Err(refusal.into()),
        };
        if let Err(refused) = stored {
            self.connection.refuse(asker, &refused);
        }
        Some(())
    }
}
