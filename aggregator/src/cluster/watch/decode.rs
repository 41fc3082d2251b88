//! From text to objects of a kind.
//!
//! Owns which type stands for which kind. Must not know records or connections.

use serde::de::DeserializeOwned;

use crate::cluster::{
    kind::Kind,
    state::Item,
    wire::{Frame, List, ListMeta},
};

/// One line of a watch.
pub(super) fn frame(kind: Kind, line: &[u8]) -> serde_json::Result<Frame<Item>> {
    match kind {
        Kind::Pods => frame_of(line, Item::Pod),
        Kind::Nodes => frame_of(line, Item::Node),
        Kind::Namespaces => frame_of(line, Item::Namespace),
        Kind::ReplicaSets => frame_of(line, Item::ReplicaSet),
        Kind::Jobs => frame_of(line, Item::Job),
        Kind::Events => frame_of(line, Item::Event),
        Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => frame_of(line, |wire| Item::Workload(kind, wire)),
    }
}

/// One page of a list.
pub(in crate::cluster) fn page(kind: Kind, text: &[u8]) -> serde_json::Result<(ListMeta, Vec<Item>)> {
    match kind {
        Kind::Pods => page_of(text, Item::Pod),
        Kind::Nodes => page_of(text, Item::Node),
        Kind::Namespaces => page_of(text, Item::Namespace),
        Kind::ReplicaSets => page_of(text, Item::ReplicaSet),
        Kind::Jobs => page_of(text, Item::Job),
        Kind::Events => page_of(text, Item::Event),
        Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => page_of(text, |wire| Item::Workload(kind, wire)),
    }
}

fn frame_of<T: DeserializeOwned>(line: &[u8], wrap: impl Fn(Box<T>) -> Item) -> serde_json::Result<Frame<Item>> {
    Ok(match serde_json::from_slice::<Frame<T>>(line)? {
        Frame::Added(object) => Frame::Added(wrap(Box::new(object))),
        Frame::Modified(object) => Frame::Modified(wrap(Box::new(object))),
        Frame::Deleted(object) => Frame::Deleted(wrap(Box::new(object))),
        Frame::Bookmark(bookmark) => Frame::Bookmark(bookmark),
        Frame::Error(status) => Frame::Error(status),
    })
}

fn page_of<T: DeserializeOwned>(
    text: &[u8],
    wrap: impl Fn(Box<T>) -> Item,
) -> serde_json::Result<(ListMeta, Vec<Item>)> {
    let list: List<T> = serde_json::from_slice(text)?;
    let items = list.items.into_iter().map(|object| wrap(Box::new(object)));
    Ok((list.metadata, items.collect()))
}
