//! Agents that the bench plays: enrolment, mutual TLS, the report stream. Owns their side of the protocol as the shipped
//! agent keeps it: one batch in flight, the next after its acknowledgement.

use anyhow::{Context as _, Result, bail};
use inquest_proto::ingest::v1::{
    Discovery, EnrolRequest, Evidence, EvidenceSource, Finding, FindingBatch, FindingKind, Hello, ReportRequest,
    ReportResponse, RuntimeExit, SequencedFinding, Subject, enrol_request::Proof, evidence::Fact,
    ingest_service_client::IngestServiceClient, report_request::Message as Up, report_response::Message as Down,
};
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::aggregator::{Aggregator, BOOTSTRAP};

/// Workloads of one agent; each has an incident of its own.
const WORKLOADS: u64 = 10;
/// 2020-09-13, as good as any.
const BEGIN_NS: i64 = 1_600_000_000_000_000_000;

/// The way to the aggregator before an identity is known.
pub(super) struct Door {
    address: String,
    ca: Certificate,
}

impl Door {
    /// # Errors
    /// When the aggregator has no certificate yet.
    pub(super) fn of(aggregator: &Aggregator) -> Result<Self> {
        inquest_shared::tls::install_provider();
        Ok(Self {
            address: format!("https://127.0.0.1:{}", aggregator.ingest_port()),
            ca: Certificate::from_pem(aggregator.ca()?),
        })
    }

    fn endpoint(&self, identity: Option<Identity>) -> Result<Endpoint> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .domain_name("127.0.0.1");
        let tls = match identity {
            Some(identity) => tls.identity(identity),
            None => tls,
        };
        Ok(Channel::from_shared(self.address.clone())?
            .tcp_nodelay(true)
            .tls_config(tls)?)
    }

    /// Gets an identity; gives the way that presents it.
    ///
    /// # Errors
    /// When the aggregator refuses.
    pub(super) async fn enrol(&self, number: usize) -> Result<Endpoint> {
        let key = KeyPair::generate()?;
        let request = EnrolRequest {
            proof: Some(Proof::BootstrapSecret(BOOTSTRAP.to_owned())),
            certificate_request_pem: CertificateParams::default().serialize_request(&key)?.pem()?,
            node_name: format!("bench-{number}"),
            host_id: format!("bench-host-{number}"),
            agent_version: "bench".to_owned(),
        };
        let channel = self
            .endpoint(None)?
            .connect()
            .await
            .context("cannot connect to enrol")?;
        let answer = IngestServiceClient::new(channel).enrol(request).await?.into_inner();
        self.endpoint(Some(Identity::from_pem(
            answer.certificate_chain_pem,
            key.serialize_pem(),
        )))
    }
}

/// An open report stream.
pub(super) struct Session {
    up: mpsc::Sender<ReportRequest>,
    down: Streaming<ReportResponse>,
    next: u64,
    acked: u64,
}

const EPOCH: u64 = 7;

impl Session {
    /// Connects, says hello and waits for the welcome.
    ///
    /// # Errors
    /// When the connection or the stream fails.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let channel = endpoint.connect().await?;
        let (up, messages) = mpsc::channel(4);
        let hello = Hello {
            epoch: EPOCH,
            agent_version: "bench".to_owned(),
            first_seq: 1,
            ..Hello::default()
        };
        up.send(ReportRequest {
            message: Some(Up::Hello(hello)),
        })
        .await?;
        let mut down = IngestServiceClient::new(channel)
            .report(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let Some(Down::Welcome(welcome)) = down.message().await?.and_then(|m| m.message) else {
            bail!("no welcome");
        };
        Ok(Self {
            up,
            down,
            next: welcome.acked_seq.saturating_add(1),
            acked: welcome.acked_seq,
        })
    }

    /// Sends findings in one message and waits until all of them are on the aggregator's disk.
    ///
    /// # Errors
    /// When the stream ends.
    pub(super) async fn deliver(&mut self, findings: Vec<Finding>) -> Result<()> {
        let mut sequenced = Vec::with_capacity(findings.len());
        for finding in findings {
            sequenced.push(SequencedFinding {
                seq: self.next,
                finding: Some(finding),
            });
            self.next = self.next.saturating_add(1);
        }
        let batch = FindingBatch {
            epoch: EPOCH,
            findings: sequenced,
        };
        self.up
            .send(ReportRequest {
                message: Some(Up::Batch(batch)),
            })
            .await?;
        while self.acked.saturating_add(1) < self.next {
            let message = self.down.message().await?.context("the stream ended")?.message;
            if let Some(Down::Ack(ack)) = message {
                self.acked = ack.acked_seq;
            }
        }
        Ok(())
    }
}

/// A finding of an agent: the end of a container with an error, of one of its ten workloads.
pub(super) fn finding(agent: usize, number: u64) -> Finding {
    crash(agent, number, WORKLOADS)
}

/// The end of a container with an error, of one of so many workloads of an agent.
pub(super) fn crash(agent: usize, number: u64, workloads: u64) -> Finding {
    let name = format!("{agent}-{number}");
    let digest = Sha256::digest(&name);
    let at_ns = BEGIN_NS.saturating_add(i64::try_from(number).unwrap_or(0));
    let owner = format!("w{}", number % workloads);
    let exit = RuntimeExit {
        exit_code: 1,
        started_at_ns: BEGIN_NS,
        finished_at_ns: at_ns,
        reason: "Error".to_owned(),
        ..RuntimeExit::default()
    };
    Finding {
        key: digest.iter().take(16).copied().collect(),
        kind: FindingKind::Exit.into(),
        discovery: Discovery::Live.into(),
        observed_at_ns: at_ns,
        subject: Some(Subject {
            namespace: format!("ns-{agent}"),
            pod: format!("{owner}-{agent}-abcde"),
            pod_uid: format!("00000000-0000-4000-8000-{agent:012}"),
            container: "app".to_owned(),
            instance: format!("{name:0>64}"),
            image: "registry.example/team/app:1.2.3".to_owned(),
            runtime: "containerd".to_owned(),
            owner_kind: "Deployment".to_owned(),
            owner_name: owner,
            ..Subject::default()
        }),
        evidence: vec![Evidence {
            source: EvidenceSource::Containerd.into(),
            position: format!("{name:0>64}@{at_ns}"),
            at_ns,
            fact: Some(Fact::RuntimeExit(exit)),
        }],
        ..Finding::default()
    }
}
