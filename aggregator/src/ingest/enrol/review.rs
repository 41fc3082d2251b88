//! What an apiserver says about a token and about its pod.
//!
//! Owns the questions and the shape of the answers. Must not judge: that is `rules`.

use thiserror::Error;

/// An object that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A token as it was reviewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// Somebody known presented it.
    pub authenticated: bool,
    /// Audiences that token and question have in common.
    pub audiences: Vec<String>,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// Node that the token is bound to, directly or by its pod; `None` before Kubernetes 1.30.
    pub node: Option<Bound>,
    /// Pod that the token was projected into.
    pub pod: Option<Bound>,
    /// Why it was not authenticated, in the apiserver's words.
    pub error: String,
}

/// Who controls a pod (`metadata.ownerReferences` with `controller: true`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Such as `DaemonSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What is known about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodLookup {
    /// The index is not complete yet, so an absence says nothing.
    NotSynced,
    /// There is no such pod.
    Unknown,
    /// It was deleted, or is being deleted.
    Deleted {
        /// Where it ran; empty when it was not scheduled.
        node: String,
    },
    /// It is there.
    Present {
        /// Where it runs; empty before it is scheduled.
        node: String,
        /// Its namespace.
        namespace: String,
        /// Its ServiceAccount, when the index keeps it.
        service_account: Option<String>,
        /// Who controls it.
        owner: Option<Owner>,
    },
}

/// All pods of the cluster, as a watch knows them.
pub trait PodIndex: Send + Sync {
    /// The pod with this uid. Never waits.
    fn pod(&self, uid: &str) -> PodLookup;
}

/// Why the apiserver gave no answer.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// The aggregator's ServiceAccount lacks a right; an operator must give it.
    #[error("the aggregator's ServiceAccount may not {rule}")]
    Forbidden {
        /// Verb and resource of the missing rule.
        rule: &'static str,
    },
    /// No answer, or one that says "not now"; trying again helps.
    #[error("the apiserver did not {what}")]
    Away {
        /// What was asked.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that no apiserver gives in order: wrong credentials, another kind of server. An operator must look.
    #[error("the apiserver answered a request to {what} in an unexpected way")]
    Odd {
        /// What was asked.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The public side of the keys that a cluster signs tokens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKeys {
    /// `iss` of its tokens.
    pub issuer: String,
    /// A JSON Web Key Set (RFC 7517, 5).
    pub jwks: String,
}

/// What enrolment asks of an apiserver. Answers are bounded in time by the caller.
#[tonic::async_trait]
pub trait TokenReviewer: Send + Sync {
    /// Reviews a token for an audience.
    ///
    /// # Errors
    /// [`ReviewError`]
    async fn review(&self, token: &str, audience: &str) -> Result<Review, ReviewError>;

    /// The pod by its name; one with another uid counts as deleted. For what no index knows.
    ///
    /// # Errors
    /// [`ReviewError`]
    async fn pod(&self, namespace: &str, pod: &Bound) -> Result<PodLookup, ReviewError>;

    /// Uid of a node, for tokens of a cluster that does not write it into them; `None` when there is no such node.
    ///
    /// # Errors
    /// [`ReviewError`]
    async fn node_uid(&self, name: &str) -> Result<Option<String>, ReviewError>;

    /// The keys that tokens are signed with.
    ///
    /// # Errors
    /// [`ReviewError`]
    async fn keys(&self) -> Result<PublishedKeys, ReviewError>;
}
