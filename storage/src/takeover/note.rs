//! What the metadata knows of RocketMQ's files.

use super::files::Digest;
use crate::metadata::{Metadata, MetadataError};

pub(super) const NAMESPACE: &str = "takeover";
pub(super) const KEY: &str = "files";

const BEGUN: u8 = 0;
const IMPORTED: u8 = 1;
const EXPORTED: u8 = 2;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// They are being taken: whoever comes next begins again.
    Begun,
    /// These were taken, and CastMQ has the store.
    Imported(Digest),
    /// Some were written, and RocketMQ may have the store.
    Exported,
}

impl Note {
    pub(super) fn load(metadata: &Metadata) -> Result<Option<Self>, MetadataError> {
        let Some(bytes) = metadata.value(NAMESPACE, KEY)? else {
            return Ok(None);
        };
        let damaged = || metadata.damaged(KEY.as_bytes(), "it is no note about files of RocketMQ");
        let (kind, rest) = bytes.split_first().ok_or_else(damaged)?;
        let digest = Digest::try_from(rest).map_err(|_| damaged());
        match *kind {
            BEGUN => Ok(Some(Self::Begun)),
            IMPORTED => Ok(Some(Self::Imported(digest?))),
            EXPORTED => Ok(Some(Self::Exported)),
            _ => Err(damaged()),
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Begun => vec![BEGUN],
            Self::Imported(digest) => [&[IMPORTED][..], &digest].concat(),
            Self::Exported => vec![EXPORTED],
        }
    }

    /// Writes it durably.
    pub(super) fn save(self, metadata: &Metadata) -> Result<(), MetadataError> {
        metadata.put_value(NAMESPACE, KEY, &self.encode())?;
        metadata.sync()
    }
}
