//! The `webhook` receiver: one signed POST per transition, a CloudEvents 1.0 body.
//!
//! Owns the HTTP exchange and what each answer means. The address may hold a token, so it is in no error and no log.

mod event;
mod failure;
mod fit;
mod hidden;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use inquest_shared::clock::Clock;
use inquest_shared::config;
use inquest_shared::secret::{Secret, SecretError};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use thiserror::Error;

use super::{Message, Notifier, Outcome, Reason, retry_after};
use hidden::Hidden;
use signature::Signer;

/// Most of an answer's body that is read; a longer one costs the connection.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Longest wait for the body of an answer whose status is known already.
const MAX_ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for a connection; a host that does not answer at all is told apart from a slow receiver.
const MAX_CONNECT: Duration = Duration::from_secs(3);
/// Most headers of an answer.
const MAX_ANSWER_HEADERS: usize = 100;

/// Why a webhook cannot be set up. None of the texts contains the address or a secret.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The address does not parse; change the configuration.
    #[error("the address is not a valid http or https URL")]
    Url,
    /// A configured header is not valid HTTP; change the configuration.
    #[error("the header {name} is not valid in HTTP")]
    Header {
        /// Name as configured.
        name: String,
    },
    /// The signing secret could not be read; retrying helps when the file is mounted later.
    #[error("cannot read the signing secret")]
    Secret(#[from] SecretError),
    /// The signing secret is not `whsec_` and base64 of at least 24 bytes; change the file.
    #[error("the signing secret is not whsec_ followed by base64 of at least 24 bytes")]
    SecretForm,
    /// The HTTP client could not be made, for example since the system has no root certificates; install them.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Posts to one address over connections of its own.
pub struct Webhook {
    client: Client,
    url: Url,
    signer: Option<Signer>,
    hidden: Hidden,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// Reads the secret and makes the client; opens no connection.
    ///
    /// # Errors
    /// [`WebhookError`]; see there whether retrying helps.
    pub fn new(config: &config::Webhook, clock: Arc<dyn Clock>) -> Result<Self, WebhookError> {
        let url = Url::parse(config.url.expose()).map_err(|_| WebhookError::Url)?;
        let signer = match &config.secret_file {
            Some(path) => Some(Signer::new(&Secret::from_file(path)?).ok_or(WebhookError::SecretForm)?),
            None => None,
        };
        let client = client(&url, config)?;
        Ok(Self {
            hidden: Hidden::of(&url, config),
            client,
            url,
            signer,
            clock,
        })
    }

    async fn post(&self, message: &Message) -> Outcome {
        let key = message.key();
        let body = match event::encode(message, &key) {
            Ok(body) => body,
            Err(error) => return Outcome::Permanent(Reason::quoting("cannot encode", error.to_string().as_bytes())),
        };
        let Some(headers) = self.headers(&key, &body) else {
            return Outcome::Permanent(Reason::new("cannot encode the headers"));
        };
        match self
            .client
            .request(Method::POST, self.url.clone())
            .headers(headers)
            .body(body)
            .send()
            .await
        {
            Ok(response) => self.judge(response).await,
            Err(error) => unanswered(&error),
        }
    }

    /// Headers of one attempt: signed now, since receivers refuse old time stamps.
    fn headers(&self, key: &str, body: &[u8]) -> Option<HeaderMap> {
        let timestamp = self.clock.now().as_secs().to_string();
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/cloudevents+json; charset=utf-8"),
        );
        headers.insert("idempotency-key", value(key)?);
        headers.insert("webhook-id", value(key)?);
        headers.insert("webhook-timestamp", value(&timestamp)?);
        if let Some(signer) = &self.signer {
            headers.insert("webhook-signature", value(&signer.sign(key, &timestamp, body)?)?);
        }
        Some(headers)
    }

    /// What an answer means.
    async fn judge(&self, mut response: Response) -> Outcome {
        let status = response.status();
        let header = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let wait = header.and_then(|text| retry_after::parse(text, self.clock.now()));
        let words = answer(&mut response).await;
        let words = self.hidden.remove_from(&words);
        let reason = Reason::quoting(&format!("http {}", status.as_u16()), words.as_bytes());
        match status {
            status if status.is_success() => Outcome::Delivered,
            StatusCode::TOO_MANY_REQUESTS => Outcome::Throttled(wait, reason),
            StatusCode::REQUEST_TIMEOUT => Outcome::RetryAfter(wait, reason),
            status if status.is_server_error() => Outcome::RetryAfter(wait, reason),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::AuthBroken(reason),
            StatusCode::PAYLOAD_TOO_LARGE => Outcome::Oversize(reason),
            _ => Outcome::Permanent(reason),
        }
    }
}

impl Notifier for Webhook {
    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Outcome> {
        Box::pin(self.post(message))
    }

    /// Asks with OPTIONS, which has no effect on a receiver; any answer will do.
    fn probe(&self) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async {
            match self.client.request(Method::OPTIONS, self.url.clone()).send().await {
                Ok(mut response) => {
                    answer(&mut response).await;
                    Ok(())
                }
                Err(error) => Err(Reason::new(class(&error))),
            }
        })
    }
}

fn client(url: &Url, config: &config::Webhook) -> Result<Client, WebhookError> {
    inquest_shared::tls::install_provider();
    let timeout = config.timeout.get();
    let builder = Client::builder()
        .user_agent(concat!("inquest/", env!("CARGO_PKG_VERSION")))
        .default_headers(configured(config)?)
        .timeout(timeout)
        .connect_timeout(timeout.min(MAX_CONNECT))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .http1_max_headers(MAX_ANSWER_HEADERS);
    // Without TLS no root certificates are needed, and a minimal image has none.
    let builder = if url.scheme() == "http" {
        builder.tls_certs_only([])
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| WebhookError::Client(error.without_url()))
}

/// The headers that the user configured, marked so that no debug output shows them.
fn configured(config: &config::Webhook) -> Result<HeaderMap, WebhookError> {
    let mut headers = HeaderMap::new();
    for (name, text) in &config.headers {
        let invalid = || WebhookError::Header { name: name.clone() };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(text.expose()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The beginning of an answer's body. Reading it to the end lets the connection be used again; an endless or slow one
/// is given up. What went wrong while reading does not matter: the status says what the answer means.
async fn answer(response: &mut Response) -> Vec<u8> {
    let mut words = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            words.extend_from_slice(&chunk);
            if words.len() > MAX_ANSWER_BYTES {
                break;
            }
        }
    };
    // A status without its body is still an answer.
    drop(tokio::time::timeout(MAX_ANSWER_WAIT, read).await);
    words
}

/// What it means that no answer came.
fn unanswered(error: &reqwest::Error) -> Outcome {
    let reason = Reason::new(class(error));
    if error.is_connect() {
        Outcome::RetryAfter(None, reason)
    } else if error.is_builder() {
        Outcome::Permanent(reason)
    } else {
        Outcome::Ambiguous(reason)
    }
}

/// A name for the failure. The error's own text is not used: it holds the address.
fn class(error: &reqwest::Error) -> &'static str {
    if error.is_builder() {
        "not a valid request"
    } else if error.is_connect() && error.is_timeout() {
        "connecting timed out"
    } else if error.is_connect() {
        failure::of_connecting(error)
    } else if error.is_timeout() {
        "timed out"
    } else {
        "connection lost or answer not valid HTTP"
    }
}

#[cfg(test)]
mod tests;
