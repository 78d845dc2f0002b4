//! RocketMQ's remoting protocol, as data.
//!
//! Both sides of a connection send frames at any time: requests, and responses that carry the `opaque` number of their
//! request. A frame is a length, a header in JSON or in RocketMQ's binary form, and a body of raw bytes up to the
//! frame's end. A header is a code, a few flags, and a list of named texts (the *fields*); what the fields and the body
//! mean depends on the code.
//!
//! - [`frame`]: lengths, limits, finding frames.
//! - [`command`]: decoding headers. [`encode`]: writing frames.
//! - [`codes`]: what is asked, what came of it, languages, versions.
//! - [`template`]: sends that are like the one before, and their answers, without doing all of that each time.
//! - [`fields`]: fields, read and written by type. [`headers`]: the fields of each request and response.
//! - [`json`]: the JSON of bodies. [`bodies`]: bodies and files, by what they are about.
//! - [`pop`], [`recall`], [`attributes`], [`properties_text`]: texts inside of fields and bodies that have parts of their
//!   own: what consumers that pop have, messages to take back, changes of attributes, configuration.
//!
//! Field and body names on the wire are RocketMQ's; the bytes of what is written are held still by golden files in
//! `protocol/tests`.

pub mod attributes;
mod base64;
pub mod bodies;
pub mod codes;
pub mod command;
pub mod encode;
pub mod fields;
pub mod frame;
pub mod headers;
pub mod json;
pub mod pop;
pub mod properties_text;
pub mod recall;
pub mod template;

pub use codes::{Language, request_code, response_code};
pub use command::{Command, CommandError};
pub use encode::{Head, begin_frame, finish_frame, put_frame};
pub use fields::{FieldError, Fields, WriteFields};
pub use frame::{Frame, FrameError, Frames, Serialization};
pub use headers::ReadFields;
