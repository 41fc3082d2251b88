//! The table of requirements names a test for each; a test that is gone must not stay in the table.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// Columns of tests/requirements.tsv: id, words, `file::test`; a test is a function of Rust or of a suite's shell script.
#[test]
fn every_requirement_names_a_test_that_exists() -> Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(root.join("tests/requirements.tsv"))?;
    let mut seen = BTreeSet::new();
    for line in table.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let columns: Vec<_> = line.split('\t').collect();
        let [id, words, test] = columns.as_slice() else {
            anyhow::bail!("three columns expected: {line}")
        };
        assert!(!words.is_empty(), "{id} has no words");
        let (file, name) = test
            .rsplit_once("::")
            .with_context(|| format!("{id}: file::test expected"))?;
        let source = fs::read_to_string(root.join(file)).with_context(|| format!("{id}: {file}"))?;
        let declared = [format!("fn {name}("), format!("\n{name}() {{")];
        assert!(
            declared.iter().any(|text| source.contains(text)),
            "{id}: {file} has no test {name}"
        );
        seen.insert((*id).to_owned());
    }
    assert!(seen.len() >= 19, "{seen:?}");
    Ok(())
}
