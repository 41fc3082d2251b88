//! Routes and receivers, in the shape that Alertmanager uses.
//!
//! Owns the two lists, that every route names a receiver that exists, and that every matcher can be used. Must not know
//! how a receiver works.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::problem::quote;
use super::scalar::WebhookUrl;
use super::section::unknown_key;
use super::units::ConfigDuration;
use super::{Section, positive};
use crate::matcher::Matcher;
use crate::secret::Secret;

/// Labels of an incident that matchers may look at.
pub const LABELS: &[&str] = &[
    "cluster",
    "namespace",
    "workload",
    "kind",
    "container",
    "cause",
    "severity",
    "node",
    "state",
];

/// The root of the routing tree: what no child takes goes to its receiver.
#[derive(Debug, Clone)]
pub struct Route {
    /// `route.receiver`: name of the receiver. Default: the first of `receivers`.
    pub receiver: String,
    /// `route.routes`: children, tried in order; the first that matches takes the alert.
    pub routes: Vec<SubRoute>,
}

/// A child route.
#[derive(Debug, Clone)]
pub struct SubRoute {
    /// `matchers`: all must hold, each in the form `label="value"`, with `=`, `!=`, `=~` or `!~`.
    pub matchers: Vec<String>,
    /// `receiver`: name of the receiver.
    pub receiver: String,
    /// `continue`: go on to the next sibling after a match. Default `false`.
    pub proceed: bool,
}

/// A destination of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// `name`: unique; routes refer to it.
    pub name: String,
    /// Which notifier serves it: exactly one of `stdout` and `webhook`.
    pub kind: ReceiverKind,
}

/// The kinds of receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverKind {
    /// `stdout: {}`: one line per alert on standard output.
    Stdout,
    /// `webhook: {…}`: a signed HTTP POST.
    Webhook(Webhook),
}

/// A signed HTTP POST (CloudEvents 1.0 body, Standard Webhooks signature).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `url`: where to post. Shown without path and query.
    pub url: WebhookUrl,
    /// `secret_file`: file with the signing secret (`whsec_…`). Default: unsigned.
    pub secret_file: Option<PathBuf>,
    /// `timeout`: time for one attempt, connection included. Default `10s`.
    pub timeout: ConfigDuration,
    /// `headers`: further request headers. Values are not shown.
    pub headers: BTreeMap<String, Secret>,
}

/// Reads `receivers`, then `route` against them.
pub(super) fn read(section: &mut Section<'_, '_>) -> (Route, Vec<Receiver>) {
    let receivers = read_receivers(section);
    let route = section.section("route", |s| Route::read(s, &receivers));
    (route, receivers)
}

fn read_receivers(section: &mut Section<'_, '_>) -> Vec<Receiver> {
    let mut names: Vec<String> = Vec::new();
    let given = section.sections("receivers", |s| {
        let receiver = Receiver::read(s);
        if names.contains(&receiver.name) {
            s.reject(
                "name",
                &format!("there is already a receiver {}", quote(&receiver.name)),
            );
        }
        names.push(receiver.name.clone());
        receiver
    });
    match given {
        Some(receivers) if receivers.is_empty() => {
            section.reject("receivers", "is empty; expected at least one receiver");
            receivers
        }
        Some(receivers) => receivers,
        None => vec![Receiver {
            name: "stdout".to_owned(),
            kind: ReceiverKind::Stdout,
        }],
    }
}

impl Receiver {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let name = section.required("name", String::new());
        let stdout = section.optional_section("stdout", |_| ReceiverKind::Stdout);
        let webhook = section.optional_section("webhook", |s| ReceiverKind::Webhook(Webhook::read(s)));
        let kind = match (stdout, webhook) {
            (Some(kind), None) | (None, Some(kind)) => kind,
            (None, None) => {
                section.reject("name", "this receiver does nothing; expected one of: stdout, webhook");
                ReceiverKind::Stdout
            }
            (Some(kind), Some(_)) => {
                section.reject(
                    "webhook",
                    "a receiver has one kind; move this one to a receiver of its own",
                );
                kind
            }
        };
        Self { name, kind }
    }
}

impl Webhook {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            url: section.required("url", WebhookUrl::placeholder()),
            secret_file: section.optional("secret_file"),
            timeout: positive(section, "timeout", ConfigDuration::from_secs(10)),
            headers: section.texts("headers"),
        }
    }
}

impl Route {
    fn read(section: &mut Section<'_, '_>, receivers: &[Receiver]) -> Self {
        let first = receivers
            .first()
            .map_or_else(String::new, |receiver| receiver.name.clone());
        let receiver = section.value("receiver", first);
        check(section, &receiver, receivers);
        let routes = section.sections("routes", |s| {
            let receiver = s.required("receiver", String::new());
            check(s, &receiver, receivers);
            SubRoute {
                matchers: read_matchers(s),
                receiver,
                proceed: s.value("continue", false),
            }
        });
        Self {
            receiver,
            routes: routes.unwrap_or_default(),
        }
    }
}

/// All mistakes of a list of matchers at once.
fn read_matchers(section: &mut Section<'_, '_>) -> Vec<String> {
    let matchers: Vec<String> = section.list("matchers", Vec::new());
    for (index, text) in matchers.iter().enumerate() {
        let wrong = match Matcher::parse(text) {
            Ok(matcher) if LABELS.contains(&matcher.name()) => continue,
            Ok(matcher) => unknown_label(matcher.name()),
            Err(error) => error.to_string(),
        };
        section.reject("matchers", &format!("item {index}, {}: {wrong}", quote(text)));
    }
    matchers
}

fn unknown_label(name: &str) -> String {
    unknown_key(name, LABELS).replacen("unknown key", "unknown label", 1)
}

/// A stand-in for a missing name is empty and was already reported.
fn check(section: &mut Section<'_, '_>, name: &str, receivers: &[Receiver]) {
    if name.is_empty() || receivers.iter().any(|receiver| receiver.name == name) {
        return;
    }
    let mut names: Vec<String> = receivers.iter().map(|receiver| quote(&receiver.name)).collect();
    names.retain(|name| name != "``");
    names.dedup();
    let what = format!(
        "no receiver is named {}; expected one of: {}",
        quote(name),
        names.join(", ")
    );
    section.reject("receiver", &what);
}
