//! An agent made by hand: speaks the real protocol to a real aggregator and sends what a test wants it to send.
//!
//! Owns enrolment and report streams. Must not know what a finding says.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use inquest_proto::ingest::v1::{
    EnrolRequest, Finding, FindingBatch, Hello, ReportRequest, ReportResponse, SequencedFinding, enrol_request::Proof,
    ingest_service_client::IngestServiceClient, report_request::Message as Up, report_response::Message as Down,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages between the test and the transport.
const QUEUE: usize = 64;

/// An enrolled host.
#[derive(Debug)]
pub struct Peer {
    client: IngestServiceClient<Channel>,
}

/// One report stream.
#[derive(Debug)]
pub struct Conversation {
    epoch: u64,
    up: mpsc::Sender<ReportRequest>,
    down: Streaming<ReportResponse>,
    acked: u64,
}

impl Peer {
    /// Enrols `host` with the bootstrap secret and connects with the certificate that it gets.
    ///
    /// # Errors
    /// When the aggregator refuses or is not there.
    pub async fn enrol(port: u16, ca: &Path, secret: &str, host: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let request = EnrolRequest {
            proof: Some(Proof::BootstrapSecret(secret.to_owned())),
            certificate_request_pem: CertificateParams::default().serialize_request(&key)?.pem()?,
            node_name: host.to_owned(),
            host_id: host.to_owned(),
            agent_version: "by hand".to_owned(),
        };
        let ca = Certificate::from_pem(std::fs::read(ca)?);
        let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
        let anonymous = connect(port, tls.clone()).await?;
        let answer = IngestServiceClient::new(anonymous).enrol(request).await?.into_inner();
        let identity = Identity::from_pem(answer.certificate_chain_pem, key.serialize_pem());
        let channel = connect(port, tls.identity(identity)).await?;
        Ok(Self {
            client: IngestServiceClient::new(channel),
        })
    }

    /// Opens a stream for a spool of this epoch.
    ///
    /// # Errors
    /// When the aggregator does not welcome it.
    pub async fn talk(&mut self, epoch: u64) -> Result<Conversation> {
        self.talk_as(epoch, "").await
    }

    /// The same, claiming that the findings come from somebody else.
    ///
    /// # Errors
    /// When the aggregator does not welcome it.
    pub async fn talk_as(&mut self, epoch: u64, origin: &str) -> Result<Conversation> {
        let (up, requests) = mpsc::channel(QUEUE);
        let hello = Hello {
            epoch,
            agent_version: "by hand".to_owned(),
            origin: origin.to_owned(),
            ..Hello::default()
        };
        send(&up, Up::Hello(hello)).await?;
        let down = self.client.report(ReceiverStream::new(requests)).await?.into_inner();
        let mut conversation = Conversation {
            epoch,
            up,
            down,
            acked: 0,
        };
        match conversation.answer().await? {
            Down::Welcome(welcome) => conversation.acked = welcome.acked_seq,
            other => bail!("no welcome but {other:?}"),
        }
        Ok(conversation)
    }
}

impl Conversation {
    /// Everything up to this number is on the aggregator's disk.
    #[must_use]
    pub const fn acked(&self) -> u64 {
        self.acked
    }

    /// Sends findings in one message; their numbers rise from `first`.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send(&self, first: u64, findings: &[Finding]) -> Result<()> {
        let numbered = (first..).zip(findings).map(|(seq, finding)| SequencedFinding {
            seq,
            finding: Some(finding.clone()),
        });
        let batch = FindingBatch {
            epoch: self.epoch,
            findings: numbered.collect(),
        };
        send(&self.up, Up::Batch(batch)).await
    }

    /// Waits until everything up to `seq` is acknowledged.
    ///
    /// # Errors
    /// When the stream ends or goes quiet before.
    pub async fn wait_acked(&mut self, seq: u64) -> Result<()> {
        while self.acked < seq {
            if let Down::Ack(ack) = self.answer().await? {
                self.acked = ack.acked_seq;
            }
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<Down> {
        let answer = tokio::time::timeout(PATIENCE, self.down.message()).await;
        let answer = answer.context("no answer")??.context("the stream ended")?;
        answer.message.context("an answer without a message")
    }
}

async fn connect(port: u16, tls: ClientTlsConfig) -> Result<Channel> {
    inquest_shared::tls::install_provider();
    let endpoint = Channel::from_shared(format!("https://127.0.0.1:{port}"))?.tls_config(tls)?;
    Ok(endpoint.connect().await?)
}

async fn send(up: &mpsc::Sender<ReportRequest>, message: Up) -> Result<()> {
    let request = ReportRequest { message: Some(message) };
    up.send(request).await.context("the stream ended")
}
