//! `docs/configuration.md` says what the code does.

use std::path::Path;

use castmq_config::{keys, reference};

/// Set it to write the document anew instead of comparing it.
const WRITE: &str = "CASTMQ_WRITE_DOCS";

#[test]
fn the_document_has_the_keys_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let filled = reference::filled(&document).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &filled).unwrap();
        return;
    }
    for key in keys() {
        assert!(
            document.contains(&format!("`{}`", key.key)),
            "{} is missing",
            key.key
        );
    }
    assert!(
        filled == document,
        "docs/configuration.md is behind the code: run {WRITE}=1 cargo test -p castmq-config --test reference"
    );
}
