//! Admission by ServiceAccount token.
//!
//! Owns the order of the questions, their time and their number, and the cached keys for the time without an apiserver. The
//! rules themselves are in `rules`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use inquest_shared::{clock::UnixNanos, telemetry::Registry};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Refusal,
    keys::KeySet,
    review::{Bound, PodIndex, PodLookup, Review, ReviewError, TokenReviewer},
    rules::{Place, TokenRules},
    token::Token,
};

/// Time for all questions about one token. An enrolment has 5 s, and the cached keys need a rest of it.
const ASK_PATIENCE: Duration = Duration::from_secs(4);
/// Tokens that are reviewed at once; five thousand agents that start together must not press on the apiserver.
const REVIEWS_AT_ONCE: usize = 16;
/// Age of the cached keys before they are fetched again. A cluster announces a new key long before it signs with it.
const KEYS_EVERY: Duration = Duration::from_secs(3_600);
/// Pause after keys could not be fetched.
const KEYS_RETRY: Duration = Duration::from_secs(30);

/// A node that proved itself by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proved {
    pub name: String,
    pub uid: String,
    /// Without the apiserver: for a short time only.
    pub offline: bool,
}

/// Tokens of one cluster.
pub struct Tokens {
    rules: TokenRules,
    reviewer: Arc<dyn TokenReviewer>,
    pods: Option<Arc<dyn PodIndex>>,
    keys: Mutex<Option<Arc<KeySet>>>,
    places: Semaphore,
    cached: Gauge,
}

/// Why the apiserver did not lead to an admission.
enum Stop {
    Refused(Refusal),
    /// It did not answer: the cached keys may.
    Away,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ReviewError> for Stop {
    fn from(error: ReviewError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        match error {
            ReviewError::Forbidden { rule } => {
                tracing::error!(rule, "a right is missing: no agent can enrol by token");
                Self::Refused(Refusal::ReviewForbidden(rule))
            }
            ReviewError::Away { .. } => {
                tracing::warn!(%error, cause, "a token was not reviewed");
                Self::Away
            }
            ReviewError::Odd { .. } => {
                tracing::error!(%error, cause, "a token was not reviewed");
                Self::Refused(Refusal::ReviewUnavailable)
            }
        }
    }
}

impl Tokens {
    /// Tokens that `reviewer` reviews; pods that are not in the index are asked for one by one.
    #[must_use]
    pub fn new(
        rules: TokenRules,
        reviewer: Arc<dyn TokenReviewer>,
        pods: Option<Arc<dyn PodIndex>>,
        registry: &Registry,
    ) -> Self {
        let help = "Public keys of the cluster that are cached for the time without an apiserver";
        Self {
            rules,
            reviewer,
            pods,
            keys: Mutex::new(None),
            places: Semaphore::new(REVIEWS_AT_ONCE),
            cached: registry.register("enrolment_token_keys", help, Gauge::default()),
        }
    }

    /// The node that a token speaks for.
    pub(super) async fn admit(&self, token: &str, now: UnixNanos) -> Result<Proved, Refusal> {
        match timeout(ASK_PATIENCE, self.ask(token, now)).await {
            Ok(Ok(proved)) => Ok(proved),
            Ok(Err(Stop::Refused(refusal))) => Err(refusal),
            Ok(Err(Stop::Away)) => self.offline(token, now),
            Err(_) => {
                tracing::warn!(seconds = ASK_PATIENCE.as_secs(), "the apiserver did not answer in time");
                self.offline(token, now)
            }
        }
    }

    async fn ask(&self, token: &str, now: UnixNanos) -> Result<Proved, Stop> {
        let Ok(_place) = self.places.acquire().await else {
            return Err(Stop::Away);
        };
        let review = self.reviewer.review(token, &self.rules.audience).await?;
        if !review.authenticated {
            let parsed = Token::parse(token);
            let claims = parsed.as_ref().map(|token| &token.claims);
            tracing::info!(words = review.error, "the apiserver refused a token");
            return Err(self.rules.blame(claims, &review, now.as_secs()).into());
        }
        let holder = self.rules.holder(&review)?;
        let pod = self.pod(holder).await?;
        let Place { node, uid } = self.rules.place(&review, &pod)?;
        let uid = match uid {
            Some(uid) => uid,
            None => self.reviewer.node_uid(&node).await?.ok_or(Refusal::NoNodeClaim)?,
        };
        Ok(Proved {
            name: node,
            uid,
            offline: false,
        })
    }

    /// The index may be behind by a moment, so a pod that it does not know is asked for.
    async fn pod(&self, pod: &Bound) -> Result<PodLookup, ReviewError> {
        match self.indexed(pod) {
            PodLookup::NotSynced | PodLookup::Unknown => self.reviewer.pod(&self.rules.namespace, pod).await,
            known => Ok(known),
        }
    }

    fn indexed(&self, pod: &Bound) -> PodLookup {
        let index = self.pods.as_ref();
        index.map_or(PodLookup::NotSynced, |index| index.pod(&pod.uid))
    }

    /// With the cached keys. The pod is checked as far as the index knew it before the apiserver went away.
    fn offline(&self, token: &str, now: UnixNanos) -> Result<Proved, Refusal> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = keys.ok_or(Refusal::ReviewUnavailable)?;
        let review: Review = keys.verify(token, &self.rules.audience, now.as_secs())?;
        let holder = self.rules.holder(&review)?;
        match self.indexed(holder) {
            PodLookup::NotSynced => {}
            known => drop(self.rules.place(&review, &known)?),
        }
        let node = review.node.ok_or(Refusal::NoNodeClaim)?;
        tracing::warn!(
            node = node.name,
            "a token was verified by cached keys: the apiserver is away"
        );
        Ok(Proved {
            name: node.name,
            uid: node.uid,
            offline: true,
        })
    }

    /// Keeps the cluster's keys at hand until `stop` is cancelled.
    pub async fn keep_keys(&self, stop: CancellationToken) {
        loop {
            let pause = match stop.run_until_cancelled(self.fetch_keys()).await {
                None => return,
                Some(true) => KEYS_EVERY,
                Some(false) => KEYS_RETRY,
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Fetches the keys once; the earlier ones stay when that fails. Returns whether it worked.
    pub(in crate::ingest) async fn fetch_keys(&self) -> bool {
        let Ok(fetched) = timeout(ASK_PATIENCE, self.reviewer.keys()).await else {
            tracing::warn!("the apiserver did not publish its keys in time");
            return false;
        };
        let keys = match fetched {
            Ok(published) => KeySet::read(&published),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "no keys for the time without an apiserver");
                return false;
            }
        };
        let Some(keys) = keys else {
            tracing::warn!("the apiserver publishes no key of a known kind (RS256, ES256)");
            return false;
        };
        self.cached.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
        true
    }
}

#[cfg(test)]
mod tests;
