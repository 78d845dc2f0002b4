//! `${VAR}` in a value, replaced by the variable of that name.

/// Why a value could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExpandError {
    /// The variable is not set.
    Unset(String),
    /// The text after `${` is no name followed by `}`.
    Form,
}

/// Replaces every `${VAR}`; `$${` stands for a literal `${`.
pub(super) fn expand(
    value: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(ExpandError::Form)?;
        if name.is_empty() || name.contains(['$', '{']) {
            return Err(ExpandError::Form);
        }
        expanded.push_str(before);
        expanded.push_str(&variable(name).ok_or_else(|| ExpandError::Unset(name.to_owned()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn home(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/h".to_owned())
    }

    #[test]
    fn variables_are_replaced_and_the_rest_is_kept() {
        assert_eq!(
            expand("${HOME}/a/${HOME}$b{}", home).unwrap(),
            "/h/a//h$b{}"
        );
        assert_eq!(expand("$${HOME}/${HOME}", home).unwrap(), "${HOME}//h");
        assert_eq!(expand("", home).unwrap(), "");
    }

    #[test]
    fn a_variables_own_text_is_not_expanded_again() {
        let value = expand("${A}", |_| Some("${A}".to_owned()));
        assert_eq!(value.unwrap(), "${A}");
    }

    #[test]
    fn unset_variables_and_open_braces_are_errors() {
        assert_eq!(
            expand("${X}", home),
            Err(ExpandError::Unset("X".to_owned()))
        );
        for wrong in ["${HOME", "${}", "${${HOME}}"] {
            assert_eq!(expand(wrong, home), Err(ExpandError::Form), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_expanded_without_a_panic(text in "[${}AB\u{e9}]*") {
            let _ = expand(&text, |name| (name == "A").then(|| name.to_owned()));
        }
    }
}
