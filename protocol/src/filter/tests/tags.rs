//! Filtering by tags, and the filters of the native wire.

use super::encoded;
use crate::filter::{CompiledFilter, FilterError, MAX_EXPRESSION_BYTES, MAX_TAGS};
use crate::model::tags_code;
use crate::native::request::Filter;

fn tagged(tag: &str) -> Vec<u8> {
    encoded(&[("KEYS", "k"), ("TAGS", tag), ("X", "TagB")])
}

fn tags(tags: &[&str]) -> Result<CompiledFilter, FilterError> {
    CompiledFilter::new(&Filter::Tags(tags.iter().map(|&tag| tag.into()).collect()))
}

#[test]
fn all_messages_match_all() {
    let filter = CompiledFilter::new(&Filter::All).unwrap();
    assert!(filter.is_all());
    assert!(filter.may_match_code(5) && filter.matches(b"") && filter.matches(&tagged("TagA")));
}

#[test]
fn tags_match_by_hash_first_and_then_as_strings() {
    // "Aa" and "BB" have one hash in Java.
    let filter = tags(&["Aa"]).unwrap();
    assert!(filter.may_match_code(tags_code(Some("Aa"))));
    assert!(filter.may_match_code(tags_code(Some("BB"))));
    assert!(!filter.may_match_code(tags_code(Some("TagA"))));
    assert!(filter.matches(&tagged("Aa")));
    assert!(!filter.matches(&tagged("BB")));
    assert!(!filter.matches(&tagged("aa")));
}

#[test]
fn only_the_lower_half_of_a_code_is_compared() {
    let filter = tags(&["polygenelubricants"]).unwrap();
    assert!(filter.may_match_code(i64::from(i32::MIN)));
    assert!(filter.may_match_code(0x8000_0000));
    assert!(!filter.may_match_code(0));
}

#[test]
fn a_message_without_tags_matches_no_tag() {
    // Its hash is 0, which is the code of messages without tags.
    let filter = tags(&["\0"]).unwrap();
    assert!(filter.may_match_code(tags_code(None)));
    assert!(!filter.matches(b""));
    assert!(!filter.matches(&encoded(&[("X", "\0")])));
}

#[test]
fn a_messages_tags_are_one_tag() {
    let filter = tags(&["TagA", "TagB"]).unwrap();
    assert!(filter.matches(&tagged("TagA")) && filter.matches(&tagged("TagB")));
    assert!(!filter.matches(&tagged("TagA || TagB")));
    assert!(!filter.matches(&tagged("TagA TagB")));
}

#[test]
fn of_tags_given_twice_the_last_counts() {
    let filter = tags(&["TagB"]).unwrap();
    assert!(filter.matches(&encoded(&[("TAGS", "TagA"), ("TAGS", "TagB")])));
    assert!(!filter.matches(&encoded(&[("TAGS", "TagB"), ("TAGS", "TagA")])));
}

#[test]
fn many_tags_are_found_as_well_as_few() {
    let names: Vec<String> = (0..MAX_TAGS).map(|n| format!("tag-{n}")).collect();
    let filter = CompiledFilter::new(&Filter::Tags(names.clone())).unwrap();
    for name in &names {
        assert!(filter.may_match_code(tags_code(Some(name))));
        assert!(filter.matches(&tagged(name)));
    }
    assert!(!filter.matches(&tagged("tag-1024")));
}

#[test]
fn the_text_form_is_split_at_double_bars_and_trimmed() {
    for text in [
        "TagA||TagB",
        " TagA || TagB ",
        "TagA || || TagB ||",
        "||TagB||TagA||TagB",
    ] {
        let filter = CompiledFilter::from_tags_text(text).unwrap();
        assert_eq!(filter, tags(&["TagA", "TagB"]).unwrap(), "{text:?}");
    }
    for text in ["", "*", " * ", "  "] {
        assert!(
            CompiledFilter::from_tags_text(text).unwrap().is_all(),
            "{text:?}"
        );
    }
    // Among others a star is a tag, and a single bar is part of one.
    let filter = CompiledFilter::from_tags_text("TagA || *").unwrap();
    assert!(filter.matches(&tagged("*")) && !filter.matches(&tagged("TagB")));
    assert!(
        CompiledFilter::from_tags_text("a|b")
            .unwrap()
            .matches(&tagged("a|b"))
    );
}

#[test]
fn tags_that_nothing_could_match_are_refused() {
    assert_eq!(tags(&[]), Err(FilterError::NoTags));
    assert_eq!(
        CompiledFilter::from_tags_text(" || ||"),
        Err(FilterError::NoTags)
    );
    assert_eq!(tags(&["a", ""]), Err(FilterError::EmptyTag { place: 2 }));
}

#[test]
fn tags_have_limits() {
    let names: Vec<String> = (0..=MAX_TAGS).map(|n| n.to_string()).collect();
    let count = MAX_TAGS + 1;
    let refused = Err(FilterError::TooManyTags { count });
    assert_eq!(CompiledFilter::new(&Filter::Tags(names.clone())), refused);
    assert_eq!(CompiledFilter::from_tags_text(&names.join("||")), refused);
    let length = MAX_EXPRESSION_BYTES + 1;
    let refused = Err(FilterError::TooLong { length });
    assert_eq!(CompiledFilter::from_tags_text(&"a".repeat(length)), refused);
}

#[test]
fn an_expression_looks_at_properties_only() {
    let filter = CompiledFilter::new(&Filter::Sql("TAGS = 'TagA'".to_owned())).unwrap();
    assert!(filter.may_match_code(0) && filter.may_match_code(tags_code(Some("TagB"))));
    assert!(filter.matches(&tagged("TagA")) && !filter.matches(&tagged("TagB")));
    assert_eq!(filter.expression().unwrap().to_string(), "TAGS = 'TagA'");
    assert!(CompiledFilter::new(&Filter::Sql("TAGS =".to_owned())).is_err());
}
