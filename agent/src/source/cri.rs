//! Which runtime answers on a CRI socket, and how it tells of ends. Owns the names and versions of runtimes and CRI's event
//! stream; must not know containers.

pub(super) mod events;
#[cfg(test)]
mod recorded;

use inquest_proto::runtime::v1::VersionResponse;
use inquest_shared::model::{EvidenceSource, clean_name};

/// Name of the source in statuses and metrics.
pub const NAME: &str = "cri";

/// A runtime whose answers we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd.
    Containerd,
    /// CRI-O.
    Crio,
    /// dockerd behind cri-dockerd.
    CriDockerd,
}

impl Runtime {
    /// As it stands in a subject.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::CriDockerd => "docker",
        }
    }

    /// As a witness.
    #[must_use]
    pub const fn evidence(self) -> EvidenceSource {
        match self {
            Self::Containerd => EvidenceSource::Containerd,
            Self::Crio => EvidenceSource::Crio,
            Self::CriDockerd => EvidenceSource::Docker,
        }
    }

    /// What would make a runtime that is only polled send events.
    #[must_use]
    pub const fn event_remedy(self) -> &'static str {
        match self {
            Self::Containerd => "give the agent containerd's own socket, not a CRI proxy, and leave events on",
            Self::Crio => "CRI-O 1.28 or later sends events with enable_pod_events = true; leave events on",
            Self::CriDockerd => "cri-dockerd sends no events",
        }
    }
}

/// How ends are learned of besides the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// containerd's own event service.
    Containerd,
    /// CRI's `GetContainerEvents`.
    Cri,
    /// Only the list.
    Poll,
}

/// The runtime behind a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Which.
    pub runtime: Runtime,
    /// Its name and version for people.
    pub version: String,
    /// How it tells of ends.
    pub feed: Feed,
}

impl Dialect {
    /// Knows a runtime by its answer to `Version`; `None` for one that nobody has tried.
    #[must_use]
    pub fn of(answer: &VersionResponse) -> Option<Self> {
        let runtime = match answer.runtime_name.as_str() {
            "containerd" => Runtime::Containerd,
            "cri-o" => Runtime::Crio,
            "docker" => Runtime::CriDockerd,
            _ => return None,
        };
        let feed = match runtime {
            Runtime::Containerd => Feed::Containerd,
            Runtime::Crio if release(&answer.runtime_version) >= CRIO_BROADCASTS => Feed::Cri,
            // Not implemented by cri-dockerd.
            Runtime::Crio | Runtime::CriDockerd => Feed::Poll,
        };
        let version = format!(
            "{} {}",
            clean_name(&answer.runtime_name),
            clean_name(&answer.runtime_version)
        );
        Some(Self { runtime, version, feed })
    }
}

/// Before this release every caller of `GetContainerEvents` takes from one queue, so that an agent would take events away
/// from the kubelet (`server/container_events.go` of CRI-O).
const CRIO_BROADCASTS: (u32, u32) = (1, 28);

/// Major and minor number; zeros when there are none.
fn release(version: &str) -> (u32, u32) {
    let mut parts = version
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(name: &str, version: &str) -> Option<Feed> {
        Dialect::of(&VersionResponse {
            runtime_name: name.into(),
            runtime_version: version.into(),
            ..VersionResponse::default()
        })
        .map(|dialect| dialect.feed)
    }

    /// An agent that takes events away from the kubelet makes the kubelet blind.
    #[test]
    fn the_event_stream_is_used_only_where_every_reader_gets_every_event() {
        assert_eq!(feed("cri-o", "1.26.4"), Some(Feed::Poll));
        assert_eq!(feed("cri-o", "1.27.0"), Some(Feed::Poll));
        assert_eq!(feed("cri-o", "1.28.0"), Some(Feed::Cri));
        assert_eq!(feed("cri-o", "2.0.1"), Some(Feed::Cri));
        assert_eq!(feed("cri-o", "nonsense"), Some(Feed::Poll));
        assert_eq!(feed("docker", "27.3.1"), Some(Feed::Poll));
        assert_eq!(
            feed("containerd", "1.6.20~ds1"),
            Some(Feed::Containerd),
            "never CRI's stream"
        );
        assert_eq!(feed("somebody", "1.0"), None);
    }
}
