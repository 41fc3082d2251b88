//! What a caller may see, as a value for SQL.

use crate::record::Scope;

/// NULL for everything, else a JSON list of namespaces. Statements compare with
/// `(?n IS NULL OR (namespace <> '' AND namespace IN (SELECT value FROM json_each(?n))))`, so that rows about nodes are
/// for [`Scope::All`] only.
pub(super) fn namespaces(scope: &Scope) -> Option<String> {
    match scope {
        Scope::All => None,
        Scope::Namespaces(names) => Some(serde_json::Value::from(names.as_slice()).to_string()),
    }
}
