//! What lasts: commit log, consume queues, key index, checkpoint, recovery, metadata.
//!
//! # Layout
//!
//! - [`checkpoint`], [`abort`], [`lock`]: what the next start needs to know of this one.
//! - [`commit_log`]: the records themselves, their one writer, and how the end is found after a stop.
//! - [`consume_queue`]: for each queue of a topic, where its messages lie in the log.
//! - [`deletion`]: what is kept of deleted topics.
//! - [`disk`]: directories, files and segments as the store sees them, on the operating system and in memory.
//! - [`dispatch`]: the one road from the log to the queues.
//! - [`epochs`]: who wrote the log.
//! - [`expiring`]: which queues hold messages that may expire.
//! - [`halves`]: half messages of open transactions.
//! - [`index`]: where messages with a key lie in the log.
//! - [`store`]: all of it together: opened, kept durable, closed.
//! - [`metadata`]: topics, groups, offsets and key-values, in sled.
//! - [`moved`]: how far messages that wait elsewhere were moved to their topics.
//! - [`unseen`]: all that whoever dispatches notes: messages that nobody sees yet, moved or half, and those that expire.
//! - [`sequences`]: which sends of producers that number them are stored.
//! - [`retention`]: when segments are deleted, and when the disk is too full to take messages.
//! - [`takeover`]: taking over a store from RocketMQ, and handing it back.
//! - [`timer`]: messages that wait for a time.
//!
//! Nothing here knows actors, sockets or async.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "CastMQ's broker needs Linux: on other systems run it in a container or a virtual machine; programs that use castmq-client \
     need not"
);

pub mod abort;
pub mod checkpoint;
pub mod commit_log;
pub mod consume_queue;
pub mod deletion;
pub mod disk;
pub mod dispatch;
pub mod epochs;
pub mod expiring;
pub mod halves;
pub mod index;
pub mod lock;
pub mod metadata;
pub mod moved;
mod properties;
pub mod retention;
pub mod sequences;
pub mod store;
pub mod takeover;
pub mod timer;
pub mod unseen;
