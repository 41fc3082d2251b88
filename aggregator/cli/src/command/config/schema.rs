//! `inquest config schema PROGRAM`: the configuration as a JSON Schema, for editors.
//!
//! Owns the translation. The keys come from the code that reads the file, the sentences from the page of the handbook, so
//! an editor says neither more nor less than both.

use inquest_shared::config::{AgentConfig, AggregatorConfig, Form, Key, Kind, Schema, describe};
use serde_json::{Map, Value, json};

use crate::{
    cli::Program,
    error::{CliError, Status},
    output,
};

/// The page with a table of the keys of each program.
const PAGE: &str = include_str!("../../../../../docs/configuration.md");

/// Prints the schema.
pub(in crate::command) fn run(program: Program) -> Result<Status, CliError> {
    output::print(&text(program))?;
    Ok(Status::Success)
}

fn text(program: Program) -> String {
    let schema = match program {
        Program::Agent => build::<AgentConfig>(program),
        Program::Aggregator => build::<AggregatorConfig>(program),
    };
    format!("{schema:#}")
}

fn build<T: Schema>(program: Program) -> Value {
    let mut root = object();
    for key in describe::<T>() {
        let live = T::LIVE.iter().any(|start| key.path.starts_with(start));
        let meaning = meaning(program, &key.path).unwrap_or_default();
        let leaf = leaf(&key, &words(&key, meaning, live));
        let segments: Vec<&str> = key.path.split('.').collect();
        insert(&mut root, &segments, &key, leaf);
    }
    let name = program.name();
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert(
        "title".into(),
        format!("Configuration of inquest-{name} ({name}.yaml)").into(),
    );
    Value::Object(root)
}

fn object() -> Map<String, Value> {
    let object = json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}});
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Puts a key where its path leads, and makes the sections on the way.
fn insert(place: &mut Map<String, Value>, segments: &[&str], key: &Key, leaf: Value) {
    let Some((first, rest)) = segments.split_first() else {
        return;
    };
    let name = first.trim_end_matches("[]");
    if rest.is_empty() {
        if key.required {
            add(place, "required", name.into());
        }
        if key.kind == Kind::Choice {
            add(place, "oneOf", json!({"required": [name]}));
        }
    }
    let Some(below) = map(place, "properties") else { return };
    if rest.is_empty() {
        below.insert(name.to_owned(), leaf);
        return;
    }
    let section = below.entry(name.to_owned()).or_insert_with(|| match *first == name {
        true => Value::Object(object()),
        false => json!({"type": "array", "items": object()}),
    });
    let section = match *first == name {
        true => Some(section),
        false => section.get_mut("items"),
    };
    if let Some(Value::Object(section)) = section {
        insert(section, rest, key, leaf);
    }
}

fn map<'a>(place: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    place
        .entry(name.to_owned())
        .or_insert_with(|| json!({}))
        .as_object_mut()
}

fn add(place: &mut Map<String, Value>, name: &str, item: Value) {
    if let Value::Array(list) = place.entry(name.to_owned()).or_insert_with(|| json!([])) {
        list.push(item);
    }
}

/// What an editor shows beside a key.
fn words(key: &Key, meaning: &str, live: bool) -> String {
    let mut words = meaning.replace('`', "");
    if let Kind::List(..) = key.kind
        && let Some(default) = &key.default
    {
        words += &format!("\nDefault: {default}");
    }
    if let Kind::Scalar(_, expected) | Kind::List(_, expected) = key.kind {
        words += &format!("\nExpected: {expected}");
    }
    if let Some(env) = &key.env {
        words += &format!("\nEnvironment: {env}");
    }
    let when = if live { "at once" } else { "with the next start" };
    format!("{words}\nA change takes effect {when}.")
        .trim_start()
        .to_owned()
}

fn leaf(key: &Key, words: &str) -> Value {
    let mut leaf = match key.kind {
        Kind::Scalar(form, _) => scalar(form, key.default.as_deref()),
        Kind::List(form, _) => json!({"type": "array", "items": scalar(form, None)}),
        Kind::Texts => json!({"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}),
        Kind::Choice => Value::Object(object()),
    };
    if let Value::Object(leaf) = &mut leaf {
        leaf.insert("description".into(), words.into());
    }
    leaf
}

fn scalar(form: Form, default: Option<&str>) -> Value {
    let pattern = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let mut schema = match form {
        Form::Text => json!({"type": "string", "minLength": 1}),
        Form::Path => pattern("^/"),
        Form::Bool => json!({"type": "boolean"}),
        Form::Whole => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        Form::Duration => pattern("^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?([0-9]+ns)?$"),
        Form::Size => pattern("^[0-9]+([TGMK]i?)?B$"),
        Form::Socket | Form::HostPort => pattern("^.+:[0-9]{1,5}$"),
        Form::Url => pattern("^https?://[^/]"),
        Form::Word(words) => json!({"enum": spellings(words)}),
    };
    let value = default.filter(|text| !text.is_empty()).map(|text| match form {
        Form::Bool | Form::Whole => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => Value::from(text),
    });
    if let (Value::Object(schema), Some(value)) = (&mut schema, value) {
        schema.insert("default".into(), value);
    }
    schema
}

/// The words as YAML may read them: without quotes `true` is no text.
fn spellings(words: &[&str]) -> Vec<Value> {
    let plain = words.iter().map(|word| Value::from(*word));
    let truths = words
        .iter()
        .filter_map(|word| word.parse::<bool>().ok().map(Value::from));
    plain.chain(truths).collect()
}

/// The rows of a program's table: path, default, meaning.
fn rows(program: Program) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let heading = format!("## {}.yaml", program.name());
    let section = PAGE
        .split("\n## ")
        .find(|part| heading.ends_with(part.lines().next().unwrap_or_default()));
    section.unwrap_or_default().lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.splitn(3, " | ");
        Some((cells.next()?.strip_suffix('`')?, cells.next()?, cells.next()?))
    })
}

fn meaning(program: Program, path: &str) -> Option<&'static str> {
    rows(program)
        .find(|(key, _, _)| *key == path)
        .map(|(_, _, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn keys(program: Program) -> Vec<Key> {
        match program {
            Program::Agent => describe::<AgentConfig>(),
            Program::Aggregator => describe::<AggregatorConfig>(),
        }
    }

    /// The page names every key once, with the default that holds.
    #[test]
    fn the_page_and_the_program_know_the_same_keys_and_defaults() {
        for program in [Program::Agent, Program::Aggregator] {
            let keys = keys(program);
            let opens = |key: &Key| {
                keys.iter()
                    .any(|other| other.path.starts_with(&format!("{}.", key.path)))
            };
            let mut wanted: Vec<&Key> = keys
                .iter()
                .filter(|key| !(key.kind == Kind::Choice && opens(key)))
                .collect();
            wanted.sort_by_key(|key| &key.path);
            let mut listed: Vec<_> = rows(program).collect();
            listed.sort_unstable();
            let names = |list: Vec<&str>| list.join("\n");
            assert_eq!(
                names(listed.iter().map(|row| row.0).collect()),
                names(wanted.iter().map(|key| key.path.as_str()).collect())
            );
            for (key, (_, cell, meaning)) in wanted.iter().zip(&listed) {
                assert!(!meaning.is_empty(), "{}", key.path);
                // Words instead of a value stand for a default that depends on another key.
                let Some(literal) = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else {
                    assert_eq!(*cell == "required", key.required, "{}", key.path);
                    continue;
                };
                let literal = literal.replace("<data_dir>", "/var/lib/inquest");
                let none = ["[]", "{}"].contains(&literal.as_str()) && key.default.as_deref().unwrap_or("[]") == "[]";
                assert!(
                    none || Some(literal.as_str()) == key.default.as_deref(),
                    "{}: {cell}",
                    key.path
                );
            }
        }
    }

    #[test]
    fn the_committed_schemas_are_those_of_the_programs() {
        for program in [Program::Agent, Program::Aggregator] {
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
            let file = root.join(format!("deploy/schema/{}.schema.json", program.name()));
            let committed = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                committed.trim_end() == text(program),
                "run: inquest config schema {0} > deploy/schema/{0}.schema.json",
                program.name()
            );
        }
    }
}
