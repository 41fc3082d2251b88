//! The stable identity of a host outside Kubernetes.

use std::{fs, path::Path};

use inquest_shared::model::Key;

/// machine-id(5): asks programs not to publish the id itself but a keyed hash of it.
const FILE: &str = "/etc/machine-id";

/// A hash of the machine id, or of the node's name where there is none.
#[must_use]
pub fn id(node_name: &str) -> String {
    let read = fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    let identity = match read.trim() {
        "" => node_name,
        id => id,
    };
    Key::of(b"host", &[identity.as_bytes()]).to_string()
}
