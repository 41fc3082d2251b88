//! A receiver behind TLS, with a certificate for a name that the test chooses, that can refuse HTTP/2 connections.
//!
//! Owns the handshake and just enough HTTP to take a request. What the requests say is the webhook receiver's subject.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest request that is read.
const MAX_REQUEST: usize = 1 << 20;
/// An empty SETTINGS frame and a GOAWAY that says that no stream was taken (RFC 9113, sections 6.5 and 6.8).
const GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// What is done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Speaks HTTP/1.1 and accepts.
    Accept,
    /// Agrees on HTTP/2 and sends it away at once.
    Goaway,
}

/// A receiver on a port of the loopback, until it is dropped.
#[derive(Debug)]
pub struct TlsReceiver {
    address: SocketAddr,
    authority_pem: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<VecDeque<Manner>>,
    accepted: AtomicUsize,
    sent_away: AtomicUsize,
    stop: AtomicBool,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl TlsReceiver {
    /// Starts one whose certificate is for `name`.
    ///
    /// # Errors
    /// When the loopback cannot be listened on.
    pub fn start(name: &str) -> Result<Self> {
        inquest_shared::tls::install_provider();
        let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
        let config = |protocol: &[u8]| -> Result<Arc<ServerConfig>> {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
            let builder = ServerConfig::builder().with_no_client_auth();
            let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key)?;
            config.alpn_protocols = vec![protocol.to_owned()];
            Ok(Arc::new(config))
        };
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            accepted: AtomicUsize::new(0),
            sent_away: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            http1: config(b"http/1.1")?,
            http2: config(b"h2")?,
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback")?;
        let address = listener.local_addr()?;
        let server = Arc::clone(&shared);
        let thread = std::thread::spawn(move || server.serve(&listener));
        Ok(Self {
            address,
            authority_pem: made.cert.pem(),
            shared,
            thread: Some(thread),
        })
    }

    /// The address to send to, by the name `localhost`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.address.port())
    }

    /// The certificate, which is its own authority.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Says what to do with the next connections; later ones are accepted.
    pub fn script(&self, manners: impl IntoIterator<Item = Manner>) {
        let mut script = self.shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.extend(manners);
    }

    /// How many messages were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections were sent away.
    #[must_use]
    pub fn sent_away(&self) -> usize {
        self.shared.sent_away.load(Ordering::SeqCst)
    }
}

impl Drop for TlsReceiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread; one that has ended already refuses, which is as good.
        let _wake = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

impl Shared {
    fn serve(&self, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // A client that breaks off is what some tests are about.
            let _told_by_the_counters = self.one(stream).is_ok();
        }
    }

    fn one(&self, stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let manner = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let manner = manner.unwrap_or(Manner::Accept);
        let config = match manner {
            Manner::Accept => &self.http1,
            Manner::Goaway => &self.http2,
        };
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream);
        match manner {
            Manner::Accept => self.accept(&mut stream),
            Manner::Goaway => {
                stream.write_all(GOAWAY)?;
                stream.flush()?;
                self.sent_away.fetch_add(1, Ordering::SeqCst);
                // Until the client has read it and closes.
                let _ended = stream.read_to_end(&mut Vec::new()).is_ok();
                Ok(())
            }
        }
    }

    fn accept(&self, stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Result<()> {
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while request.len() < MAX_REQUEST && !is_complete(&request) {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            request.extend(chunk.iter().take(read));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        stream.conn.send_close_notify();
        stream.flush()?;
        if request.starts_with(b"POST ") {
            self.accepted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Whether head and body are there; a request without a length has no body.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}
