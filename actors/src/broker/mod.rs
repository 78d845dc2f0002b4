//! A broker: its store, its tables, its actors.
//!
//! - [`context`]: what its actors share: [`topics`], [`offsets`], [`credits`], [`meters`], [`positions`],
//!   [`standing`], [`set_view`], [`routes`], [`told`].
//! - [`unheard`]: topics that a slave was not told of before it was promoted.
//! - [`gate`]: whether messages are taken. [`hidden`]: what consumers do not see yet.
//! - [`assembly`]: how all of it is put together and taken apart. [`addresses`]: where it listens; `reception`: who may come.
//! - [`details`]: what operators see. [`statistics`]: what became of offsets lately.

pub(crate) mod addresses;
pub(crate) mod assembly;
pub(crate) mod context;
pub(crate) mod credits;
pub(crate) mod details;
pub(crate) mod gate;
pub(crate) mod hidden;
pub(crate) mod meters;
pub(crate) mod offsets;
pub(crate) mod positions;
mod reception;
pub(crate) mod restart;
pub(crate) mod routes;
pub(crate) mod set_view;
pub(crate) mod standing;
pub(crate) mod statistics;
pub(crate) mod told;
mod topic_changes;
pub(crate) mod topics;
pub(crate) mod unheard;
