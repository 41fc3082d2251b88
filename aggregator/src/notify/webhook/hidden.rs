//! Secrets that a receiver may send back: some answer with the request that they got.
//!
//! Owns what is taken out of an answer before it is shown to anybody. Must not know what the answer means.

use inquest_shared::{config, secret::Secret};
use reqwest::Url;

/// What stands where a secret was.
const MASK: &str = "[redacted]";
/// Shorter parts of an address or a header are words such as `hook` and `Bearer`, and hiding them would only confuse.
const SHORTEST: usize = 8;

/// Parts of the configuration that nobody is to see, longest first, so that no part is left of a longer one.
pub(super) struct Hidden(Vec<Secret<String>>);

impl Hidden {
    pub(super) fn of(url: &Url, config: &config::Webhook) -> Self {
        let headers = config.headers.values().flat_map(|value| {
            let value = value.expose();
            std::iter::once(value.as_str()).chain(value.split_whitespace())
        });
        let address = [url.path(), url.query().unwrap_or_default(), url.username()]
            .into_iter()
            .chain(url.password())
            .chain(url.path_segments().into_iter().flatten());
        let mut parts: Vec<&str> = headers.chain(address).filter(|part| part.len() >= SHORTEST).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        parts.dedup();
        Self(parts.into_iter().map(|part| Secret::new(part.to_owned())).collect())
    }

    /// The answer without them.
    pub(super) fn remove_from(&self, words: &[u8]) -> String {
        let text = String::from_utf8_lossy(words).into_owned();
        self.0
            .iter()
            .fold(text, |text, secret| text.replace(secret.expose(), MASK))
    }
}
