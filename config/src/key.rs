//! What is known about one key: the values it takes, its RocketMQ names, when a change counts.

use std::fmt;

use crate::Settings;

/// One setting: the single source of its checks, its mapping from RocketMQ and its documentation.
#[derive(Debug, Clone, Copy)]
pub struct KeyInfo {
    /// Section and name, as in TOML: `store.data_dir`.
    pub key: &'static str,
    /// What it is, in plain sentences; lines as they stand in the source.
    pub doc: &'static str,
    /// The values it takes and where RocketMQ has it.
    pub rule: Rule,
    pub(crate) render: fn(&Settings) -> String,
    /// Without quotes; lists with `;` between their items, and nothing for what is unset.
    pub(crate) plain: fn(&Settings) -> String,
}

impl KeyInfo {
    /// The value in `settings`, written as in TOML; `unset` for an optional one that has none.
    pub fn value_in(&self, settings: &Settings) -> String {
        (self.render)(settings)
    }

    /// The environment variable that sets it: `CASTMQ_STORE__DATA_DIR`.
    pub fn variable(&self) -> String {
        let name = self.key.to_ascii_uppercase().replace('.', "__");
        format!("{}{name}", crate::VARIABLE_PREFIX)
    }
}

/// Whole numbers from `min` to `max` in steps of `step`, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Smallest allowed value.
    pub min: i64,
    /// Largest allowed value.
    pub max: i64,
    /// Values are multiples of this; 1 for all of them.
    pub step: i64,
}

impl Range {
    /// Whether `value` is one of the range.
    pub fn contains(&self, value: i64) -> bool {
        (self.min..=self.max).contains(&value) && value % self.step == 0
    }
}

/// What the number of a setting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things; the key says which.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Hours.
    Hours,
    /// Hundredths of the whole.
    Percent,
    /// Memory pages of 4096 bytes.
    Pages,
}

impl Unit {
    fn suffix(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Bytes => " bytes",
            Unit::Milliseconds => " ms",
            Unit::Hours => " hours",
            Unit::Percent => " percent",
            Unit::Pages => " pages",
        }
    }
}

/// One of several words a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The word in TOML, environment and flags.
    pub value: &'static str,
    /// The word in a RocketMQ file; `None` when RocketMQ has no such setting.
    pub rocketmq: Option<&'static str>,
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number within the rule's range.
    Integer(Unit),
    /// 1 to 127 printable ASCII characters without blanks.
    Name,
    /// Any text but the empty one.
    Text,
    /// A file or folder. A relative one starts at the working directory.
    Path,
    /// A host name or IP address, with or without `:port`.
    Host,
    /// An IP address and a port; port 0 asks the system for a free one.
    Socket,
    /// A list of `host:port`.
    HostPorts,
    /// A list of whole numbers within the rule's range.
    Integers,
    /// One of these words.
    Choice(&'static [Choice]),
}

/// When a changed value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At the next start.
    Restart,
    /// At the next start, for a store that holds no such files yet: files on disk keep the size they were made with.
    NewStore,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Effect::Restart => "restart",
            Effect::NewStore => "restart, new store",
        })
    }
}

/// What RocketMQ itself does with a number it does not like, done the same when the number comes from its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjust {
    /// Takes the nearest of `min` and `max`.
    Clamp {
        /// Smallest value RocketMQ works with.
        min: i64,
        /// Largest value RocketMQ works with.
        max: i64,
    },
    /// Rounds up to the next step of the range.
    RoundUp,
}

/// The values a key takes and where RocketMQ has it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The form of a value.
    pub kind: Kind,
    /// Limits of its numbers.
    pub range: Option<Range>,
    /// Whether it may be without a value; empty text takes it away.
    pub optional: bool,
    /// When a change counts.
    pub effect: Effect,
    /// Names in RocketMQ's `.properties`, the current one first, then older spellings.
    pub rocketmq_names: &'static [&'static str],
    /// What one of RocketMQ's units is in ours: 1000 for seconds to milliseconds.
    pub rocketmq_scale: i64,
    /// What RocketMQ does with a number out of range.
    pub rocketmq_adjust: Option<Adjust>,
}

impl Rule {
    const fn of(kind: Kind) -> Self {
        Self {
            kind,
            range: None,
            optional: false,
            effect: Effect::Restart,
            rocketmq_names: &[],
            rocketmq_scale: 1,
            rocketmq_adjust: None,
        }
    }

    pub(crate) const fn switch() -> Self {
        Self::of(Kind::Switch)
    }

    pub(crate) const fn integer(unit: Unit, min: i64, max: i64) -> Self {
        let mut rule = Self::of(Kind::Integer(unit));
        rule.range = Some(Range { min, max, step: 1 });
        rule
    }

    pub(crate) const fn integers(min: i64, max: i64) -> Self {
        let mut rule = Self::of(Kind::Integers);
        rule.range = Some(Range { min, max, step: 1 });
        rule
    }

    pub(crate) const fn name() -> Self {
        Self::of(Kind::Name)
    }

    pub(crate) const fn text() -> Self {
        Self::of(Kind::Text)
    }

    pub(crate) const fn path() -> Self {
        Self::of(Kind::Path)
    }

    pub(crate) const fn host() -> Self {
        Self::of(Kind::Host)
    }

    pub(crate) const fn socket() -> Self {
        Self::of(Kind::Socket)
    }

    pub(crate) const fn host_ports() -> Self {
        Self::of(Kind::HostPorts)
    }

    pub(crate) const fn choice(choices: &'static [Choice]) -> Self {
        Self::of(Kind::Choice(choices))
    }

    /// Only multiples of `step`.
    pub(crate) const fn step(mut self, step: i64) -> Self {
        if let Some(range) = &mut self.range {
            range.step = step;
        }
        self
    }

    pub(crate) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    pub(crate) const fn rocketmq(mut self, names: &'static [&'static str]) -> Self {
        self.rocketmq_names = names;
        self
    }

    pub(crate) const fn rocketmq_scale(mut self, scale: i64) -> Self {
        self.rocketmq_scale = scale;
        self
    }

    pub(crate) const fn rocketmq_clamps(mut self, min: i64, max: i64) -> Self {
        self.rocketmq_adjust = Some(Adjust::Clamp { min, max });
        self
    }

    pub(crate) const fn rocketmq_rounds_up(mut self) -> Self {
        self.rocketmq_adjust = Some(Adjust::RoundUp);
        self
    }

    /// The allowed values in words: `1 to 60000 ms`.
    pub fn allowed(&self) -> String {
        let numbers = |unit: Unit| match self.range {
            Some(Range { min, max, step: 1 }) => format!("{min} to {max}{}", unit.suffix()),
            Some(Range { min, max, step }) => {
                format!("{min} to {max}{} in steps of {step}", unit.suffix())
            }
            None => "a whole number".to_owned(),
        };
        match self.kind {
            Kind::Switch => "true or false".to_owned(),
            Kind::Integer(unit) => numbers(unit),
            Kind::Integers => format!("a list of {}", numbers(Unit::Count)),
            Kind::Name => "1 to 127 printable ASCII characters without blanks".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Host => "host or host:port".to_owned(),
            Kind::Socket => "ip:port".to_owned(),
            Kind::HostPorts => "a list of host:port".to_owned(),
            Kind::Choice(choices) => {
                let words: Vec<_> = choices.iter().map(|choice| choice.value).collect();
                words.join(", ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_values_name_range_unit_and_step() {
        let rule = Rule::integer(Unit::Bytes, 20, 100).step(20);
        assert_eq!(rule.allowed(), "20 to 100 bytes in steps of 20");
        assert_eq!(Rule::integers(0, 23).allowed(), "a list of 0 to 23");
    }
}
