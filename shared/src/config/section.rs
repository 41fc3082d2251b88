//! Reading a section: one call per key gives the value, its origin, and every error at once.
//!
//! Owns precedence (flag, environment, file, default), unknown keys and the list of effective
//! values. Must not know any schema.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::describe::{Key, Kind};
use super::effective::Effective;
use super::problem::{Place, Problem, Source, quote};
use super::scalar::{Scalar, complaint};
use super::tree::{Node, Value};
use super::{Inputs, Origin};
use crate::secret::Secret;

/// Names nearer than this (Jaro-Winkler, 0 to 1) are suggested for an unknown key.
const SIMILAR: f64 = 0.75;

/// What all sections of one load share.
pub(super) struct Context<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) flags: &'a BTreeMap<String, String>,
    pub(super) env: &'a BTreeMap<String, String>,
    /// Lists and mappings that the environment gives, by variable.
    pub(super) wholes: &'a BTreeMap<String, Node>,
    pub(super) used_flags: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) effective: Effective,
    /// Where the keys are listed; `None` while a file is read.
    pub(super) keys: Option<Vec<Key>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(inputs: &'a Inputs, wholes: &'a BTreeMap<String, Node>) -> Self {
        Self {
            file: inputs.file.as_deref(),
            flags: &inputs.flags,
            env: &inputs.env,
            wholes,
            used_flags: BTreeSet::new(),
            problems: Vec::new(),
            effective: Effective::default(),
            keys: None,
        }
    }
}

/// One mapping of the file, together with the flags and variables that override it.
pub struct Section<'c, 'a> {
    context: &'c mut Context<'a>,
    node: Option<&'a Node>,
    path: String,
    known: Vec<&'static str>,
    /// Flags and variables address fixed paths, so there are none inside a list.
    overridable: bool,
    /// The variable that the node is from, instead of the file.
    variable: Option<String>,
}

impl<'c, 'a> Section<'c, 'a> {
    /// Opens the root of a file.
    pub(super) fn root(context: &'c mut Context<'a>, node: Option<&'a Node>) -> Self {
        Self::open(context, node, String::new(), true, None)
    }

    /// Opens a node as a section; anything but a mapping is reported.
    fn open(
        context: &'c mut Context<'a>,
        node: Option<&'a Node>,
        path: String,
        overridable: bool,
        variable: Option<String>,
    ) -> Self {
        let mut section = Self {
            context,
            node,
            path,
            known: Vec::new(),
            overridable,
            variable,
        };
        if let Some(Node {
            value: value @ (Value::Scalar(_) | Value::List(_)),
            place,
        }) = node
        {
            let what = format!("found {}; expected a section with keys", value.describe());
            let (source, path) = (section.source(*place), section.path.clone());
            section.push(source, path, what);
        }
        section
    }

    /// Reports every key of the file that nobody asked for.
    pub(super) fn close(self) {
        let Some(Node {
            value: Value::Map(entries),
            ..
        }) = self.node
        else {
            return;
        };
        for (key, place, _) in entries {
            if !self.known.contains(&key.as_str()) {
                let path = join(&self.path, &shown_key(key));
                let what = unknown_key(key, &self.known);
                let problem = Problem::new(self.source(*place), path, what);
                self.context.problems.push(problem);
            }
        }
    }

    /// A value with a default.
    pub(super) fn value<T: Scalar>(&mut self, key: &'static str, default: T) -> T {
        self.describe(key, Kind::Scalar(T::FORM, T::EXPECTED), Some(default.show()), false);
        match self.scalar(key) {
            Some((value, origin)) => self.note(key, value, origin),
            None => self.note(key, default, Origin::Default),
        }
    }

    /// A value that may be absent.
    pub(super) fn optional<T: Scalar>(&mut self, key: &'static str) -> Option<T> {
        self.describe(key, Kind::Scalar(T::FORM, T::EXPECTED), None, false);
        let (value, origin) = self.scalar(key)?;
        Some(self.note(key, value, origin))
    }

    /// A value that must be given; `placeholder` stands in so that reading goes on.
    pub(super) fn required<T: Scalar>(&mut self, key: &'static str, placeholder: T) -> T {
        self.describe(key, Kind::Scalar(T::FORM, T::EXPECTED), None, true);
        let before = self.context.problems.len();
        if let Some((value, origin)) = self.scalar(key) {
            return self.note(key, value, origin);
        }
        if self.context.problems.len() == before {
            self.reject(key, &format!("missing; expected {}", T::EXPECTED));
        }
        placeholder
    }

    /// A list of single values.
    pub(super) fn list<T: Scalar>(&mut self, key: &'static str, default: Vec<T>) -> Vec<T> {
        let path = self.know(key);
        let shown = default.iter().map(Scalar::show).collect::<Vec<_>>().join(", ");
        let shown = format!("[{shown}]");
        self.describe(key, Kind::List(T::FORM, T::EXPECTED), Some(shown.clone()), false);
        let Some((node, variable)) = self.whole(key, &path) else {
            let whole = shown.clone();
            self.context.effective.push(path, shown, &whole, Origin::Default);
            return default;
        };
        self.reading_from(variable, |section| {
            let mut values = Vec::new();
            for (index, item) in section.items(node, &path).iter().enumerate() {
                let path = format!("{path}[{index}]");
                if let Some(value) = section.scalar_of::<T>(item, &path) {
                    let origin = section.origin(item.place);
                    section
                        .context
                        .effective
                        .push(path, value.show(), &value.whole(), origin);
                    values.push(value);
                }
            }
            values
        })
    }

    /// A mapping of free names to texts that may be secret.
    pub(super) fn texts(&mut self, key: &'static str) -> BTreeMap<String, Secret> {
        let path = self.know(key);
        self.describe(key, Kind::Texts, None, false);
        let Some((node, variable)) = self.whole(key, &path) else {
            return BTreeMap::new();
        };
        self.reading_from(variable, |section| section.texts_of(node, &path))
    }

    fn texts_of(&mut self, node: &'a Node, path: &str) -> BTreeMap<String, Secret> {
        let mut texts = BTreeMap::new();
        let Value::Map(entries) = &node.value else {
            let what = format!("found {}; expected names with texts", node.value.describe());
            self.push(self.source(node.place), path.to_owned(), what);
            return texts;
        };
        for (name, _, value) in entries {
            let path = join(path, &shown_key(name));
            if let Some(text) = self.scalar_of::<String>(value, &path) {
                let origin = self.origin(value.place);
                let shown = "[redacted]".to_owned();
                self.context.effective.push(path, shown, &text, origin);
                texts.insert(name.clone(), Secret::new(text));
            }
        }
        texts
    }

    /// A nested section; absent means empty.
    pub(super) fn section<R>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 'a>) -> R) -> R {
        let path = self.know(key);
        let node = self.child(key);
        let variable = self.variable.clone();
        let mut section = Section::open(self.context, node, path, self.overridable, variable);
        let result = read(&mut section);
        section.close();
        result
    }

    /// A nested section that changes meaning by being present, even when it is empty (`stdout: {}`).
    pub(super) fn optional_section<R>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> R,
    ) -> Option<R> {
        self.known.push(key);
        self.describe(key, Kind::Choice, None, false);
        let there = self.entry(key).is_some() || self.context.keys.is_some();
        there.then(|| self.section(key, read))
    }

    /// A list of sections; `None` when the key is absent.
    pub(super) fn sections<R>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_, 'a>) -> R,
    ) -> Option<Vec<R>> {
        let path = self.know(key);
        if self.context.keys.is_some() {
            let mut section = Section::open(self.context, None, format!("{path}[]"), false, None);
            return Some(vec![read(&mut section)]);
        }
        let (node, variable) = self.whole(key, &path)?;
        let items = self.reading_from(variable.clone(), |section| section.items(node, &path));
        let mut results = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let mut section = Section::open(self.context, Some(item), path, false, variable.clone());
            results.push(read(&mut section));
            section.close();
        }
        Some(results)
    }

    /// The node of a list or mapping, and the variable that gave it: one in the environment replaces that of the file.
    fn whole(&self, key: &str, path: &str) -> Option<(&'a Node, Option<String>)> {
        let variable = env_name(path);
        match self.context.wholes.get(&variable).filter(|_| self.overridable) {
            Some(node) => Some((node, Some(variable))),
            None => Some((self.child(key)?, self.variable.clone())),
        }
    }

    fn reading_from<R>(&mut self, variable: Option<String>, read: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.variable, variable);
        let result = read(self);
        self.variable = before;
        result
    }

    /// Reports that the value under `key` is readable but wrong.
    pub(super) fn reject(&mut self, key: &str, what: &str) {
        let path = join(&self.path, key);
        let env = env_name(&path);
        let source = if self.overridable && self.context.flags.contains_key(&path) {
            Source::Flag
        } else if self.overridable && self.context.env.contains_key(&env) {
            Source::Environment(env)
        } else {
            let place = self
                .entry(key)
                .or(self.node)
                .map_or_else(Place::start, |node| node.place);
            self.source(place)
        };
        self.push(source, path, what.to_owned());
    }

    /// Finds the text that wins and reads it.
    fn scalar<T: Scalar>(&mut self, key: &'static str) -> Option<(T, Origin)> {
        let path = self.know(key);
        if self.overridable {
            if let Some(text) = self.context.flags.get(&path) {
                self.context.used_flags.insert(path.clone());
                return Some((self.read(text, Source::Flag, &path)?, Origin::Flag));
            }
            let name = env_name(&path);
            if let Some(text) = self.context.env.get(&name) {
                let value = self.read(text, Source::Environment(name.clone()), &path)?;
                return Some((value, Origin::Environment(name)));
            }
        }
        let node = self.child(key)?;
        let value = self.scalar_of(node, &path)?;
        Some((value, self.origin(node.place)))
    }

    fn scalar_of<T: Scalar>(&mut self, node: &Node, path: &str) -> Option<T> {
        let source = self.source(node.place);
        if let Value::Scalar(text) = &node.value {
            return self.read(text, source, path);
        }
        let what = format!("found {}; expected {}", node.value.describe(), T::EXPECTED);
        self.push(source, path.to_owned(), what);
        None
    }

    fn read<T: Scalar>(&mut self, text: &str, source: Source, path: &str) -> Option<T> {
        match T::parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.push(source, path.to_owned(), complaint::<T>(text, &reason));
                None
            }
        }
    }

    fn items(&mut self, node: &'a Node, path: &str) -> &'a [Node] {
        match &node.value {
            Value::List(items) => items,
            other => {
                let what = format!("found {}; expected a list", other.describe());
                self.push(self.source(node.place), path.to_owned(), what);
                &[]
            }
        }
    }

    /// The node under a key; a key without a value counts as absent.
    fn child(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).filter(|node| !matches!(node.value, Value::Null))
    }

    fn entry(&self, key: &str) -> Option<&'a Node> {
        let Some(Node {
            value: Value::Map(entries),
            ..
        }) = self.node
        else {
            return None;
        };
        entries.iter().find(|(name, _, _)| name == key).map(|(_, _, node)| node)
    }

    fn know(&mut self, key: &'static str) -> String {
        self.known.push(key);
        join(&self.path, key)
    }

    fn note<T: Scalar>(&mut self, key: &str, value: T, origin: Origin) -> T {
        let path = join(&self.path, key);
        self.context.effective.push(path, value.show(), &value.whole(), origin);
        value
    }

    /// Lists a key while the schema is described.
    fn describe(&mut self, key: &str, kind: Kind, default: Option<String>, required: bool) {
        let Some(keys) = &mut self.context.keys else { return };
        let path = join(&self.path, key);
        let env = (self.overridable && kind != Kind::Choice).then(|| env_name(&path));
        keys.push(Key {
            path,
            kind,
            default,
            required,
            env,
        });
    }

    fn origin(&self, place: Place) -> Origin {
        match &self.variable {
            Some(name) => Origin::Environment(name.clone()),
            None => Origin::File {
                path: self.context.file.map(Path::to_owned).unwrap_or_default(),
                line: place.line,
            },
        }
    }

    fn source(&self, place: Place) -> Source {
        match &self.variable {
            Some(name) => Source::Environment(name.clone()),
            None => Source::File(place),
        }
    }

    fn push(&mut self, source: Source, path: String, what: String) {
        self.context.problems.push(Problem::new(source, path, what));
    }
}

/// The environment variable that overrides a path: `log.level` is `INQUEST_LOG_LEVEL`.
pub(super) fn env_name(path: &str) -> String {
    format!("INQUEST_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// Says that a key is unknown and which one was probably meant.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::jaro_winkler(key, name), *name))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let mut names: Vec<&str> = known.to_vec();
    names.sort_unstable();
    names.dedup();
    let names = names.join(", ");
    match near {
        Some((_, name)) => format!("unknown key; did you mean `{name}`? Known here: {names}"),
        None => format!("unknown key; expected one of: {names}"),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A key of the file as part of a path: plain when it is plain, quoted and bounded otherwise.
fn shown_key(key: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    if key.len() <= 60 && key.chars().all(plain) {
        key.to_owned()
    } else {
        quote(key)
    }
}
