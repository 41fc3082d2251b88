//! An apiserver that holds objects and keeps the documented rules of lists and watches: versions, pages, bookmarks, versions
//! that are forgotten, and lists as streams. Source: kubernetes.io, "Kubernetes API Concepts".

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, Response, StatusCode},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::interval};
use tokio_stream::wrappers::ReceiverStream;

/// What the server does with a list that is asked for as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// It gives it.
    Given,
    /// It refuses the parameter, as with the feature switched off.
    Refused,
    /// It does not know the parameter: objects, then a watch, and never a mark.
    Ignored,
    /// Something between loses the mark: objects, then nothing at all.
    Stuck,
}

type Line = Result<Bytes, std::io::Error>;

struct Watcher {
    collection: String,
    namespace: Option<String>,
    lines: mpsc::Sender<Line>,
}

pub(super) struct World {
    version: u64,
    /// Watches from before this version are refused.
    floor: u64,
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<(u64, &'static str, String, Value)>,
    watchers: Vec<Watcher>,
    snapshots: HashMap<u64, Vec<Value>>,
    /// What each collection answers instead of its objects.
    pub(super) refusals: BTreeMap<String, u16>,
    pub(super) streams: Streams,
    /// Logs of the container of every pod, of the attempt before (`true`) and the present one.
    logs: BTreeMap<bool, String>,
    /// Connections that stay open and over which nothing comes any more.
    dead: Vec<mpsc::Sender<Line>>,
    mute: bool,
    /// Seconds after which busy clients may come back.
    pub(super) busy: Option<u64>,
    /// Seconds that pass before an answer.
    slow: u64,
    /// Every request, path and query.
    pub(super) requests: Vec<String>,
}

/// The server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            version: 100,
            floor: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            watchers: Vec::new(),
            snapshots: HashMap::new(),
            refusals: BTreeMap::new(),
            streams: Streams::Given,
            logs: BTreeMap::new(),
            dead: Vec::new(),
            mute: false,
            busy: None,
            slow: 0,
            requests: Vec::new(),
        })))
    }

    pub(super) fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    pub(super) fn client(&self) -> kube::Client {
        kube::Client::new(self.router(), "default")
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, collection: &str, object: Value) {
        self.with(|world| world.put(collection, object));
    }

    /// Refuses whatever is asked of a collection.
    pub(crate) fn refuse(&self, collection: &str, code: u16) {
        self.with(|world| world.refusals.insert(collection.to_owned(), code));
    }

    /// Answers again.
    pub(crate) fn allow(&self, collection: &str) {
        self.with(|world| world.refusals.remove(collection));
    }

    /// Keeps a log of the attempt before, or of the present one; lines begin with their time.
    pub(crate) fn keep_log(&self, previous: bool, text: &str) {
        self.with(|world| world.logs.insert(previous, text.to_owned()));
    }

    /// Lets so many seconds pass before each answer.
    pub(crate) fn slow_down(&self, secs: u64) {
        self.with(|world| world.slow = secs);
    }

    pub(super) fn delete(&self, collection: &str, namespace: &str, name: &str) {
        self.with(|world| world.delete(collection, namespace, name));
    }

    /// Ends every watch, in the ordinary way or as a broken connection.
    pub(super) fn cut(&self, broken: bool) {
        self.with(|world| {
            for watcher in world.watchers.drain(..) {
                if broken {
                    drop(watcher.lines.try_send(Err(std::io::Error::other("connection reset"))));
                }
            }
        });
    }

    /// Forgets all versions up to now.
    pub(super) fn forget(&self) {
        self.with(|world| {
            world.version += 1;
            world.floor = world.version;
            world.history.clear();
            world.snapshots.clear();
        });
    }

    /// From now on watches stay open and say nothing, those that are open too. They stay so when others speak again.
    pub(super) fn mute(&self, mute: bool) {
        self.with(|world| {
            world.mute = mute;
            if mute {
                let silenced = world.watchers.drain(..).map(|watcher| watcher.lines);
                world.dead.extend(silenced);
            }
        });
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.with(|world| world.requests.iter().filter(|request| request.contains(part)).count())
    }

    /// The collection as one page.
    pub(super) fn page(&self, collection: &str) -> Vec<u8> {
        self.with(|world| {
            let items = world.select(collection, None);
            serde_json::to_vec(&json!({"metadata": {"resourceVersion": "1"}, "items": items})).unwrap()
        })
    }
}

impl World {
    fn put(&mut self, collection: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (collection.to_owned(), text("namespace"), text("name"));
        let old = self.objects.insert(key, object.clone());
        let was = old.as_ref().is_some_and(|old| selected(collection, old));
        match (was, selected(collection, &object)) {
            (false, true) => self.record("ADDED", collection, object),
            (true, true) => self.record("MODIFIED", collection, object),
            // Leaving the selection looks like a deletion, with the new version.
            (true, false) => self.record("DELETED", collection, object),
            (false, false) => {}
        }
    }

    fn delete(&mut self, collection: &str, namespace: &str, name: &str) {
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        let Some(mut object) = self.objects.remove(&key) else {
            return;
        };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if selected(collection, &object) {
            self.record("DELETED", collection, object);
        }
    }

    fn record(&mut self, kind: &'static str, collection: &str, object: Value) {
        let (line, namespace) = (line(kind, &object), namespace_of(&object));
        for watcher in &self.watchers {
            let inside = watcher.namespace.as_ref().is_none_or(|name| *name == namespace);
            if watcher.collection == collection && inside {
                drop(watcher.lines.try_send(Ok(line.clone())));
            }
        }
        self.history.push((self.version, kind, collection.to_owned(), object));
    }

    fn select(&self, collection: &str, namespace: Option<&str>) -> Vec<Value> {
        let inside = |of: &str| namespace.is_none_or(|name| name == of);
        let objects = self
            .objects
            .iter()
            .filter(|((c, n, _), o)| c == collection && inside(n) && selected(c, o));
        objects.map(|(_, object)| object.clone()).collect()
    }

    fn get(&self, ask: &Ask, name: &str) -> Response<Body> {
        let key = (
            ask.collection.clone(),
            ask.namespace.clone().unwrap_or_default(),
            name.to_owned(),
        );
        match self.objects.get(&key) {
            Some(object) => Response::new(Body::from(object.to_string())),
            None => status(404, "NotFound", "no such object"),
        }
    }

    /// The last lines, and of those the first bytes. Source: kubernetes `pkg/kubelet/kuberuntime/logs`, `tail` and `limitBytes`.
    fn log(&self, ask: &Ask) -> Response<Body> {
        let Some(text) = self.logs.get(&(ask.get("previous").is_some())) else {
            return status(
                400,
                "BadRequest",
                "previous terminated container \"main\" in pod \"api-1\" not found",
            );
        };
        let number = |name: &str| ask.get(name).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let tail = lines[lines.len().saturating_sub(number("tailLines"))..].concat();
        let bytes: Vec<u8> = tail.bytes().take(number("limitBytes")).collect();
        Response::new(Body::from(bytes))
    }

    fn list(&mut self, ask: &Ask) -> Response<Body> {
        let limit: usize = ask
            .get("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(usize::MAX);
        let (version, from) = match ask.get("continue") {
            None => {
                let items = self.select(&ask.collection, ask.namespace.as_deref());
                self.snapshots.insert(self.version, items);
                (self.version, 0)
            }
            Some(token) => {
                let (version, from) = token.split_once('+').unwrap();
                (version.parse().unwrap(), from.parse().unwrap())
            }
        };
        let Some(items) = self.snapshots.get(&version) else {
            return status(410, "Expired", "the provided continue parameter is too old");
        };
        let page: Vec<&Value> = items.iter().skip(from).take(limit).collect();
        let end = from + page.len();
        let token = if end < items.len() {
            format!("{version}+{end}")
        } else {
            String::new()
        };
        // The version of the collection is that of the first page.
        let list = json!({"metadata": {"resourceVersion": version.to_string(), "continue": token}, "items": page});
        Response::new(Body::from(list.to_string()))
    }

    fn watch(&mut self, ask: &Ask) -> Response<Body> {
        let initial = ask.get("sendInitialEvents").is_some();
        if initial && self.streams == Streams::Refused {
            return status(
                422,
                "Invalid",
                "sendInitialEvents is forbidden unless the WatchList feature gate is enabled",
            );
        }
        let (sender, receiver) = mpsc::channel(100_000);
        if self.mute {
            self.dead.push(sender);
            return Response::new(Body::from_stream(ReceiverStream::new(receiver)));
        }
        let say = |line: Bytes| sender.try_send(Ok(line)).unwrap();
        if initial {
            for object in self.select(&ask.collection, ask.namespace.as_deref()) {
                say(line("ADDED", &object));
            }
            if self.streams == Streams::Given {
                let mark = json!({"k8s.io/initial-events-end": "true"});
                let meta = json!({"resourceVersion": self.version.to_string(), "annotations": mark});
                say(line("BOOKMARK", &json!({"metadata": meta})));
            }
        } else {
            let from: u64 = ask.get("resourceVersion").unwrap().parse().unwrap();
            if from < self.floor {
                let gone =
                    json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"});
                say(line("ERROR", &gone));
                drop(sender);
                return Response::new(Body::from_stream(ReceiverStream::new(receiver)));
            }
            let missed = self.history.iter().filter(|(version, _, c, object)| {
                let inside = ask.namespace.as_ref().is_none_or(|name| *name == namespace_of(object));
                *version > from && *c == ask.collection && inside
            });
            missed.for_each(|(_, kind, _, object)| say(line(kind, object)));
        }
        if initial && self.streams == Streams::Stuck {
            self.dead.push(sender);
            return Response::new(Body::from_stream(ReceiverStream::new(receiver)));
        }
        self.watchers.push(Watcher {
            collection: ask.collection.clone(),
            namespace: ask.namespace.clone(),
            lines: sender,
        });
        Response::new(Body::from_stream(ReceiverStream::new(receiver)))
    }

    fn bookmark(&self) {
        for watcher in &self.watchers {
            let meta = json!({"resourceVersion": self.version.to_string()});
            drop(watcher.lines.try_send(Ok(line("BOOKMARK", &json!({"metadata": meta})))));
        }
    }
}

/// Bookmarks once a minute, for as long as the test runs.
pub(super) async fn keep_bookmarks(fake: Fake) {
    let mut minute = interval(Duration::from_secs(60));
    minute.tick().await;
    loop {
        minute.tick().await;
        fake.with(|world| world.bookmark());
    }
}

struct Ask {
    collection: String,
    namespace: Option<String>,
    name: Option<String>,
    query: HashMap<String, String>,
}

impl Ask {
    fn get(&self, name: &str) -> Option<&String> {
        self.query.get(name)
    }
}

async fn answer(State(fake): State<Fake>, request: Request<Body>) -> Response<Body> {
    let ask = parse(request.uri());
    let slow = fake.with(|world| world.slow);
    if slow > 0 {
        tokio::time::sleep(Duration::from_secs(slow)).await;
    }
    fake.with(|world| {
        world.requests.push(request.uri().to_string());
        if let Some(code) = world.refusals.get(&ask.collection) {
            return status(*code, "Refused", "as the test says");
        }
        if let Some(secs) = world.busy {
            let mut busy = status(429, "TooManyRequests", "later");
            busy.headers_mut().insert("retry-after", secs.into());
            return busy;
        }
        match (ask.get("watch"), &ask.name) {
            (Some(_), _) => world.watch(&ask),
            _ if ask.collection == "pods/log" => world.log(&ask),
            (None, Some(name)) => world.get(&ask, name),
            (None, None) => world.list(&ask),
        }
    })
}

fn parse(uri: &axum::http::Uri) -> Ask {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
    let (namespace, collection, name) = match rest {
        ["namespaces", namespace, collection] => (Some(*namespace), *collection, None),
        ["namespaces", namespace, collection, name] => (Some(*namespace), *collection, Some(*name)),
        ["namespaces", namespace, "pods", name, "log"] => (Some(*namespace), "pods/log", Some(*name)),
        [collection] => (None, *collection, None),
        other => panic!("no such path: {other:?}"),
    };
    let unescape = |text: &str| text.replace("%3D", "=").replace("%21", "!").replace("%2B", "+");
    let pairs = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    Ask {
        collection: collection.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        query: pairs.map(|(name, value)| (name.to_owned(), unescape(value))).collect(),
    }
}

/// The field selectors that the index uses.
fn selected(collection: &str, object: &Value) -> bool {
    match collection {
        "pods" => object["status"]["phase"] != "Succeeded",
        "events" => object["type"] == "Warning",
        _ => true,
    }
}

fn namespace_of(object: &Value) -> String {
    object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned()
}

fn line(kind: &str, object: &Value) -> Bytes {
    // The server writes the type first.
    Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "code": code, "reason": reason, "message": message});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
