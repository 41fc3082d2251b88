//! A client that can do what an honest one never does: any certificate, any TLS version, any bytes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use inquest_tests::world::{PATIENCE, World};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where attacks come from: a network of its own, so that what an attacker uses up is not the agent's.
pub const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 66, 0, 1));
/// What an HTTP/2 client sends first, with empty SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The call that needs no certificate.
pub const ENROL: &str = "/inquest.ingest.v1.IngestService/Enrol";
/// The call of agents.
pub const REPORT: &str = "/inquest.ingest.v1.IngestService/Report";
const DAY: Duration = Duration::from_secs(86_400);

/// Chain and key in PEM.
pub type Pems = (String, String);

/// A certificate that the world's own authority signs, changed by `change`.
pub fn certificate(world: &World, change: impl FnOnce(&mut CertificateParams)) -> Result<Pems> {
    let read = |name: &str| std::fs::read_to_string(world.path(name)).context("the authority's files");
    let key = KeyPair::from_pem(&read("data/ca/ca.key")?)?;
    signed(&Issuer::from_ca_cert_pem(&read("data/ca/ca.crt")?, key)?, change)
}

/// A certificate of another authority for the same name.
pub fn foreign_certificate() -> Result<Pems> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "another authority");
    let cert = params.self_signed(&key)?;
    signed(&Issuer::from_ca_cert_pem(&cert.pem(), key)?, |_| {})
}

fn signed(issuer: &Issuer<'_, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Result<Pems> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "n1");
    params.subject_alt_names = vec![SanType::URI("spiffe://inquest/cluster/test/node/stranger".try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (std::time::UNIX_EPOCH + since_epoch() - DAY).into();
    params.not_after = (std::time::UNIX_EPOCH + since_epoch() + DAY).into();
    change(&mut params);
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, issuer)?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// Days from now, as certificates say it.
pub fn days(from_now: i64) -> Result<rcgen::CertificateParams> {
    let mut params = CertificateParams::default();
    let day = i64::try_from(DAY.as_secs())?;
    let at = i64::try_from(since_epoch().as_secs())? + from_now * day;
    let at = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(at)?);
    params.not_before = at.into();
    params.not_after = (at + DAY).into();
    Ok(params)
}

fn since_epoch() -> Duration {
    use inquest_shared::clock::{Clock as _, SystemClock, UnixNanos};
    SystemClock.now().since(UnixNanos::EPOCH)
}

/// A plain connection from an address of the loopback.
pub async fn connect(world: &World, from: IpAddr) -> Result<TcpStream> {
    connect_to(world.ingest_port(), from).await
}

/// The same to any port.
pub async fn connect_to(port: u16, from: IpAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    Ok(socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?)
}

/// A finished handshake, as far as the client can tell: in TLS 1.3 it learns of a refusal with its first read.
pub async fn handshake(
    world: &World,
    from: IpAddr,
    version: &'static SupportedProtocolVersion,
    identity: Option<&Pems>,
) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.path("data/ca/ca.crt"))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost")?;
    let stream = connect(world, from).await?;
    Ok(timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await??)
}

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = length.get(1..).unwrap_or_default().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a gRPC request, without compression.
pub fn request(stream: u32, path: &str, extra: &[(&str, &str)]) -> Vec<u8> {
    let fixed = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fixed.iter().chain(extra) {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    frame(1, 4, stream, &block)
}

/// A string of HPACK: length in seven bits and more (RFC 7541, 5.1), then the bytes as they are.
fn text(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap_or(0));
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap_or(0) | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap_or(0));
    }
    block.extend(text.as_bytes());
}

/// A message of gRPC in DATA frames.
pub fn message(stream: u32, compressed: bool, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut body = vec![u8::from(compressed)];
    body.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend(bytes);
    let mut frames = Vec::new();
    let mut chunks = body.chunks(16_000).peekable();
    while let Some(chunk) = chunks.next() {
        let last = end && chunks.peek().is_none();
        frames.extend(frame(0, u8::from(last), stream, chunk));
    }
    frames
}

/// Reads until the server closes the connection, and gives back what it said.
pub async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin), patience: Duration) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    timeout(patience, async {
        // A reset is a close too.
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            // What a flood is answered with needs no room here.
            said.extend(buffer.get(..count.min(4_096)).unwrap_or_default());
        }
    })
    .await
    .context("the connection is still open")?;
    Ok(said)
}

/// Writes as long as the server takes it; `false` when it closed the connection meanwhile.
pub async fn write(stream: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let wrote = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
    timeout(PATIENCE, wrote).await.unwrap_or(false)
}
