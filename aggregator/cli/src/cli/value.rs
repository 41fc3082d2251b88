//! Values that are typed: addresses, severities, causes, times.

use std::fmt;

use inquest_shared::{
    config::ConfigDuration,
    model::{Cause, DeliveryState, Severity},
    text::Lang,
};

/// Address of an aggregator's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server(String);

impl Server {
    /// An aggregator on this host.
    pub(crate) fn loopback(port: u16) -> Self {
        Self(format!("http://127.0.0.1:{port}"))
    }

    /// With scheme, host and port.
    pub(crate) fn url(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes `http://HOST:PORT`, with or without the scheme.
pub(super) fn server(text: &str) -> Result<Server, String> {
    let expected = "expected an address such as http://127.0.0.1:7441";
    if text.starts_with("https://") {
        return Err(format!(
            "the API has no TLS yet, it listens on loopback only; {expected}"
        ));
    }
    let host = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let uri: tonic::codegen::http::Uri = format!("http://{host}").parse().map_err(|_| expected.to_owned())?;
    match (uri.host(), uri.port_u16(), uri.path()) {
        (Some(name), Some(_), "/") if !name.is_empty() && !host.contains(['@', '?']) => {
            Ok(Server(format!("http://{host}")))
        }
        _ => Err(expected.to_owned()),
    }
}

pub(super) fn severity(text: &str) -> Result<Severity, String> {
    text.parse()
        .map_err(|error: inquest_shared::model::UnknownCode| error.to_string())
}

pub(super) fn cause(text: &str) -> Result<Cause, String> {
    text.parse()
        .map_err(|error: inquest_shared::model::UnknownCode| error.to_string())
}

pub(super) fn delivery_state(text: &str) -> Result<DeliveryState, String> {
    text.parse()
        .map_err(|error: inquest_shared::model::UnknownCode| error.to_string())
}

pub(super) fn lang(text: &str) -> Result<Lang, String> {
    text.parse()
        .map_err(|error: inquest_shared::model::UnknownCode| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<ConfigDuration, String> {
    ConfigDuration::parse(text)
        .map_err(|error| format!("{error}; expected a time with its unit, such as 90s, 2h or 1d"))
}
