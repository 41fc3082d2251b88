//! The schema as a list of keys, taken from the same questions that read a file.
//!
//! Owns the form of the list, for editors, documents and tests. Must not know any schema.

use super::section::env_name;

/// One key that a schema asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Dotted path; `[]` stands for each item of a list: `receivers[].name`.
    pub path: String,
    /// What may stand there.
    pub kind: Kind,
    /// The default as it would be written, if there is one.
    pub default: Option<String>,
    /// Whether it must be given where its section is.
    pub required: bool,
    /// The environment variable that overrides it; none within lists. For a list or mapping it holds the whole of it as YAML.
    pub env: Option<String>,
}

impl Key {
    /// The variable of the list or mapping that this key is or lies in.
    pub(super) fn whole_variable(&self) -> Option<String> {
        match self.path.split_once("[]") {
            Some((list, _)) => Some(env_name(list)),
            None => self
                .env
                .clone()
                .filter(|_| matches!(self.kind, Kind::List(..) | Kind::Texts)),
        }
    }
}

/// What may stand under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A single value.
    Scalar(Form, &'static str),
    /// A list of single values.
    List(Form, &'static str),
    /// Free names with texts.
    Texts,
    /// A section that means something by being there. Of several such siblings exactly one is given.
    Choice,
}

/// The form of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text that is not empty.
    Text,
    /// An absolute path.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Whole,
    /// A length of time with its unit.
    Duration,
    /// A size with its unit.
    Size,
    /// An address and a port.
    Socket,
    /// A host and a port.
    HostPort,
    /// An `http` or `https` address.
    Url,
    /// One of these words.
    Word(&'static [&'static str]),
}
