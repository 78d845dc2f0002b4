//! Taking over a store from RocketMQ, and handing it back.
//!
//! Log, queues, index and timer are RocketMQ's files as they are. What RocketMQ keeps beside them in `config/*.json` is in
//! the metadata here: topics, groups, consumer offsets, and how far delayed messages and half messages are. It is taken
//! from there once, when a folder is opened that has no metadata yet, and written there by [`export`].
//!
//! A note in the metadata says which files were taken, or that they were written. After an export they are taken again by the
//! next start, whatever happened to them. Files that are others than those that were taken mean that RocketMQ has run since:
//! opening is refused then, since nobody could say whose topics and offsets are the right ones.
//!
//! - [`files`]: reading and writing `config/*.json`. `obstacles`: what cannot be taken.
//! - `import`: from the files to the metadata. `convert`: one setting or offset of it. `progress`: how far RocketMQ was.
//!   `popped`: what was popped and not acknowledged.
//! - `export`: from the store to the files.

mod convert;
mod error;
mod export;
pub mod files;
mod import;
mod note;
mod obstacles;
mod popped;
mod progress;

pub use convert::{group_config, group_offsets, topic_config};
pub use error::TakeoverError;
pub use export::{Exported, export};
pub use import::{Imported, import};
pub(crate) use progress::settle_repeated;
pub use progress::{Progress, end_following};

use std::path::Path;

use self::files::ConfigFiles;
use self::import::Import;
use self::note::Note;
use crate::disk::Disk;
use crate::metadata::Metadata;
use crate::store::StoreOptions;

/// What a start found of RocketMQ's.
#[derive(Debug)]
pub(crate) struct Found {
    files: Option<ConfigFiles>,
}

impl Found {
    /// Looks at a folder before anything in it changes. A store without metadata that holds what cannot be taken is refused.
    pub(crate) fn look(disk: &dyn Disk, options: &StoreOptions) -> Result<Self, TakeoverError> {
        let files = ConfigFiles::read(disk, &options.root)?;
        if !has_metadata(&options.metadata) {
            obstacles::check(disk, options, files.as_ref())?;
        }
        Ok(Self { files })
    }

    /// Whether the metadata has to be looked at before anything else.
    pub(crate) fn is_any(&self) -> bool {
        self.files.is_some()
    }

    /// Takes the files into the metadata, if they are to be. What comes back is to be [finished](Import::finish) when the
    /// queues are there.
    pub(crate) fn settle(
        self,
        disk: &dyn Disk,
        options: &StoreOptions,
        metadata: &Metadata,
    ) -> Result<Option<Import>, TakeoverError> {
        let Some(files) = self.files else {
            return Ok(None);
        };
        let digest = files.digest();
        let is_to_be_taken = match Note::load(metadata)? {
            // Files that are as they were exported say what the metadata does; RocketMQ may have used the log all the same.
            Some(Note::Begun | Note::Exported) => true,
            Some(Note::Imported(known)) if known == digest => false,
            None if metadata.topics()?.is_empty() => true,
            None | Some(Note::Imported(_)) => {
                return Err(TakeoverError::Changed {
                    folder: options.root.clone(),
                });
            }
        };
        if !is_to_be_taken {
            return Ok(None);
        }
        obstacles::check(disk, options, Some(&files))?;
        Import::begin(files, metadata).map(Some)
    }
}

/// Whether there was ever any: a start that was killed early may have left a folder without a database.
fn has_metadata(folder: &Path) -> bool {
    folder.join("db").exists()
}
