//! How a section is declared: one list makes the struct, its defaults, its table of keys and its documentation.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A value written as in TOML.
pub(crate) trait Literal {
    fn literal(&self) -> String;

    /// Without what TOML puts around it; nothing for what is unset.
    fn plain(&self) -> String {
        self.literal()
    }
}

macro_rules! plain_literal {
    ($($type:ty),*) => {
        $(impl Literal for $type {
            fn literal(&self) -> String {
                self.to_string()
            }
        })*
    };
}
plain_literal!(bool, u8, u16, u32, u64);

impl Literal for str {
    fn literal(&self) -> String {
        let mut quoted = String::from("\"");
        for c in self.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        quoted
    }

    fn plain(&self) -> String {
        self.to_owned()
    }
}

impl Literal for String {
    fn literal(&self) -> String {
        self.as_str().literal()
    }

    fn plain(&self) -> String {
        self.clone()
    }
}

impl Literal for PathBuf {
    fn literal(&self) -> String {
        self.to_string_lossy().literal()
    }

    fn plain(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Literal for SocketAddr {
    fn literal(&self) -> String {
        self.to_string().literal()
    }

    fn plain(&self) -> String {
        self.to_string()
    }
}

impl<T: Literal> Literal for Option<T> {
    fn literal(&self) -> String {
        self.as_ref()
            .map_or_else(|| "unset".to_owned(), Literal::literal)
    }

    fn plain(&self) -> String {
        self.as_ref().map_or_else(String::new, Literal::plain)
    }
}

impl<T: Literal> Literal for Vec<T> {
    fn literal(&self) -> String {
        let items: Vec<_> = self.iter().map(Literal::literal).collect();
        format!("[{}]", items.join(", "))
    }

    fn plain(&self) -> String {
        let items: Vec<_> = self.iter().map(Literal::plain).collect();
        items.join(";")
    }
}

/// An enum whose variants are the words of a [`Kind::Choice`](crate::Kind::Choice): the words once, for serde, RocketMQ and documentation.
macro_rules! choices {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal $(, $rocketmq:literal)?;)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $value)] $variant,)*
        }

        impl $name {
            pub(crate) const CHOICES: &'static [$crate::Choice] = &[
                $($crate::Choice {
                    value: $value,
                    rocketmq: choices!(@rocketmq $($rocketmq)?),
                }),*
            ];

            /// The word in TOML.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)*
                }
            }
        }

        impl $crate::declare::Literal for $name {
            fn literal(&self) -> String {
                self.as_str().literal()
            }

            fn plain(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
    (@rocketmq $rocketmq:literal) => { Some($rocketmq) };
    (@rocketmq) => { None };
}
pub(crate) use choices;

/// A section of the settings: the struct with its defaults, and the table of its keys, from one list.
///
/// Each line is `name: type = default, rule;` under its documentation.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident in $section:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $rule:expr;)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`; values: `", stringify!($rule), "`.")]
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            pub(crate) const SECTION: $crate::settings::Section = $crate::settings::Section {
                name: stringify!($section),
                about: concat!($($about, "\n"),+),
                keys: &[
                    $($crate::KeyInfo {
                        key: concat!(stringify!($section), ".", stringify!($field)),
                        doc: concat!($($doc, "\n"),+),
                        rule: $rule,
                        render: |settings| $crate::declare::Literal::literal(&settings.$section.$field),
                        plain: |settings| $crate::declare::Literal::plain(&settings.$section.$field),
                    }),*
                ],
            };
        }
    };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_toml() {
        assert_eq!("a\"b\\c\n".literal(), r#""a\"b\\c\u000A""#);
        assert_eq!(vec![4_u8, 16].literal(), "[4, 16]");
        assert_eq!(None::<u16>.literal(), "unset");
        assert_eq!(PathBuf::from("a/b").literal(), "\"a/b\"");
    }
}
