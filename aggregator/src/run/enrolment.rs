//! Wires admission: the bootstrap secret, and tokens where there is an apiserver.

use std::sync::Arc;

use inquest_shared::{secret::Secret, supervisor::Stage};

use super::Parts;
use crate::ingest::{Enrolment, KubeReviewer, PodIndex, TokenRules, Tokens};

/// ServiceAccount of the agents unless the configuration names another.
const SERVICE_ACCOUNT: &str = "inquest-agent";

/// Who may enrol, and the task that keeps the cluster's keys.
pub(super) fn enrolment(parts: &Parts, stage: &Stage) -> anyhow::Result<Enrolment> {
    let config = &parts.config.enrolment;
    let secret = config
        .bootstrap_secret_file
        .as_ref()
        .map(Secret::from_file)
        .transpose()?;
    let tokens = tokens(parts);
    if let Some(tokens) = &tokens {
        stage.spawn_with("token keys", Arc::clone(tokens), |tokens, token| async move {
            tokens.keep_keys(token).await;
            Ok(())
        });
    }
    if secret.is_none() && tokens.is_none() {
        tracing::warn!(
            "no agent can enrol: there is no apiserver to review tokens, and enrolment.bootstrap_secret_file is not set"
        );
    }
    Ok(Enrolment {
        cluster: parts.config.cluster_name.clone(),
        secret,
        tokens,
        ttl: config.certificate_life.get(),
    })
}

fn tokens(parts: &Parts) -> Option<Arc<Tokens>> {
    let client = parts.clusters.client(&parts.config.cluster_name)?.clone();
    let config = &parts.config.enrolment.tokens;
    let (namespace, service_account) = match &config.service_account {
        Some(account) => (account.namespace.clone(), account.name.clone()),
        None => (client.default_namespace().to_owned(), SERVICE_ACCOUNT.to_owned()),
    };
    let rules = TokenRules {
        audience: config.audience.clone(),
        namespace,
        service_account,
        daemonset: config.daemonset.clone(),
    };
    tracing::info!(?rules, "agents enrol with ServiceAccount tokens");
    let reviewer = Arc::new(KubeReviewer(client));
    let index = parts.clusters.get(&parts.config.cluster_name).cloned();
    let index = index.map(|index| Arc::new(index) as Arc<dyn PodIndex>);
    Some(Arc::new(Tokens::new(rules, reviewer, index, &parts.registry)))
}
