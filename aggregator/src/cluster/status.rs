//! How well each watch sees.
//!
//! Owns the states and when a kind counts as known. Must not know connections.

use std::{collections::BTreeMap, fmt, sync::Arc};

use inquest_shared::clock::UnixNanos;

use super::kind::Kind;

/// How well a watch sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchState {
    /// The list is complete and the watch is open.
    Live,
    /// The list was complete, and the watch is down at present: what is known grows old.
    Degraded,
    /// Nothing complete is known: not listed yet, not allowed, or not offered by the server.
    Blind,
}

impl fmt::Display for WatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Degraded => "degraded",
            Self::Blind => "blind",
        })
    }
}

/// The state of one watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchStatus {
    /// What it follows.
    pub kind: Kind,
    /// The namespace it is limited to.
    pub namespace: Option<Arc<str>>,
    /// How well it sees.
    pub state: WatchState,
    /// Why it does not see; empty while it is live.
    pub reason: String,
    /// Since when it is in this state.
    pub since: UnixNanos,
    /// When the server last said anything; `None` before the first time.
    pub progress: Option<UnixNanos>,
    /// The version up to which it knows everything.
    pub version: Option<Arc<str>>,
}

/// All watches of a cluster.
pub(super) type Board = BTreeMap<(Kind, Option<Arc<str>>), WatchStatus>;

/// Whether every watch of a kind has a complete list. A kind that nobody watches is not known.
pub(super) fn synced(board: &Board, kind: Kind) -> bool {
    let mut watches = board.values().filter(|status| status.kind == kind).peekable();
    watches.peek().is_some() && watches.all(|status| status.state != WatchState::Blind)
}

/// Whether every watch of a kind is open, so that what is known is up to date.
pub(super) fn live(board: &Board, kind: Kind) -> bool {
    synced(board, kind)
        && board
            .values()
            .all(|status| status.kind != kind || status.state == WatchState::Live)
}

/// One line for operators; `None` if all watches are live.
pub(super) fn complaint(board: &Board) -> Option<String> {
    let troubled: Vec<&WatchStatus> = board.values().filter(|s| s.state != WatchState::Live).collect();
    let first = troubled.first()?;
    let place = first
        .namespace
        .as_ref()
        .map(|name| format!(" of {name}"))
        .unwrap_or_default();
    let (kind, state, reason) = (first.kind, first.state, &first.reason);
    let more = match troubled.len() {
        1 => String::new(),
        count => format!(" ({} more)", count - 1),
    };
    Some(format!("{kind}{place} {state}: {reason}{more}"))
}
