//! An aggregator's door on loopback and agents that knock.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use futures::FutureExt as _;
use inquest_proto::ingest::v1::{
    Ack, EnrolRequest, Finding as WireFinding, FindingBatch, Hello, ReportRequest, ReportResponse, SequencedFinding,
    Welcome, enrol_request::Proof, ingest_service_client::IngestServiceClient, report_request::Message as Up,
    report_response::Message as Down,
};
use inquest_shared::{
    clock::{Clock as _, SystemClock, UnixNanos},
    config::{ConfigDuration, KeepAlive},
    model::Finding,
    secret::Secret,
    telemetry::Registry,
};
use prost::Message as _;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::super::*;
use crate::{
    cluster::Clusters,
    correlate::{Correlation, CorrelationMetrics, CorrelationSettings},
    door::{Door, DoorMetrics},
    engine::Rules,
    pipeline::{
        Intake, Parts, Pipeline, PipelineMetrics, monotonic_ids,
        tests::{Handed, ToPeople, memory::MemoryStore, sample::crash},
    },
    record::NodeIdentity,
    store::{Store, StoreError},
};

pub(super) const SECRET: &str = "open sesame";

/// Certificate chain and key.
pub(super) type Pems = (String, String);

pub(super) struct World {
    ca: TempDir,
    pub store: Arc<dyn Store>,
    memory: Option<Arc<MemoryStore>>,
    pub address: SocketAddr,
    pub intake: Intake,
    pub nodes: Nodes,
    registry: Registry,
    pub stop: CancellationToken,
    pub served: JoinHandle<Result<(), ServeError>>,
    writer: JoinHandle<Result<(), StoreError>>,
    _rules: watch::Sender<Rules>,
}

/// A store that a world can be made with.
pub(super) trait TestStore: Store {
    fn memory(self: Arc<Self>) -> Option<Arc<MemoryStore>>;
}

impl TestStore for MemoryStore {
    fn memory(self: Arc<Self>) -> Option<Arc<MemoryStore>> {
        Some(self)
    }
}

impl TestStore for crate::store::SqliteStore {
    fn memory(self: Arc<Self>) -> Option<Arc<MemoryStore>> {
        None
    }
}

impl World {
    pub async fn new<S: TestStore>(store: Arc<S>) -> Self {
        let memory = Arc::clone(&store).memory();
        Self::with(tempfile::tempdir().unwrap(), store, memory, None).await
    }

    /// One that takes ServiceAccount tokens too.
    pub async fn with_tokens(tokens: Arc<Tokens>) -> Self {
        let store = MemoryStore::new();
        let memory = Some(Arc::clone(&store));
        Self::with(tempfile::tempdir().unwrap(), store, memory, Some(tokens)).await
    }

    async fn with(
        ca: TempDir,
        store: Arc<dyn Store>,
        memory: Option<Arc<MemoryStore>>,
        tokens: Option<Arc<Tokens>>,
    ) -> Self {
        let (registry, stop) = (Registry::new("test", "0"), CancellationToken::new());
        let (rules, rules_seen) = watch::channel(Rules::default());
        let parts = Parts {
            store: Arc::clone(&store),
            rules: rules_seen,
            standing: watch::channel(Default::default()).1,
            planner: Box::new(ToPeople),
            handover: Arc::new(Handed::default()),
            clock: Arc::new(SystemClock),
            ids: monotonic_ids(),
            metrics: PipelineMetrics::new(&registry),
        };
        let (pipeline, intake) = Pipeline::start(parts).await.unwrap();
        let authority = Authority::open(ca.path(), SystemClock.now()).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let tls = authority.server_identity(&names, SystemClock.now()).unwrap();
        let nodes = Nodes::default();
        let ingest = Ingest {
            authority,
            enrolment: enrolment_rules(tokens),
            store: Arc::clone(&store),
            intake: intake.clone(),
            correlation: Correlation::new(
                Clusters::default(),
                Arc::new(SystemClock),
                CorrelationMetrics::new(&registry),
                CorrelationSettings::default(),
            ),
            nodes: nodes.clone(),
            clock: Arc::new(SystemClock),
            server_id: "aggregator-1".to_owned(),
            metrics: IngestMetrics::new(&registry),
            keep_alive: KeepAlive {
                interval: ConfigDuration::from_secs(20),
                timeout: ConfigDuration::from_secs(10),
            },
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let writer = tokio::spawn(pipeline.run(stop.clone()));
        let token = stop.clone();
        let door = Door::new(listener, LIMITS, DoorMetrics::new(&registry, "ingest"));
        let served = tokio::spawn(async move { serve(door, &tls, ingest, token).await });
        Self {
            ca,
            store,
            memory,
            address,
            intake,
            nodes,
            registry,
            stop,
            served,
            writer,
            _rules: rules,
        }
    }

    /// Another aggregator on the same store and authority.
    pub async fn restart(self) -> Self {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.writer.await.unwrap().unwrap();
        Self::with(self.ca, self.store, self.memory, None).await
    }

    pub fn memory(&self) -> &MemoryStore {
        self.memory.as_deref().unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.ca.path()
    }

    pub fn metric(&self, line: &str) -> bool {
        self.registry.encode().unwrap().lines().any(|l| l == line)
    }

    pub async fn until_metric(&self, line: &str) {
        while !self.metric(line) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn client(&self, identity: Option<&Pems>) -> Result<Client, tonic::transport::Error> {
        inquest_shared::tls::install_provider();
        let ca = std::fs::read_to_string(self.ca.path().join("ca.crt")).unwrap();
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name("localhost");
        if let Some((chain, key)) = identity {
            tls = tls.identity(Identity::from_pem(chain, key));
        }
        let endpoint = Channel::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)?;
        Ok(Client(IngestServiceClient::new(endpoint.connect().await?)))
    }

    /// The certificate of a host, made beside the service.
    pub fn pems(&self, host: &str) -> Pems {
        let authority = Authority::open(self.ca.path(), SystemClock.now()).unwrap();
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        let (rules, given) = (enrolment_rules(None), enrolment(host, &request));
        let admitted = rules.admit(&given, SystemClock.now()).now_or_never().unwrap().unwrap();
        let signed = authority
            .sign(&request, &admitted.node, SystemClock.now(), MAX_TTL)
            .unwrap();
        (signed.chain_pem, key.serialize_pem())
    }

    /// Enrols a host through the service and connects with the certificate that it gets.
    pub async fn agent(&self, host: &str) -> Client {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        let answer = self
            .client(None)
            .await
            .unwrap()
            .0
            .enrol(enrolment(host, &request))
            .await
            .unwrap()
            .into_inner();
        self.client(Some(&(answer.certificate_chain_pem, key.serialize_pem())))
            .await
            .unwrap()
    }
}

fn enrolment_rules(tokens: Option<Arc<Tokens>>) -> Enrolment {
    Enrolment {
        cluster: "c1".to_owned(),
        secret: Some(Secret::new(SECRET.to_owned())),
        tokens,
        ttl: MAX_TTL,
    }
}

fn enrolment(host: &str, request: &str) -> EnrolRequest {
    EnrolRequest {
        proof: Some(Proof::BootstrapSecret(SECRET.to_owned())),
        certificate_request_pem: request.to_owned(),
        node_name: format!("node-{host}"),
        host_id: host.to_owned(),
        agent_version: "1".to_owned(),
    }
}

/// A node's certificate of this authority, made at `at` for one hour.
pub(super) fn client_pems(authority: &Authority, at: UnixNanos) -> Pems {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let node = NodeIdentity {
        cluster: "c1".to_owned(),
        uid: "u".to_owned(),
        name: "n".to_owned(),
    };
    let signed = authority.sign(&request, &node, at, Duration::from_secs(3_600)).unwrap();
    (signed.chain_pem, key.serialize_pem())
}

/// A certificate of the right authority that names a node only in its common name.
pub(super) fn cn_only(folder: &Path, name: &str) -> Pems {
    let read = |file| std::fs::read_to_string(folder.join(file)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

pub(super) struct Client(pub IngestServiceClient<Channel>);

impl Client {
    /// Opens a report stream and says hello.
    pub async fn open(
        &mut self,
        epoch: u64,
    ) -> Result<(mpsc::Sender<ReportRequest>, Streaming<ReportResponse>), Status> {
        let (up, requests) = mpsc::channel(4_096);
        let hello = Up::Hello(Hello {
            epoch,
            agent_version: "1".to_owned(),
            ..Hello::default()
        });
        up.send(ReportRequest { message: Some(hello) }).await.unwrap();
        let answers = self.0.report(ReceiverStream::new(requests)).await?.into_inner();
        Ok((up, answers))
    }

    pub async fn talk(&mut self, epoch: u64) -> Conversation {
        let (up, mut down) = self.open(epoch).await.unwrap();
        let Some(Down::Welcome(welcome)) = down.message().await.unwrap().unwrap().message else {
            panic!("no welcome")
        };
        Conversation {
            epoch,
            up,
            down,
            welcome,
        }
    }
}

pub(super) struct Conversation {
    epoch: u64,
    up: mpsc::Sender<ReportRequest>,
    down: Streaming<ReportResponse>,
    pub welcome: Welcome,
}

impl Conversation {
    /// Sends a finding and returns the credit that it costs. A stream that has ended takes it silently.
    pub async fn send(&self, seq: u64, finding: &Finding) -> u64 {
        self.send_raw(seq, finding.into()).await
    }

    pub async fn send_raw(&self, seq: u64, finding: WireFinding) -> u64 {
        let bytes = finding.encoded_len();
        let findings = vec![SequencedFinding {
            seq,
            finding: Some(finding),
        }];
        let batch = Up::Batch(FindingBatch {
            epoch: self.epoch,
            findings,
        });
        drop(self.up.send(ReportRequest { message: Some(batch) }).await);
        u64::try_from(bytes).unwrap()
    }

    /// Sends crashes of one workload in one message and returns the credit that they cost.
    pub async fn send_many(&self, first: u32, count: u32) -> u64 {
        let findings: Vec<_> = (first..first + count)
            .map(|n| SequencedFinding {
                seq: n.into(),
                finding: Some((&crash("web", n)).into()),
            })
            .collect();
        let bytes: usize = findings
            .iter()
            .filter_map(|f| f.finding.as_ref())
            .map(WireFinding::encoded_len)
            .sum();
        let batch = Up::Batch(FindingBatch {
            epoch: self.epoch,
            findings,
        });
        drop(self.up.send(ReportRequest { message: Some(batch) }).await);
        u64::try_from(bytes).unwrap()
    }

    pub async fn ack(&mut self) -> Ack {
        match self.down.message().await.unwrap().unwrap().message {
            Some(Down::Ack(ack)) => ack,
            other => panic!("no ack: {other:?}"),
        }
    }

    /// Waits until everything up to `seq` is acknowledged.
    pub async fn acked(&mut self, seq: u64) {
        while self.ack().await.acked_seq < seq {}
    }

    /// The status that the server ends the stream with.
    pub async fn end(&mut self) -> Status {
        loop {
            match self.down.message().await {
                Err(status) => return status,
                Ok(None) => panic!("ended in order"),
                Ok(Some(_)) => {}
            }
        }
    }
}
