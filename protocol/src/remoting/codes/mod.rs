//! Numbers that both sides know: what is asked, what came of it, and who speaks.

mod language;
pub mod request_code;
pub mod response_code;
pub mod version;

pub use language::Language;

/// Codes as constants, and a function that tells their names.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        $($(#[$doc])* pub const $name: i32 = $code;)*

        /// The name of a code; `None` when it is not known.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($code => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

use codes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names() {
        assert_eq!(request_code::name(310), Some("SEND_MESSAGE_V2"));
        assert_eq!(request_code::name(9), None);
        assert_eq!(response_code::name(-1006), Some("RPC_TIME_OUT"));
        assert_eq!(response_code::name(response_code::SUCCESS), Some("SUCCESS"));
    }

    #[test]
    fn languages_are_known_by_number_and_by_name() {
        for code in 0..14 {
            let language = Language::from_code(code);
            assert_eq!(language.code(), code);
            assert_eq!(Language::from_name(language.name()), language);
        }
        assert_eq!(Language::from_code(200), Language::Other);
        assert_eq!(Language::from_name("COBOL"), Language::Other);
    }

    #[test]
    fn versions_are_told_as_rocketmq_names_its_releases() {
        assert_eq!(version::name(version::OURS), "V5_3_3");
        assert_eq!(version::name(version::V4_9_4), "V4_9_4");
        assert_eq!(version::name(version::V4_9_4 - 1), "V4_9_4_SNAPSHOT");
        assert_eq!(version::name(317), "V4_5_2");
        assert_eq!(version::name(211), "V3_9_9");
        assert_eq!(version::name(version::V3_1_8_SNAPSHOT), "V3_1_8_SNAPSHOT");
        assert_eq!(version::name(45), "V3_0_15");
        assert_eq!(version::name(0), "V3_0_0");
        assert_eq!(version::name(-1), "V3_0_0");
        assert_eq!(version::name(i32::MAX), "HIGHER_VERSION");
    }
}
