//! Masters and their slaves.
//!
//! A master listens for slaves on a port of its own ([`desk`]). Each slave has two connections, and a [`link`] for each: over
//! one it is sent the log as it grows, and says how far it has it; over the other it asks what changed besides. On a slave a
//! [`follower`] hands the bytes of the log to the log-writer, and a [`shadow`] takes over the rest.
//!
//! - [`following`]: whom a slave follows.
//! - [`fit`]: whether a slave's log goes on as its master's.
//! - [`complaints`]: what is wrong, said once.
//! - [`replicas`]: which slaves are there, and how far they are.
//! - [`steps`]: which of them keep up.
//! - [`pulse`]: wakes those who wait for the log to grow.
//! - [`promotion`]: a slave becomes the master.
//! - [`rocketmq_shadow`]: on a slave of a RocketMQ master, in the place of [`shadow`]. `remoting_wire`: its connection.
//! - [`wire`]: native frames on a connection that may become another.

pub(crate) mod complaints;
pub(crate) mod desk;
mod fit;
pub(crate) mod follower;
pub(crate) mod following;
pub(crate) mod link;
pub(crate) mod promotion;
pub(crate) mod pulse;
mod remoting_wire;
pub(crate) mod replicas;
pub(crate) mod rocketmq_shadow;
pub(crate) mod shadow;
pub(crate) mod steps;
pub(crate) mod wire;
