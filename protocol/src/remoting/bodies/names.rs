//! Enums that stand in JSON by name, or by number where a client is written in C++.

/// Enums with the names of their variants. Numbers are places in the list.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The variant with that name or number; `None` when there is none.
            pub fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($name => Some(Self::$variant),)*
                    _ => Self::ALL.get(text.parse::<usize>().ok()?).copied(),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                match Self::from_text(&text) {
                    Some(value) => Ok(value),
                    None if text.is_empty() => Ok(Self::default()),
                    None => Err(serde::de::Error::custom(format_args!(
                        concat!("{:?} is no ", stringify!($type)),
                        text.chars().take(64).collect::<String>()
                    ))),
                }
            }
        }
    };
}

pub(super) use names;
