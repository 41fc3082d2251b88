//! A receiver of alerts inside the demo: answers every request on a loopback port and counts the POSTs.
//!
//! Owns as much of HTTP/1.1 (RFC 9112) as one client with `content-length` needs. Must not know what is in a body.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::DemoError;

/// Largest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// Largest body; an alert has a few KiB.
const MAX_BODY: usize = 1024 * 1024;
/// Connections at once; more are closed.
const MAX_CONNECTIONS: usize = 16;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A running receiver. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Receiver {
    url: String,
    taken: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port.
    pub(super) async fn start() -> Result<Self, DemoError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(DemoError::NoPort)?;
        let port = listener.local_addr().map_err(DemoError::NoPort)?.port();
        let taken = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, Arc::clone(&taken)));
        Ok(Self {
            url: format!("http://127.0.0.1:{port}/alerts"),
            taken,
            task,
        })
    }

    /// Where to post.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How many alerts were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, taken: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A failed connection is the client's to try again.
            Ok((stream, _)) = listener.accept() => {
                if connections.len() < MAX_CONNECTIONS {
                    connections.spawn(serve(stream, Arc::clone(&taken)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, taken: Arc<AtomicU64>) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let (head, body) = loop {
            match sizes(&buffer)? {
                Some(sizes) => break sizes,
                None if !fill(&mut stream, &mut buffer).await? => return Ok(()),
                None => {}
            }
        };
        while buffer.len() < head + body {
            if !fill(&mut stream, &mut buffer).await? {
                return Ok(());
            }
        }
        // Anything else only asks whether somebody is here.
        if buffer.starts_with(b"POST ") {
            taken.fetch_add(1, Ordering::Relaxed);
        }
        buffer.drain(..head + body);
        stream.write_all(ANSWER).await?;
    }
}

/// Reads more; false at the end.
async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    Ok(stream.read_buf(buffer).await? > 0)
}

/// Length of the head and of the body, once the head is complete.
fn sizes(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let refused = || io::Error::from(io::ErrorKind::InvalidData);
    let Some(at) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return if buffer.len() > MAX_HEAD {
            Err(refused())
        } else {
            Ok(None)
        };
    };
    let head = String::from_utf8_lossy(buffer.get(..at).unwrap_or_default()).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(Ok(0), |n| n.trim().parse());
    match length {
        Ok(length) if length <= MAX_BODY => Ok(Some((at + 4, length))),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(stream: &mut TcpStream, parts: &[&[u8]]) {
        for part in parts {
            stream.write_all(part).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut answer = vec![0; ANSWER.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
    }

    #[tokio::test]
    async fn each_alert_counts_once_however_it_is_cut() {
        let receiver = Receiver::start().await.unwrap();
        let address = receiver
            .url()
            .strip_prefix("http://")
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        post(
            &mut stream,
            &[b"POST /alerts HTTP/1.1\r\nContent-Len", b"gth: 4\r\n\r\nab", b"cd"],
        )
        .await;
        assert_eq!(receiver.taken(), 1);
        post(&mut stream, &[b"POST /alerts HTTP/1.1\r\ncontent-length: 0\r\n\r\n"]).await;
        assert_eq!(receiver.taken(), 2);
        post(&mut stream, &[b"OPTIONS /alerts HTTP/1.1\r\n\r\n"]).await;
        assert_eq!(receiver.taken(), 2, "a question is no alert");
    }

    #[test]
    fn a_request_without_end_is_refused() {
        assert!(sizes(&vec![b'x'; MAX_HEAD + 1]).is_err());
        assert!(sizes(b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n").is_err());
        assert!(sizes(b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n").is_err());
        assert_eq!(sizes(b"POST").unwrap(), None);
    }
}
