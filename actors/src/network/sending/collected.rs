//! The batch of a read while it grows.

use std::ops::Range;

use castmq_protocol::native::{ErrorCode, Failure as Refusal};
use castmq_protocol::record::{SendNumber, batch};

use crate::delivery::redirect::check_length;
use crate::delivery::transactions::Ending;
use crate::storage::append::{AppendExtras, AppendMessage, AppendRequest};

/// A frame's payload and where it begins in the buffer of all frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) start: u32,
}

impl<'a> Payload<'a> {
    /// Where it lies in the buffer.
    pub(crate) fn range(self) -> Range<u32> {
        self.start..self.start + self.bytes.len() as u32
    }

    /// The properties, and the body behind them.
    pub(crate) fn split(self, properties_bytes: u32) -> Result<(&'a [u8], &'a [u8]), Refusal> {
        let split = self.bytes.split_at_checked(properties_bytes as usize);
        split.ok_or_else(|| {
            Refusal::never(
                ErrorCode::InvalidRequest,
                format!(
                    "{properties_bytes} bytes of properties do not fit a payload of {}",
                    self.bytes.len()
                ),
            )
        })
    }
}

/// A batch that grows.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) requests: Vec<AppendRequest>,
    pub(crate) messages: Vec<AppendMessage>,
    /// Bytes of the frames.
    pub(crate) buffer_bytes: usize,
    /// See [`AppendBatch`](crate::storage::append::AppendBatch).
    pub(crate) rewritten: Vec<u8>,
    /// What some requests have besides.
    pub(crate) extras: Vec<AppendExtras>,
    pub(crate) endings: Vec<Ending>,
}

/// A vector of properties that grew beyond this is not kept.
const KEPT_BYTES: usize = 256 * 1024;

impl Collected {
    /// An empty one, with the memory of this one.
    pub(crate) fn emptied(mut self) -> Self {
        self.requests.clear();
        self.messages.clear();
        self.rewritten.clear();
        if self.rewritten.capacity() > KEPT_BYTES {
            self.rewritten = Vec::new();
        }
        Self {
            requests: self.requests,
            messages: self.messages,
            rewritten: self.rewritten,
            ..Self::default()
        }
    }

    /// Keeps properties that are not those of a frame, and says where they are.
    pub(crate) fn keep(&mut self, properties: &[u8]) -> Range<u32> {
        let start = self.rewritten.len();
        self.rewritten.extend_from_slice(properties);
        self.since(start)
    }

    /// The same for properties that are written into place, unless that fails.
    pub(crate) fn rewrite(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
    ) -> Result<Range<u32>, Refusal> {
        let start = self.rewritten.len();
        write(&mut self.rewritten).inspect_err(|_| self.rewritten.truncate(start))?;
        Ok(self.since(start))
    }

    /// Where that is which was kept from there on.
    fn since(&self, start: usize) -> Range<u32> {
        let place = |bytes: usize| (self.buffer_bytes + bytes) as u32;
        place(start)..place(self.rewritten.len())
    }

    /// Keeps a message's properties with the number of its send, and says where they are.
    pub(crate) fn rewrite_numbered(
        &mut self,
        number: SendNumber,
        properties: &[u8],
    ) -> Result<Range<u32>, Refusal> {
        self.rewrite(|out| {
            let before = out.len();
            number.append_to(properties, out);
            check_length(out.get(before..).unwrap_or_default())
        })
    }

    /// Gives the first of a batch's messages the number of the batch.
    pub(crate) fn number(
        &mut self,
        number: SendNumber,
        first: usize,
        payload: Payload<'_>,
    ) -> Result<(), Refusal> {
        let Some(message) = self.messages.get(first) else {
            return Ok(());
        };
        let within = |at: u32| (at - payload.start) as usize;
        let at = within(message.properties.start)..within(message.properties.end);
        let properties = payload.bytes.get(at).unwrap_or_default();
        let numbered = self.rewrite_numbered(number, properties)?;
        if let Some(message) = self.messages.get_mut(first) {
            message.properties = numbered;
        }
        Ok(())
    }
}

pub(crate) fn check_count(found: usize, announced: Option<u32>) -> Result<(), Refusal> {
    if found == 0 {
        return Err(Refusal::never(
            ErrorCode::InvalidRequest,
            batch::BatchError::Empty.to_string(),
        ));
    }
    if let Some(announced) = announced.filter(|announced| *announced as usize != found) {
        return Err(Refusal::never(
            ErrorCode::InvalidRequest,
            format!("the batch has {found} messages and announces {announced}"),
        ));
    }
    Ok(())
}
