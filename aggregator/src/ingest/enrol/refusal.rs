//! Why an agent was not admitted.
//!
//! Owns the words, the metric label and the gRPC code of each reason. Must not know how it was found.

use thiserror::Error;

/// Why nobody was admitted. The text says what helps; unless it says otherwise the same request fails again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// More than 8 KiB.
    #[error("the enrolment request is larger than 8 KiB")]
    TooLarge,
    /// No proof at all.
    #[error("the enrolment request carries no proof: set enrolment.token_file or enrolment.bootstrap_secret_file")]
    NoProof,
    /// Too many wrong secrets or tokens came from there lately; trying later helps.
    #[error("too many wrong secrets or tokens came from this network: wait a minute")]
    TooManyWrong,
    /// The secret is another one.
    #[error("the bootstrap secret is wrong: agent and aggregator need the same file content")]
    WrongSecret,
    /// This aggregator has no secret.
    #[error("no bootstrap secret is configured: set enrolment.bootstrap_secret_file on the aggregator")]
    NoSecretConfigured,
    /// This aggregator has no apiserver.
    #[error(
        "ServiceAccount tokens are not configured here: run the aggregator in the cluster or name it in clusters, \
         or enrol with a bootstrap secret"
    )]
    TokensNotConfigured,
    /// No apiserver answered and no keys are cached; trying again helps.
    #[error("the apiserver cannot be asked about the token now: it is tried again")]
    ReviewUnavailable,
    /// The aggregator lacks a right.
    #[error("the aggregator's ServiceAccount may not {0}: give it the ClusterRole of the installation")]
    ReviewForbidden(&'static str),
    /// Signed by nobody we know, or damaged.
    #[error("the ServiceAccount token is not valid: it must come from this cluster")]
    InvalidToken,
    /// Its time is over; a newer one helps, and the kubelet writes it.
    #[error("the ServiceAccount token has expired: the kubelet renews projected tokens, see that the file is one")]
    ExpiredToken,
    /// For somebody else.
    #[error(
        "the ServiceAccount token is for another audience: agent and aggregator need the same enrolment.tokens.audience"
    )]
    WrongAudience,
    /// Of another ServiceAccount.
    #[error("the token is of another ServiceAccount: see enrolment.tokens.service_account of the aggregator")]
    OtherServiceAccount,
    /// Names no node, and no pod to find it by.
    #[error(
        "the token names no node: it must be projected into a pod, by Kubernetes 1.30 or newer or with a pod that is known"
    )]
    NoNodeClaim,
    /// Names no pod.
    #[error("the token names no pod: it must be projected into a pod")]
    NoPodClaim,
    /// There is no such pod.
    #[error("the pod of the token does not exist")]
    UnknownPod,
    /// The pod is deleted, or another one has its name.
    #[error("the pod of the token is deleted")]
    DeletedPod,
    /// The pod runs elsewhere.
    #[error("the pod of the token runs on another node than the token says")]
    ForeignNode,
    /// Nobody, or somebody else, controls the pod.
    #[error(
        "the pod of the token is not controlled by the agents' DaemonSet: see enrolment.tokens.daemonset of the aggregator"
    )]
    HandMadePod,
    /// No node name.
    #[error("the node name is empty")]
    NodeName,
    /// No host id, or a long one.
    #[error("the host id must have 1 to 64 bytes")]
    HostId,
    /// The certificate request is no valid PKCS#10 request.
    #[error("the certificate request is not a signed PKCS#10 request in PEM")]
    CertificateRequest,
}

impl Refusal {
    /// Value of the metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NoProof => "no_proof",
            Self::WrongSecret => "wrong_secret",
            Self::TooManyWrong => "too_many_wrong",
            Self::NoSecretConfigured => "no_secret_configured",
            Self::TokensNotConfigured => "tokens_not_configured",
            Self::ReviewUnavailable => "review_unavailable",
            Self::ReviewForbidden(_) => "review_forbidden",
            Self::InvalidToken => "invalid_token",
            Self::ExpiredToken => "expired_token",
            Self::WrongAudience => "wrong_audience",
            Self::OtherServiceAccount => "other_service_account",
            Self::NoNodeClaim => "no_node_claim",
            Self::NoPodClaim => "no_pod_claim",
            Self::UnknownPod => "unknown_pod",
            Self::DeletedPod => "deleted_pod",
            Self::ForeignNode => "foreign_node",
            Self::HandMadePod => "hand_made_pod",
            Self::NodeName => "node_name",
            Self::HostId => "host_id",
            Self::CertificateRequest => "certificate_request",
        }
    }

    /// Code of the gRPC status. `Unauthenticated` and the first three groups may change by themselves; the others need a
    /// person, and agents then ask less often.
    #[must_use]
    pub const fn code(self) -> tonic::Code {
        match self {
            Self::ReviewUnavailable => tonic::Code::Unavailable,
            Self::TooManyWrong => tonic::Code::ResourceExhausted,
            Self::NoProof | Self::WrongSecret | Self::InvalidToken | Self::ExpiredToken | Self::WrongAudience => {
                tonic::Code::Unauthenticated
            }
            Self::OtherServiceAccount
            | Self::NoNodeClaim
            | Self::NoPodClaim
            | Self::UnknownPod
            | Self::DeletedPod
            | Self::ForeignNode
            | Self::HandMadePod => tonic::Code::PermissionDenied,
            Self::NoSecretConfigured | Self::ReviewForbidden(_) => tonic::Code::FailedPrecondition,
            Self::TokensNotConfigured => tonic::Code::Unimplemented,
            Self::TooLarge | Self::NodeName | Self::HostId | Self::CertificateRequest => tonic::Code::InvalidArgument,
        }
    }

    /// Whether somebody presented what nobody gave them: such attempts are limited for each network.
    #[must_use]
    pub const fn is_guess(self) -> bool {
        matches!(
            self,
            Self::WrongSecret
                | Self::InvalidToken
                | Self::ExpiredToken
                | Self::WrongAudience
                | Self::OtherServiceAccount
        )
    }
}
