use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, PartialOrd, Eq, Ord)]
#[serde(default)]
struct Key {
    a: String,
    n: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct All {
    flag: bool,
    keyed: BTreeMap<Key, i64>,
    list: Vec<String>,
    number: i64,
    numbered: BTreeMap<i32, u64>,
    optional: Option<i32>,
    rate: f64,
    text: String,
}

fn read(text: &str) -> Result<All, JsonError> {
    from_slice(text.as_bytes())
}

fn text<T: Serialize>(value: &T) -> String {
    String::from_utf8(to_bytes(value).to_vec()).unwrap()
}

#[test]
fn objects_and_numbers_are_keys_without_quotes() {
    let value = All {
        keyed: BTreeMap::from([(
            Key {
                a: "q".into(),
                n: 1,
            },
            5,
        )]),
        numbered: BTreeMap::from([(-1, 2), (0, 1)]),
        list: vec!["x".into(), String::new()],
        ..All::default()
    };
    let written = text(&value);
    let expected = r#"{"flag":false,"keyed":{{"a":"q","n":1}:5},"list":["x",""],"number":0,"#
        .to_owned()
        + r#""numbered":{-1:2,0:1},"optional":null,"rate":0.0,"text":""}"#;
    assert_eq!(written, expected);
    assert_eq!(read(&written), Ok(value));
}

#[test]
fn scalars_may_stand_in_quotes_and_numbers_may_be_texts() {
    let loose = r#" {"number":"12","rate":"1.5","flag":"true","text":7,"optional":"3",
        "numbered":{"4":"5"},"list":[1,true,"x"],"unknown":{{"k":[1]}:null}} "#;
    let value = All {
        number: 12,
        rate: 1.5,
        flag: true,
        text: "7".into(),
        optional: Some(3),
        numbered: BTreeMap::from([(4, 5)]),
        list: vec!["1".into(), "true".into(), "x".into()],
        ..All::default()
    };
    assert_eq!(read(loose), Ok(value));
}

#[test]
fn null_is_the_empty_value() {
    let nothing = r#"{"flag":null,"keyed":null,"list":null,"number":null,"numbered":null,"optional":null,"rate":null,"text":null}"#;
    assert_eq!(read(nothing), Ok(All::default()));
    assert_eq!(read("{}"), Ok(All::default()));
    assert_eq!(read("null"), Ok(All::default()));
}

#[test]
fn strings_are_read_whatever_is_escaped_in_them() {
    let one = |text: &str| from_slice::<String>(text.as_bytes());
    assert_eq!(
        one(r#""a\u0001\"\\\/\b\f\n\r\tb""#).unwrap(),
        "a\u{1}\"\\/\u{8}\u{c}\n\r\tb"
    );
    assert_eq!(one(r#""\ud83d\ude00""#).unwrap(), "😀");
    assert_eq!(one(r#""\ud83d""#).unwrap(), "\u{FFFD}");
    assert_eq!(one(r#""\ud83d\u0041""#).unwrap(), "\u{FFFD}A");
    assert_eq!(one(r#""\ude00x""#).unwrap(), "\u{FFFD}x");
    assert_eq!(from_slice::<String>(b"\"a\xFFb\"").unwrap(), "a\u{FFFD}b");
    assert_eq!(
        from_slice::<String>(b"\"\\n\xFFb\"").unwrap(),
        "\n\u{FFFD}b"
    );
    for broken in [
        r#""\x41""#,
        r#""\u00g1""#,
        r#""\u00""#,
        r#"""#,
        r#""\"#,
        r#""\""#,
        "",
    ] {
        assert!(one(broken).is_err(), "{broken}");
    }
}

#[test]
fn what_is_written_has_its_control_characters_escaped() {
    assert_eq!(
        text(&"TAGS\u{1}a\u{2}\"\\\n\u{1f}é"),
        r#""TAGS\u0001a\u0002\"\\\n\u001Fé""#
    );
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    for wrong in [
        r#"{"number":9223372036854775808}"#,
        r#"{"number":1.5}"#,
        r#"{"number":abc}"#,
        r#"{"optional":2147483648}"#,
        r#"{"numbered":{1:-1}}"#,
        r#"{"number":[1]}"#,
        r#"{"flag":maybe}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let digits = "9".repeat(1_000_000);
    assert!(read(&format!("{{\"number\":{digits}}}")).is_err());
    assert_eq!(read(r#"{"number":1.0}"#).unwrap().number, 1);
    assert_eq!(
        read(r#"{"number":-9223372036854775808}"#).unwrap().number,
        i64::MIN
    );
}

#[test]
fn broken_objects_are_refused() {
    for broken in [
        "",
        "{",
        "{\"",
        "{\"text\"",
        "{\"text\":",
        "{\"text\":\"x\"",
        "{\"text\":\"x\",",
        "{,}",
        "{\"text\" \"x\"}",
        "{\"text\":\"x\"}x",
        "{\"list\":[}",
        "{\"list\":[\"a\" \"b\"]}",
        "{\"unknown\":[",
        "{\"unknown\":}",
        "{[1]:2}",
        "[]",
        "{\"keyed\":{{\"a\":1}}}",
    ] {
        assert!(read(broken).is_err(), "{broken}");
    }
}

#[test]
fn nesting_has_a_limit_wherever_it_is() {
    let deep = |open: &str| format!("{{\"unknown\":{}", open.repeat(1_000_000));
    assert!(matches!(read(&deep("[")), Err(JsonError::TooDeep { .. })));
    assert!(matches!(read(&deep("{")), Err(JsonError::TooDeep { .. })));
    assert!(read(&deep("{\"a\":")).is_err());
    let fine = format!("{{\"unknown\":{}{}}}", "[".repeat(60), "]".repeat(60));
    assert_eq!(read(&fine), Ok(All::default()));
}

#[test]
fn values_may_not_take_far_more_memory_than_their_text() {
    type Wide = [u64; 32];
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Big {
        _wide: Wide,
    }
    let many = format!("[{}{{}}]", "{},".repeat(100_000));
    let refused = from_slice::<Vec<Big>>(many.as_bytes()).unwrap_err();
    assert!(matches!(refused, JsonError::TooMany { .. }));
    let texts = format!("[{}\"\"]", "\"\",".repeat(100_000));
    assert_eq!(
        from_slice::<Vec<String>>(texts.as_bytes()).unwrap().len(),
        100_001
    );
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\u{0}-\u{7f}]{0,20}"]
}

fn any_value() -> impl Strategy<Value = All> {
    let key = (any_text(), any::<i64>()).prop_map(|(a, n)| Key { a, n });
    (
        (
            any::<bool>(),
            any::<i64>(),
            any::<Option<i32>>(),
            any_text(),
        ),
        prop::collection::btree_map(key, any::<i64>(), 0..4),
        prop::collection::btree_map(any::<i32>(), any::<u64>(), 0..4),
        prop::collection::vec(any_text(), 0..4),
        prop::num::f64::NORMAL | prop::num::f64::ZERO,
    )
        .prop_map(
            |((flag, number, optional, text), keyed, numbered, list, rate)| All {
                flag,
                keyed,
                list,
                number,
                numbered,
                optional,
                rate,
                text,
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in any_value()) {
        prop_assert_eq!(from_slice::<All>(&to_bytes(&value)), Ok(value));
    }

    #[test]
    fn plain_json_is_the_same_to_others(text in any_text(), list in prop::collection::vec(any_text(), 0..4)) {
        let written = to_bytes(&list);
        prop_assert_eq!(&serde_json::from_slice::<Vec<String>>(&written).unwrap(), &list);
        let theirs = serde_json::to_vec(&text).unwrap();
        prop_assert_eq!(from_slice::<String>(&theirs), Ok(text));
    }

    #[test]
    fn bent_text_never_panics(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut written = to_bytes(&value).to_vec();
        let at = at.index(written.len());
        written[at] = byte;
        written.truncate(cut.index(written.len()) + 1);
        let _ = from_slice::<All>(&written);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[\\[\\]{}\",:\\\\unx0-9.a-f-]{0,60}") {
        let _ = read(&text);
        let _ = from_slice::<Vec<Key>>(text.as_bytes());
    }
}
