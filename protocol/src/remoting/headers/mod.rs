//! The fields of each request and response.
//!
//! A field is written as its name on the wire, a name here, a type, and what it is when it is missing. Without the last it
//! has to be there, unless its type is an `Option`. Names of topics and groups are as they came: nobody has checked them.
//! Queue numbers and offsets may be negative, which has a meaning in some requests and is an error in others.
//!
//! - [`send`]: storing messages, replies. [`pull`]: pulling. [`pop`]: popping.
//! - [`offsets`]: offsets of groups and queues. [`query`]: finding messages.
//! - [`transaction`]: half messages. [`membership`]: clients in their groups.
//! - [`name_server`]: routes, brokers, values.
//! - [`topic_admin`], [`group_admin`], [`broker_admin`]: what operators ask.
//! - [`common`]: what any request may carry besides.

use super::fields::{FieldError, FieldWriter, Fields, WriteFields};

pub mod broker_admin;
pub mod common;
pub mod group_admin;
pub mod membership;
pub mod name_server;
pub mod offsets;
pub mod pop;
pub mod pull;
pub mod query;
pub mod send;
pub mod topic_admin;
pub mod transaction;

/// Headers that are read from fields.
pub trait ReadFields<'a>: Sized {
    /// Reads the header, which borrows its texts.
    ///
    /// # Errors
    ///
    /// When a field is missing that has to be there, or holds something that it cannot.
    fn from_fields(fields: &'a Fields<'_>) -> Result<Self, FieldError>;
}

/// Structs whose members are fields, with reading and writing.
macro_rules! headers {
    ($(
        $(#[$doc:meta])*
        $header:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $wire:literal => $field:ident: $type:ty $(= $default:expr)?,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $header $(<$life>)? {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl<'a> ReadFields<'a> for $header $(<$life>)? {
                fn from_fields(fields: &'a Fields<'_>) -> Result<Self, FieldError> {
                    Ok(Self {
                        $($field: headers!(@read fields, $wire $(, $default)?),)*
                    })
                }
            }

            impl $(<$life>)? WriteFields for $header $(<$life>)? {
                fn write_fields(&self, out: &mut FieldWriter<'_>) {
                    $(out.value($wire, &self.$field);)*
                }
            }
        )*
    };
    (@read $fields:ident, $wire:literal) => { $fields.read($wire)? };
    (@read $fields:ident, $wire:literal, $default:expr) => { $fields.read_or($wire, $default)? };
}

use headers;
