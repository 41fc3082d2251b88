//! Waiting until the programs do their work, and saying so.

use std::time::{Duration, Instant};

use inquest_proto::{
    ingest::v1::{SourceState, SourceStatus},
    query::v1::Node,
};
use inquest_shared::text::Lang;

use super::{
    process::Program,
    stage::{POLL, Stage},
};
use crate::{cli::Server, client::Client, error::CliError, output::nodes};

/// An idle machine needs a tenth of a second for each program; a busy one has been seen to need fifty times that.
const WITHIN: Duration = Duration::from_secs(20);
/// After this time the agent is taken as it is: a source that has not said anything is not worth waiting for.
const SOURCES_WITHIN: Duration = Duration::from_secs(8);
/// Sources of evidence in the order in which they are shown.
const SOURCES: [&str; 4] = ["kernel log", "cgroups", "containerd", "docker"];

/// Waits for the API.
pub(super) async fn aggregator(program: &mut Program, port: u16) -> Result<Client, CliError> {
    let server = Server::loopback(port);
    let begin = Instant::now();
    loop {
        program.check()?;
        if let Ok(client) = Client::connect(&server).await
            && client.nodes("").await.is_ok()
        {
            // What answers must be ours.
            program.check()?;
            return Ok(client);
        }
        if begin.elapsed() >= WITHIN {
            return Err(program.not_ready(WITHIN).into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits for the agent's report. With a runtime of its own, also until that is watched.
pub(super) async fn agent(
    program: &mut Program,
    client: &Client,
    own_runtime: bool,
) -> Result<Vec<SourceStatus>, CliError> {
    let begin = Instant::now();
    loop {
        program.check()?;
        let answer = client.nodes("").await?;
        let node = answer.nodes.into_iter().find(|node| node.connected);
        match node {
            Some(node) if complete(&node, own_runtime) || begin.elapsed() >= SOURCES_WITHIN => {
                return Ok(in_order(node));
            }
            None if begin.elapsed() >= WITHIN => return Err(program.not_ready(WITHIN).into()),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Every source has said what it sees.
fn complete(node: &Node, own_runtime: bool) -> bool {
    let Some(status) = &node.status else { return false };
    SOURCES.iter().all(|name| {
        let found = status.sources.iter().find(|source| source.name == *name);
        let state = found.map_or(SourceState::Unspecified, SourceStatus::state);
        match *name == "containerd" && own_runtime {
            true => state == SourceState::Live,
            false => state != SourceState::Unspecified,
        }
    })
}

fn in_order(node: Node) -> Vec<SourceStatus> {
    let mut sources = node.status.unwrap_or_default().sources;
    sources.sort_by_key(|source| {
        SOURCES
            .iter()
            .position(|name| *name == source.name)
            .unwrap_or(SOURCES.len())
    });
    sources
}

/// "aggregator ready  api http://127.0.0.1:7441  store /tmp/…/inquest.db".
pub(super) fn aggregator_line(stage: &Stage) -> String {
    format!(
        "aggregator ready  api http://127.0.0.1:{}  store {}",
        stage.ports.api,
        stage.database().display()
    )
}

/// "agent ready  kernel log: live · …", then what would open what is not.
pub(super) fn agent_lines(sources: &[SourceStatus], lang: Lang) -> String {
    let line = nodes::sources(sources, lang);
    let remedies = nodes::remedies(sources)
        .into_iter()
        .map(|remedy| format!("\n                  to open {remedy}"));
    format!("agent ready       {line}{}", remedies.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn node() -> Node {
        let mut node = sample::node();
        let docker = SourceStatus {
            name: "docker".to_owned(),
            state: SourceState::Live.into(),
            detail: "Docker 20.10.24".to_owned(),
            ..SourceStatus::default()
        };
        node.status.as_mut().unwrap().sources.insert(0, docker);
        node
    }

    #[test]
    fn what_is_blind_is_said_with_reason_and_remedy() {
        insta::assert_snapshot!(agent_lines(&in_order(node()), Lang::En), @r#"
        agent ready       kernel log: blind (permission denied) · cgroups: live (v1) · containerd: absent (no socket) · docker: live (Docker 20.10.24)
                          to open kernel log: run as root or with CAP_SYSLOG
                          to open containerd: set sources.containerd.socket
        "#);
    }

    #[test]
    fn the_agent_is_ready_when_every_source_has_spoken() {
        let mut node = node();
        assert!(complete(&node, false));
        assert!(!complete(&node, true), "its own runtime is not watched yet");
        let sources = &mut node.status.as_mut().unwrap().sources;
        sources
            .iter_mut()
            .find(|s| s.name == "containerd")
            .unwrap()
            .set_state(SourceState::Live);
        assert!(complete(&node, true));
        node.status.as_mut().unwrap().sources.pop();
        assert!(!complete(&node, false));
    }
}
