//! JSON values as YAML 1.2 in block style.
//!
//! Every text that is not plainly a word is double-quoted as in JSON, which YAML reads alike. Mappings keep the order
//! of the value.

use std::fmt::Write as _;

use serde_json::Value;

/// The value as a YAML document without a leading marker; ends with a line feed.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, &mut out),
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
    out
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                let _infallible = write!(out, "{indent}{}:", text(key));
                entry(below, depth + 1, out);
            }
        }
        Value::Array(list) => {
            for below in list {
                item(below, depth, &indent, out);
            }
        }
        _ => {}
    }
}

/// What follows "key:".
fn entry(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => {
            out.push('\n');
            block(value, depth, out);
        }
        _ => {
            let _infallible = writeln!(out, " {}", scalar(value));
        }
    }
}

/// A list item; a mapping begins on the line of its dash.
fn item(value: &Value, depth: usize, indent: &str, out: &mut String) {
    if !matches!(value, Value::Object(_) | Value::Array(_)) || is_empty(value) {
        let _infallible = writeln!(out, "{indent}- {}", scalar(value));
        return;
    }
    let mut below = String::new();
    block(value, depth + 1, &mut below);
    let _infallible = write!(out, "{indent}- {}", below.trim_start_matches(' '));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(word) => text(word),
        // Numbers, truth values, null and empty collections are the same in both.
        other => other.to_string(),
    }
}

/// Plain when no reader could take it for anything but this text.
fn text(word: &str) -> String {
    let plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    // Words that YAML 1.1 readers take for truth values and null.
    let special = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if plain && !special.contains(&word.to_ascii_lowercase().as_str()) {
        return word.to_owned();
    }
    Value::from(word).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_reads_like_a_manifest() {
        let value = json!({
            "incidents": [{"id": "01J", "times": 3, "pods": ["web-1", "web-2"], "latest": {"at": "17"}}, {"id": "02J"}],
            "empty": [], "none": {}, "open": true,
        });
        insta::assert_snapshot!(to_yaml(&value), @r#"
        empty: []
        incidents:
          - id: "01J"
            latest:
              at: "17"
            pods:
              - web-1
              - web-2
            times: 3
          - id: "02J"
        none: {}
        open: true
        "#);
    }

    #[test]
    fn a_text_is_never_read_as_something_else() {
        for word in [
            "no",
            "Null",
            "1e3",
            "0x1f",
            "",
            "- a",
            "a: b",
            "#",
            "*x",
            "a\nb",
            "\u{1b}[31m",
            "~",
            "a ",
            ".5",
        ] {
            let line = to_yaml(&json!(word));
            assert!(line.starts_with('"') && line.ends_with("\"\n"), "{line}");
            assert_eq!(line.lines().count(), 1);
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), word);
        }
    }

    #[test]
    fn lists_in_lists_keep_their_shape() {
        assert_eq!(
            to_yaml(&json!([[1, 2], [], {"a": [3]}])),
            "- - 1\n  - 2\n- []\n- a:\n    - 3\n"
        );
    }
}
