//! What decides whether a consumer wants a message.
//!
//! # Layout
//!
//! - [`CompiledFilter`] (`compiled`): a subscription's filter, ready to be asked about tag codes and about properties.
//! - `tags`: RocketMQ's text form of tags, and a set of tags with their hashes.
//! - `sql`: an SQL92 expression over properties as a record holds them.
//! - [`Selector`] (`selector`): a JMS message selector over typed [`PropertyValues`].
//! - `jms_message`: those values of a stored message, in which [`jms_keys`](crate::model::jms_keys) names its headers.
//! - [`Expression`] (`expression`): an expression of either [`Dialect`], parsed, checked and printable.
//! - `token`, `number`, `reader`, `parse`, `predicate`, `pattern`, `operands`: from text to a tree, and what is refused
//!   on the way.
//! - `node`, `print`: the tree and its text.
//! - `evaluate`, `compare`, `convert`: from a tree and values to true, false or unknown; [`fraction`] reads texts as Java does.
//!
//! # Two dialects
//!
//! Both come from the SQL92 condition and share tokens, tree and three-valued logic. They differ where RocketMQ's parser
//! went its own way:
//!
//! | | [`Dialect::RocketMq`] | [`Dialect::Jms`] |
//! |---|---|---|
//! | values | strings | booleans, integers, floats, strings |
//! | string beside number | the string is converted; where that fails nothing matches | false |
//! | `NOT a = 1` | `(NOT a) = 1` | `NOT (a = 1)` |
//! | own words | `CONTAINS`, `STARTSWITH`, `ENDSWITH` | `LIKE`, `ESCAPE` |
//! | arithmetic | only a sign | `+ - * /` |
//! | comments | `-- …` and `/* … */` | none |
//! | names | ASCII letters, digits, `_`, `$` | letters and digits of any script, `_`, `$` |
//!
//! # Stricter than RocketMQ
//!
//! RocketMQ's parser stops at the first token that cannot go on and ignores the rest of the text: `a = 1 b = 2` filters by
//! `a = 1`. Here the rest is an error. Beyond that there are the limits below, which RocketMQ does not have.

mod compare;
mod compiled;
mod convert;
mod dialect;
mod error;
mod evaluate;
mod expression;
mod jms_message;
mod node;
mod number;
mod operands;
mod parse;
mod pattern;
mod predicate;
mod print;
mod reader;
mod selector;
mod sql;
mod tags;
#[cfg(test)]
mod tests;
mod token;

pub use compiled::CompiledFilter;
pub use convert::fraction;
pub use dialect::Dialect;
pub use error::FilterError;
pub use expression::Expression;
pub use selector::{PropertyValues, Selector, Value};
pub use tags::tags_of;

/// Longest expression or list of tags in text form, in bytes. RocketMQ has no limit.
pub const MAX_EXPRESSION_BYTES: usize = 16 * 1024;

/// Deepest tree of an expression: operators over operators. Conditions joined by one kind of `AND` or `OR` are one level,
/// however many they are; a sum has as many levels as terms.
pub const MAX_DEPTH: usize = 32;

/// Most parentheses, signs and `NOT`s inside each other in an expression's text, each of which takes the parser's stack.
/// An operator is printed with at most two of them, so what was printed can be parsed.
pub const MAX_NESTING: usize = 2 * MAX_DEPTH;

/// Most different properties one expression can name: their values lie in an array on the stack while it is evaluated.
pub const MAX_NAMED_PROPERTIES: usize = 64;

/// Longest pattern of `LIKE`, in characters: matching takes up to the product of its length and the value's.
pub const MAX_PATTERN_CHARS: usize = 256;

/// Most tags one filter can have.
pub const MAX_TAGS: usize = 1024;
