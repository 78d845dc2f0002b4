//! The languages of clients.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a client or server is written in (RocketMQ `LanguageCode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// Java.
    #[default]
    Java,
    /// C++.
    Cpp,
    /// C# and its kin.
    DotNet,
    /// Python.
    Python,
    /// Delphi.
    Delphi,
    /// Erlang.
    Erlang,
    /// Ruby.
    Ruby,
    /// Any that has no name here.
    Other,
    /// A gateway for HTTP.
    Http,
    /// Go.
    Go,
    /// PHP.
    Php,
    /// OpenMessaging.
    Oms,
    /// Rust.
    Rust,
    /// JavaScript outside of browsers.
    NodeJs,
}

/// In the order of their codes.
const ALL: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::DotNet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// The language of a binary header's code.
    pub fn from_code(code: u8) -> Self {
        let known = ALL.get(usize::from(code));
        known.map_or(Self::Other, |(language, _)| *language)
    }

    /// As it stands in a binary header.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The language of a name in JSON.
    pub fn from_name(name: &str) -> Self {
        let known = ALL.iter().find(|(_, known)| *known == name);
        known.map_or(Self::Other, |(language, _)| *language)
    }

    /// The language of what stands in JSON: a name, or a code as some clients send it.
    pub fn from_text(text: &str) -> Self {
        match text.parse() {
            Ok(code) => Self::from_code(code),
            Err(_) => Self::from_name(text),
        }
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        let known = ALL.get(usize::from(self.code()));
        known.map_or("OTHER", |(_, name)| name)
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(deserializer).map(|text| Self::from_text(&text))
    }
}
