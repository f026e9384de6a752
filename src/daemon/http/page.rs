//! The web page: templates over the records, rendered here, without a script. Every text is escaped by the engine; what is
//! changed goes by forms that carry the gate's token, and is answered by a page that says what became of it.

use crate::daemon::history::Past;
use crate::daemon::http::api::{Refused, past_drift, past_events, past_runs};
use crate::daemon::http::gate::Caller;
use crate::daemon::http::select::{self, Params};
use crate::daemon::http::site::Site;
use crate::daemon::http::wish::{Said, Verb, ask};
use crate::daemon::http::words;
use crate::daemon::record::{ObjectRecord, State};
use axum::extract::{Extension, Form, Path, RawQuery, State as Of};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// Rows of a table at most. Who wants others chooses.
const ROWS_MAX: usize = 500;
/// What is shown of the past, where it is not the page's own subject.
const PAST_ROWS: usize = 20;
/// Seconds after which a page comes again by itself, where that is wanted.
const REFRESH: u32 = 10;

const STYLE: &str = include_str!("pages/style.css");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.set_auto_escape_callback(|_| AutoEscape::Html);
    pages.set_undefined_behavior(UndefinedBehavior::Strict);
    pages.add_filter("utc", words::utc);
    pages.add_filter("span", words::span);
    pages.add_filter("ago", words::ago);
    pages.add_filter("part", |text: &str| words::part(text));
    pages.add_filter("short", |text: &str| words::short(text));
    for (name, text) in [
        ("layout", include_str!("pages/layout.html")),
        ("conditions", include_str!("pages/conditions.html")),
        ("fields", include_str!("pages/fields.html")),
        ("spells", include_str!("pages/spells.html")),
        ("event-rows", include_str!("pages/event-rows.html")),
        ("overview", include_str!("pages/overview.html")),
        ("objects", include_str!("pages/objects.html")),
        ("object", include_str!("pages/object.html")),
        ("drift", include_str!("pages/drift.html")),
        ("proposals", include_str!("pages/proposals.html")),
        ("proposal", include_str!("pages/proposal.html")),
        ("runs", include_str!("pages/runs.html")),
        ("windows", include_str!("pages/windows.html")),
        ("runners", include_str!("pages/runners.html")),
        ("events", include_str!("pages/events.html")),
        ("said", include_str!("pages/said.html")),
    ] {
        pages.add_template(name, text).expect("our own templates are well");
    }
    pages
});

/// A page, or a page that says why there is none.
pub type Page = Result<Response, Box<Response>>;

/// Parameters that every page takes besides its own.
const REFRESHING: &str = "refresh";

/// A page that is asked for.
pub struct Leaf<'a> {
    site: &'a Site,
    /// The way to it.
    path: String,
    /// What is chosen.
    pub params: Params,
    now_ms: u64,
}

impl<'a> Leaf<'a> {
    /// Reads what is asked for.
    pub fn open(site: &'a Site, path: &str, query: &RawQuery, known: &[&str]) -> Result<Leaf<'a>, Box<Response>> {
        let known: Vec<&str> = known.iter().copied().chain([REFRESHING]).collect();
        let params =
            Params::read(query.0.as_deref(), &known).map_err(|why| Box::new(failed(site, &Refused::wrong(why))))?;
        Ok(Leaf { site, path: path.to_owned(), params, now_ms: site.clock.now_ms() })
    }

    /// As the history takes it.
    pub fn past(&self) -> Result<Past, Box<Response>> {
        self.params.past(self.now_ms).map_err(|why| Box::new(failed(self.site, &Refused::wrong(why))))
    }

    /// Renders a template over its own values and those of every page.
    pub fn show(&self, template: &str, own: Value) -> Page {
        let refresh = self.params.get(REFRESHING).is_some();
        let chosen: Vec<String> = self
            .params
            .all()
            .iter()
            .filter(|(name, _)| *name != REFRESHING)
            .map(|(name, value)| format!("{name}={}", words::part(value)))
            .collect();
        let here = if chosen.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, chosen.join("&")) };
        let join = if chosen.is_empty() { '?' } else { '&' };
        let common = json!({
            "path": self.path,
            "chosen": self.params.all(),
            "here": here,
            "again": format!("{here}{join}{REFRESHING}={REFRESH}"),
            "refresh": refresh.then_some(REFRESH),
        });
        Ok(render(self.site, self.now_ms, StatusCode::OK, template, common, own))
    }
}

fn render(site: &Site, now_ms: u64, status: StatusCode, template: &str, common: Value, own: Value) -> Response {
    let (unready, waiting, drifted) = site.look(|state| {
        let waiting = state.proposals.values().filter(|p| p.waits()).count();
        (state.unready.clone(), waiting, state.drift.iter().filter(|d| d.healed_ms.is_none()).count())
    });
    let mut values = json!({
        "now": now_ms,
        "version": env!("CARGO_PKG_VERSION"),
        "unready": unready,
        "waiting": waiting,
        "drifted": drifted,
        "form": site.gate.form(),
    });
    for more in [common, own] {
        if let (Some(values), Value::Object(more)) = (values.as_object_mut(), more) {
            values.extend(more);
        }
    }
    let page = PAGES.get_template(template).and_then(|page| page.render(minijinja::value::Serde(&values)));
    match page {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!("the page `{template}` cannot be shown: {error:#}");
            (StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be shown; the log says why\n").into_response()
        }
    }
}

/// A page with one sentence.
fn say(site: &Site, status: StatusCode, title: &str, text: &str, back: &str) -> Response {
    let common = json!({"path": "", "chosen": {}, "here": back, "again": back, "refresh": null});
    let own = json!({"title": title, "text": text, "back": back, "well": status.is_success()});
    render(site, site.clock.now_ms(), status, "said", common, own)
}

fn failed(site: &Site, refused: &Refused) -> Response {
    let Refused(status, why) = refused;
    let title = match *status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::CONFLICT => "Refused",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::BAD_REQUEST => "Not understood",
        _ => "Failed",
    };
    say(site, *status, title, why, "/")
}

/// As many as a page shows, and how many there are.
pub fn rows<T>(mut all: Vec<T>) -> (Vec<T>, usize) {
    let count = all.len();
    all.truncate(ROWS_MAX);
    (all, count)
}

/// What the filters of a page offer.
fn choices(state: &State) -> Value {
    let kinds: BTreeSet<&String> = state.objects.keys().map(|(_, kind, _)| kind).collect();
    let sources: Vec<&String> = state.sources.keys().collect();
    json!({"sources": sources, "kinds": kinds})
}

fn with_state(object: &ObjectRecord) -> Value {
    let mut value = json!(object);
    value["state"] = object.standing().into();
    value
}

/// `/`: the sources.
pub async fn overview(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/", &query, &[])?;
        let own = site.look(|state| {
            let events: Vec<_> = state.events.iter().take(10).collect();
            json!({
                "sources": state.sources.values().collect::<Vec<_>>(),
                "running": state.running.len(),
                "tasks": state.tasks.len(),
                "objects": state.objects.len(),
                "ready": state.objects.values().filter(|o| o.says("Ready", "True")).count(),
                "events": events,
            })
        });
        leaf.show("overview", own)
    })
    .await
}

/// `/objects`.
pub async fn objects(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/objects", &query, select::OBJECTS)?;
        let own = site.look(|state| {
            let (items, count) = rows(select::objects(state, &leaf.params));
            let items: Vec<Value> = items.iter().map(with_state).collect();
            json!({"items": items, "count": count, "choices": choices(state)})
        });
        leaf.show("objects", own)
    })
    .await
}

/// `/objects/KIND/NAME`.
pub async fn object(
    Of(site): Of<Arc<Site>>,
    Path((kind, name)): Path<(String, String)>,
    query: RawQuery,
) -> Result<Response, Response> {
    open(async {
        let path = format!("/objects/{}/{}", words::part(&kind), words::part(&name));
        let leaf = Leaf::open(&site, &path, &query, select::OBJECT)?;
        let params = leaf.params.clone().with("kind", &kind).with("name", &name);
        let items: Vec<Value> = site.look(|state| select::objects(state, &params)).iter().map(with_state).collect();
        let mut past = params.past(leaf.now_ms).map_err(|why| Box::new(failed(&site, &Refused::wrong(why))))?;
        past.limit = PAST_ROWS;
        let drift = past_drift(&site, past.clone()).await;
        let events = past_events(&site, past, &Params::default()).await;
        if items.is_empty() && drift.items.is_empty() && events.items.is_empty() {
            return Err(Box::new(failed(&site, &Refused::absent("object", &format!("{kind}/{name}")))));
        }
        leaf.show(
            "object",
            json!({
                "kind": kind, "name": name, "items": items,
                "spells": drift.items, "events": events.items, "note": drift.note,
            }),
        )
    })
    .await
}

/// `/drift`.
pub async fn drift(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/drift", &query, select::HISTORY)?;
        let past = leaf.past()?;
        let (lasting, choices) = site.look(|state| {
            let all = state.drift.iter().filter(|d| d.healed_ms.is_none() && past.takes_drift(d));
            let mut all: Vec<_> = all.cloned().collect();
            all.sort_by_key(|drift| std::cmp::Reverse(drift.seen_ms));
            (all, choices(state))
        });
        let (lasting, count) = rows(lasting);
        let mut history = past_drift(&site, past).await;
        history.items.retain(|drift| drift.healed_ms.is_some());
        leaf.show(
            "drift",
            json!({
                "lasting": lasting, "count": count, "spells": history.items, "note": history.note,
                "choices": choices,
            }),
        )
    })
    .await
}

/// `/proposals`.
pub async fn proposals(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/proposals", &query, select::PROPOSALS)?;
        let own = site.look(|state| {
            let (items, count) = rows(select::proposals(state, &leaf.params));
            json!({"items": items, "count": count})
        });
        leaf.show("proposals", own)
    })
    .await
}

/// `/proposals/ID`.
pub async fn proposal(Of(site): Of<Arc<Site>>, Path(id): Path<String>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, &format!("/proposals/{}", words::part(&id)), &query, &[])?;
        let found = site.look(|state| state.proposals.get(&id).cloned());
        let found = found.ok_or_else(|| Box::new(failed(&site, &Refused::absent("proposal", &id))))?;
        leaf.show("proposal", json!({"item": found}))
    })
    .await
}

/// `/runs`: what is in progress, and what was.
pub async fn runs(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/runs", &query, select::HISTORY)?;
        let past = leaf.past()?;
        let (running, tasks) = site.look(|state| (select::running(state, &past), state.tasks.clone()));
        let ended = past_runs(&site, past).await;
        leaf.show("runs", json!({"running": running, "tasks": tasks, "ended": ended.items, "note": ended.note}))
    })
    .await
}

/// `/events`.
pub async fn events(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/events", &query, select::EVENTS)?;
        let past = leaf.past()?;
        let found = past_events(&site, past, &leaf.params).await;
        let choices = site.look(choices);
        leaf.show("events", json!({"events": found.items, "note": found.note, "choices": choices}))
    })
    .await
}

/// Opens the box that an error is kept in while a page is made.
pub async fn open(page: impl Future<Output = Page>) -> Result<Response, Response> {
    page.await.map_err(|refused| *refused)
}

/// `/style.css`.
pub async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "private, max-age=300")], STYLE).into_response()
}

/// What a form of a page says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filled {
    form: String,
    why: Option<String>,
    object: Option<String>,
    by: Option<String>,
}

/// `POST /proposals/ID/VERB`.
pub async fn decide(
    site: Of<Arc<Site>>,
    caller: Extension<Caller>,
    Path((id, verb)): Path<(String, String)>,
    filled: Form<Filled>,
) -> Response {
    let verb = Verb::read(&verb).filter(|verb| verb.is_of_proposals());
    filled_in(site, caller, verb, &id, filled, "/proposals").await
}

/// `POST /sources/NAME/VERB`.
pub async fn source_wish(
    site: Of<Arc<Site>>,
    caller: Extension<Caller>,
    Path((name, verb)): Path<(String, String)>,
    filled: Form<Filled>,
) -> Response {
    let verb = Verb::read(&verb).filter(|verb| !verb.is_of_proposals());
    filled_in(site, caller, verb, &name, filled, "/").await
}

async fn filled_in(
    Of(site): Of<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    verb: Option<Verb>,
    of: &str,
    Form(filled): Form<Filled>,
    back: &str,
) -> Response {
    let Filled { form, why, object, by } = filled;
    if !site.gate.is_form(&form) {
        let why =
            "this form is of another run of the daemon: go back, load the page again, and say it again".to_owned();
        return failed(&site, &Refused(StatusCode::FORBIDDEN, why));
    }
    let Some(verb) = verb else {
        return failed(&site, &Refused(StatusCode::NOT_FOUND, "there is nothing here".into()));
    };
    match ask(&site, &caller, verb, of, Said { by, why, object }).await {
        Ok(message) => say(&site, StatusCode::OK, "Done", &message, back),
        Err(refused) => failed(&site, &refused),
    }
}
