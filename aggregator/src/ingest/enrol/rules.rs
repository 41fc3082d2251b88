//! Which reviewed token speaks for which node. Pure.
//!
//! Owns every rule of admission by token. Must not ask, wait or read a clock.

use super::{
    Refusal,
    review::{Bound, Owner, PodLookup, Review},
    token::Claims,
};

/// Whom a token must be of and for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// Audience of the token.
    pub audience: String,
    /// Namespace of the agents.
    pub namespace: String,
    /// ServiceAccount of the agents.
    pub service_account: String,
    /// DaemonSet that must control the agent's pod; `None` takes any pod.
    pub daemonset: Option<String>,
}

/// A node that a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub node: String,
    /// `None` when only the pod says where it runs.
    pub uid: Option<String>,
}

impl TokenRules {
    /// As the apiserver names the ServiceAccount. Source: Kubernetes, "Managing Service Accounts".
    pub(super) fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.service_account)
    }

    /// The pod that holds an authenticated token for us.
    pub(super) fn holder<'a>(&self, review: &'a Review) -> Result<&'a Bound, Refusal> {
        if !review.authenticated {
            return Err(Refusal::InvalidToken);
        }
        // An apiserver that knows no audiences returns none, and then the token is for the apiserver itself.
        if !review.audiences.contains(&self.audience) {
            return Err(Refusal::WrongAudience);
        }
        if review.username != self.username() {
            return Err(Refusal::OtherServiceAccount);
        }
        let absent = match review.node {
            Some(_) => Refusal::NoPodClaim,
            None => Refusal::NoNodeClaim,
        };
        review.pod.as_ref().ok_or(absent)
    }

    /// The node of the token, with what is known about its pod.
    pub(super) fn place(&self, review: &Review, pod: &PodLookup) -> Result<Place, Refusal> {
        let (runs_on, namespace, account, owner) = match pod {
            PodLookup::NotSynced => return Err(Refusal::ReviewUnavailable),
            PodLookup::Unknown => return Err(Refusal::UnknownPod),
            PodLookup::Deleted { .. } => return Err(Refusal::DeletedPod),
            PodLookup::Present {
                node,
                namespace,
                service_account,
                owner,
            } => (node, namespace, service_account, owner),
        };
        let other_account = account.as_ref().is_some_and(|name| *name != self.service_account);
        if *namespace != self.namespace || other_account {
            return Err(Refusal::OtherServiceAccount);
        }
        if runs_on.is_empty() {
            return Err(Refusal::NoNodeClaim);
        }
        if review.node.as_ref().is_some_and(|claimed| claimed.name != *runs_on) {
            return Err(Refusal::ForeignNode);
        }
        if !self.is_ours(owner.as_ref()) {
            return Err(Refusal::HandMadePod);
        }
        Ok(Place {
            node: runs_on.clone(),
            uid: review.node.as_ref().map(|claimed| claimed.uid.clone()),
        })
    }

    fn is_ours(&self, owner: Option<&Owner>) -> bool {
        let Some(wanted) = &self.daemonset else { return true };
        owner.is_some_and(|owner| owner.kind == "DaemonSet" && owner.name == *wanted)
    }

    /// Why a token was not authenticated. The apiserver says it in words only, so the token's own claims, which nobody has
    /// verified, choose the label; whatever they say, the token stays refused.
    pub(super) fn blame(&self, claims: Option<&Claims>, review: &Review, now_secs: i64) -> Refusal {
        let Some(claims) = claims else {
            return Refusal::InvalidToken;
        };
        if claims.is_over(now_secs) {
            Refusal::ExpiredToken
        } else if !claims.is_for(&self.audience) {
            Refusal::WrongAudience
        } else if DELETED.iter().any(|words| review.error.contains(words)) {
            Refusal::DeletedPod
        } else {
            Refusal::InvalidToken
        }
    }
}

/// How the apiserver says that the object of a bound token is gone. Source: pkg/serviceaccount/claims.go of Kubernetes.
const DELETED: [&str; 2] = ["has been invalidated", "does not match service account pod ref claim"];

#[cfg(test)]
mod tests;
