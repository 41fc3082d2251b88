//! What differs between the pod templates of two revisions. Pure.
//!
//! Owns which parts are compared, and what of them may be told: values of environment variables, commands and arguments may
//! hold secrets and stay here. Must not know where templates come from.

use std::collections::BTreeMap;

use inquest_shared::model::{MAX_CHANGE_TEXT, MAX_CHANGES, TemplateChange, TemplateField, Untrusted, clean_name};
use k8s_openapi::{
    api::core::v1::{Container, EnvVar, PodSpec, Probe, ResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

/// Delay, period, time-out and failures of a probe that does not say. Source: API reference, `Probe`.
const PROBE_DEFAULTS: [i32; 4] = [0, 10, 1, 3];

/// A change before its texts are bounded.
type Raw = (TemplateField, String, String, String);

/// What differs, those that explain most first; at most [`MAX_CHANGES`].
pub(super) fn changes(old: &PodSpec, new: &PodSpec) -> Vec<TemplateChange> {
    let (before, after) = (containers(old), containers(new));
    let mut found = Vec::new();
    for (name, container) in &after {
        let raw = match before.get(name) {
            Some(old) => of_container(old, container),
            None => vec![part(TemplateField::ContainerAdded, "", image(container))],
        };
        found.extend(raw.into_iter().map(|raw| bounded(name, raw)));
    }
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    let removed = gone.map(|(name, old)| bounded(name, part(TemplateField::ContainerRemoved, image(old), "")));
    found.extend(removed);
    found.sort();
    found.truncate(MAX_CHANGES);
    found
}

/// Containers and init containers; Kubernetes lets no two have one name.
fn containers(pod: &PodSpec) -> BTreeMap<&str, &Container> {
    let all = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    all.map(|container| (container.name.as_str(), container)).collect()
}

fn of_container(old: &Container, new: &Container) -> Vec<Raw> {
    let mut found = Vec::new();
    if image(old) != image(new) {
        found.push(part(TemplateField::Image, image(old), image(new)));
    }
    if old.command != new.command {
        found.push(part(TemplateField::Command, "", ""));
    }
    if old.args != new.args {
        found.push(part(TemplateField::Args, "", ""));
    }
    found.extend(environment(old, new));
    found.extend(resources(old.resources.as_ref(), new.resources.as_ref()));
    let probes = [
        (TemplateField::LivenessProbe, &old.liveness_probe, &new.liveness_probe),
        (
            TemplateField::ReadinessProbe,
            &old.readiness_probe,
            &new.readiness_probe,
        ),
        (TemplateField::StartupProbe, &old.startup_probe, &new.startup_probe),
    ];
    let changed = probes.into_iter().filter(|(_, old, new)| old != new);
    found.extend(changed.map(|(what, old, new)| probe(what, old.as_ref(), new.as_ref())));
    found
}

fn image(container: &Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

/// Names only. Of a name that comes twice the last one counts, as in Kubernetes.
fn environment(old: &Container, new: &Container) -> Vec<Raw> {
    fn variables(container: &Container) -> BTreeMap<&str, &EnvVar> {
        let all = container.env.iter().flatten();
        all.map(|variable| (variable.name.as_str(), variable)).collect()
    }
    let (before, after) = (variables(old), variables(new));
    let named = |what, name: &&str| (what, (*name).to_owned(), String::new(), String::new());
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let removed = removed.map(|name| named(TemplateField::EnvRemoved, name));
    let present = after.iter().filter_map(|(name, variable)| match before.get(name) {
        None => Some(named(TemplateField::EnvAdded, name)),
        Some(old) if old != variable => Some(named(TemplateField::EnvChanged, name)),
        Some(_) => None,
    });
    removed.chain(present).collect()
}

fn resources(old: Option<&ResourceRequirements>, new: Option<&ResourceRequirements>) -> Vec<Raw> {
    type Amounts = Option<BTreeMap<String, Quantity>>;
    fn amount<'a>(of: Option<&'a Amounts>, name: &str) -> &'a str {
        let amounts = of.and_then(Option::as_ref);
        amounts.and_then(|all| all.get(name)).map_or("", |amount| &amount.0)
    }
    let limits = (old.map(|all| &all.limits), new.map(|all| &all.limits));
    let requests = (old.map(|all| &all.requests), new.map(|all| &all.requests));
    let parts = [
        (TemplateField::MemoryLimit, limits, "memory"),
        (TemplateField::CpuLimit, limits, "cpu"),
        (TemplateField::MemoryRequest, requests, "memory"),
        (TemplateField::CpuRequest, requests, "cpu"),
    ];
    let pairs = parts.map(|(what, (old, new), name)| part(what, amount(old, name), amount(new, name)));
    pairs.into_iter().filter(|(_, _, old, new)| old != new).collect()
}

/// A difference that the words do not show is told without words.
fn probe(what: TemplateField, old: Option<&Probe>, new: Option<&Probe>) -> Raw {
    let (before, after) = (probe_words(old), probe_words(new));
    if before == after {
        return part(what, "", "");
    }
    part(what, &before, &after)
}

/// How it asks and how often. Commands, headers and queries may hold secrets.
fn probe_words(probe: Option<&Probe>) -> String {
    let Some(probe) = probe else {
        return String::new();
    };
    let how = if let Some(http) = &probe.http_get {
        let path = http.path.as_deref().unwrap_or("/");
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        format!("http :{}{path}", port(&http.port))
    } else if let Some(tcp) = &probe.tcp_socket {
        format!("tcp :{}", port(&tcp.port))
    } else if let Some(grpc) = &probe.grpc {
        format!("grpc :{}", grpc.port)
    } else {
        "exec".to_owned()
    };
    let [delay, period, timeout, failures] = PROBE_DEFAULTS;
    let (delay, period) = (
        probe.initial_delay_seconds.unwrap_or(delay),
        probe.period_seconds.unwrap_or(period),
    );
    let (timeout, failures) = (
        probe.timeout_seconds.unwrap_or(timeout),
        probe.failure_threshold.unwrap_or(failures),
    );
    format!("{how} delay={delay}s period={period}s timeout={timeout}s failures={failures}")
}

fn port(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn part(what: TemplateField, before: &str, after: &str) -> Raw {
    (what, String::new(), before.to_owned(), after.to_owned())
}

fn bounded(container: &str, (what, name, before, after): Raw) -> TemplateChange {
    TemplateChange {
        what,
        container: clean_name(container),
        name: clean_name(&name),
        before: Untrusted::bounded(&before, MAX_CHANGE_TEXT),
        after: Untrusted::bounded(&after, MAX_CHANGE_TEXT),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn template(container: &Value) -> PodSpec {
        serde_json::from_value(json!({"containers": [container]})).unwrap()
    }

    fn base() -> Value {
        json!({
            "name": "app", "image": "img/app:1", "command": ["/app"], "args": ["--token=s3cret"],
            "env": [{"name": "DB_URL", "value": "postgres://u:s3cret@db"}, {"name": "MODE", "value": "a"}],
            "resources": {"limits": {"memory": "64Mi", "cpu": "1"}, "requests": {"memory": "32Mi", "cpu": "100m"}},
            "livenessProbe": {"httpGet": {"port": 80, "path": "/ok?key=s3cret"}},
            "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 5},
        })
    }

    /// As the command line tells it: field, name, texts.
    fn told(spoil: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut new = base();
        spoil(&mut new);
        let found = changes(&template(&base()), &template(&new));
        let words = |c: &TemplateChange| format!("{} {} {:?} {:?}", c.what, c.name, c.before.raw(), c.after.raw());
        found.iter().map(words).collect()
    }

    #[test]
    fn every_part_of_a_template_is_compared() {
        type Spoil = fn(&mut Value);
        let table: &[(&str, Spoil)] = &[
            (r#"image  "img/app:1" "img/app:2""#, |c| c["image"] = "img/app:2".into()),
            (r#"command  "" """#, |c| c["command"] = json!(["/app", "--password=x"])),
            (r#"args  "" """#, |c| c["args"] = json!([])),
            (r#"env_removed DB_URL "" """#, |c| {
                c["env"] = json!([{"name": "MODE", "value": "a"}]);
            }),
            (r#"env_added NEW "" """#, |c| {
                let new = json!({"name": "NEW", "value": "s3cret"});
                c["env"].as_array_mut().unwrap().push(new);
            }),
            (r#"env_changed MODE "" """#, |c| c["env"][1]["value"] = "b".into()),
            (r#"env_changed MODE "" """#, |c| {
                c["env"][1] = json!({"name": "MODE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
            }),
            (r#"memory_limit  "64Mi" "128Mi""#, |c| {
                c["resources"]["limits"]["memory"] = "128Mi".into();
            }),
            (r#"cpu_limit  "1" """#, |c| {
                c["resources"]["limits"] = json!({"memory": "64Mi"});
            }),
            (r#"memory_request  "32Mi" "1Mi""#, |c| {
                c["resources"]["requests"]["memory"] = "1Mi".into();
            }),
            (r#"cpu_request  "100m" "1""#, |c| {
                c["resources"]["requests"]["cpu"] = "1".into();
            }),
            (
                r#"liveness_probe  "http :80/ok delay=0s period=10s timeout=1s failures=3" "http :81/ok delay=0s period=10s timeout=1s failures=3""#,
                |c| c["livenessProbe"]["httpGet"]["port"] = 81.into(),
            ),
            (r#"liveness_probe  "" """#, |c| {
                c["livenessProbe"]["httpGet"]["path"] = "/ok?key=other".into();
            }),
            (
                r#"readiness_probe  "tcp :web delay=0s period=5s timeout=1s failures=3" """#,
                |c| c["readinessProbe"] = Value::Null,
            ),
            (
                r#"startup_probe  "" "exec delay=3s period=10s timeout=1s failures=3""#,
                |c| c["startupProbe"] = json!({"exec": {"command": ["cat", "s3cret"]}, "initialDelaySeconds": 3}),
            ),
        ];
        for (expected, spoil) in table {
            assert_eq!(told(spoil), [*expected]);
        }
        assert!(told(|_| ()).is_empty());
    }

    #[test]
    fn a_renamed_container_is_one_that_came_and_one_that_went() {
        assert_eq!(
            told(|c| c["name"] = "other".into()),
            [
                r#"container_added  "" "img/app:1""#,
                r#"container_removed  "img/app:1" """#
            ]
        );
    }

    proptest! {
        /// Whatever is in a template, no value of a variable and no word of a command gets out, and the amount is bounded.
        #[test]
        fn no_value_leaves(names in prop::collection::vec("[A-Z]{1,8}", 0..40), image in "[a-z]{0,600}") {
            let secret = "hunter2";
            let variables = |shift: usize| -> Vec<Value> {
                let all = names.iter().enumerate().skip(shift);
                all.map(|(at, name)| json!({"name": name, "value": format!("{secret}{}", at + shift)})).collect()
            };
            let pod = |shift: usize, image: &str| template(&json!({
                "name": "app", "image": image, "command": [format!("{secret}{shift}")],
                "args": [format!("{secret}{shift}")], "env": variables(shift),
                "livenessProbe": {"exec": {"command": [secret]}, "periodSeconds": shift + 1},
            }));
            let found = changes(&pod(0, &image), &pod(1, "other"));
            prop_assert!(found.len() <= MAX_CHANGES);
            let told = format!("{found:?}");
            prop_assert!(!told.contains(secret), "{}", told);
            prop_assert!(found.iter().all(|c| c.before.raw().len() <= MAX_CHANGE_TEXT));
            prop_assert_eq!(changes(&pod(0, &image), &pod(0, &image)), vec![]);
        }
    }
}
