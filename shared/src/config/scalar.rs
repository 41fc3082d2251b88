//! Single values: how each type is read from text and shown again.
//!
//! Owns the trait and the types that both programs use. Must not know paths or origins.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::describe::Form;
use super::problem::quote;
use super::units::{ByteSize, ConfigDuration};
use crate::telemetry::{LogFormat, LogLevel};

/// A value that one word of a file, a variable or a flag can hold.
pub(super) trait Scalar: Sized {
    /// Completes "expected …".
    const EXPECTED: &'static str;
    /// The form, for editors.
    const FORM: Form;

    /// Reads the value; the error completes "`text` …".
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as `--print-config` shows it; never a secret.
    fn show(&self) -> String;

    /// The value with what is never shown, to tell two of them apart.
    fn whole(&self) -> String {
        self.show()
    }
}

const NOT_THAT: &str = "is not valid";

/// The message for a value that cannot be read.
pub(super) fn complaint<T: Scalar>(text: &str, reason: &str) -> String {
    format!("{} {reason}; expected {}", quote(text), T::EXPECTED)
}

impl Scalar for String {
    const EXPECTED: &'static str = "a text that is not empty";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("is empty".to_owned())
        } else {
            Ok(text.to_owned())
        }
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Scalar for PathBuf {
    const EXPECTED: &'static str = "an absolute path";
    const FORM: Form = Form::Path;

    fn parse(text: &str) -> Result<Self, String> {
        if Path::new(text).is_absolute() {
            Ok(Self::from(text))
        } else {
            Err("is not absolute".to_owned())
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    const FORM: Form = Form::Bool;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| NOT_THAT.to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for u32 {
    const EXPECTED: &'static str = "a whole number such as 200";
    const FORM: Form = Form::Whole;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| NOT_THAT.to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for SocketAddr {
    const EXPECTED: &'static str = "an address and a port such as 127.0.0.1:7443";
    const FORM: Form = Form::Socket;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| NOT_THAT.to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for ConfigDuration {
    const EXPECTED: &'static str = "a duration such as 500ms, 30s, 10m or 1h30m";
    const FORM: Form = Form::Duration;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for ByteSize {
    const EXPECTED: &'static str = "a size such as 16KiB or 64MiB";
    const FORM: Form = Form::Size;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for LogFormat {
    const EXPECTED: &'static str = "text or json";
    const FORM: Form = Form::Word(&["text", "json"]);

    fn parse(text: &str) -> Result<Self, String> {
        Self::from_name(text).ok_or_else(|| NOT_THAT.to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for LogLevel {
    const EXPECTED: &'static str = "error, warn, info, debug or trace";
    const FORM: Form = Form::Word(&["error", "warn", "info", "debug", "trace"]);

    fn parse(text: &str) -> Result<Self, String> {
        Self::from_name(text).ok_or_else(|| NOT_THAT.to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A host name or address and a port, resolved only when it is used: `aggregator.inquest:7440`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Scalar for HostPort {
    const EXPECTED: &'static str = "a host and a port such as aggregator.example:7440";
    const FORM: Form = Form::HostPort;

    fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or("has no valid port")?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let is_name = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
        let is_v6 = bare.is_some() && host.parse::<std::net::Ipv6Addr>().is_ok();
        if host.is_empty() || !(is_v6 || host.chars().all(is_name)) {
            return Err("has no valid host".to_owned());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An `http` or `https` address. Only scheme and host are ever shown: the path, the query and the
/// user part of a webhook often hold its token.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// The whole address. It may contain a token: do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Stands in for an address that is missing and was reported as such.
    pub(super) const fn placeholder() -> Self {
        Self(String::new())
    }
}

/// Scheme and authority of a web address, without the user part.
fn public_part(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let known = matches!(scheme, "http" | "https") && !host.is_empty() && !host.starts_with(':');
    known.then_some((scheme, host))
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = public_part(&self.0).unwrap_or(("http", "?"));
        write!(f, "{scheme}://{host}/…")
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Scalar for WebhookUrl {
    const EXPECTED: &'static str = "an address such as https://hooks.example/inquest";
    const FORM: Form = Form::Url;

    fn parse(text: &str) -> Result<Self, String> {
        let printable = text.chars().all(|char| char.is_ascii_graphic());
        match public_part(text) {
            Some(_) if printable => Ok(Self(text.to_owned())),
            _ => Err("is not a web address".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn whole(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_taken_apart() {
        for (text, host, port) in [
            ("aggregator.inquest.svc:7440", "aggregator.inquest.svc", 7440),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:7440", "::1", 7440),
        ] {
            let parsed = <HostPort as Scalar>::parse(text).unwrap();
            assert_eq!((parsed.host(), parsed.port()), (host, port));
            assert_eq!(parsed.to_string(), text);
        }
        for text in [
            "host",
            "host:",
            ":7440",
            "host:0",
            "host:70000",
            "::1:7440",
            "a b:1",
            "[x]y:1",
            "http://h:1",
        ] {
            assert!(<HostPort as Scalar>::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_token_in_a_webhook_address_is_never_shown() {
        let url = <WebhookUrl as Scalar>::parse("https://me:pw@hooks.example:8443/T0/secret?k=v").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://hooks.example:8443/… https://hooks.example:8443/…"
        );
        assert!(url.expose().ends_with("/T0/secret?k=v"));
    }

    #[test]
    fn other_schemes_and_bare_hosts_are_no_webhook_addresses() {
        for text in ["ftp://h/", "hooks.example", "http://", "http://:80/", "https://h/a b"] {
            assert!(<WebhookUrl as Scalar>::parse(text).is_err(), "{text}");
        }
    }
}
