//! Patch windows: `/api/v1/windows`, `/api/v1/patches`, and their page.

use crate::daemon::history::Past;
use crate::daemon::http::api::{Answer, Found, noted, or_memory, read};
use crate::daemon::http::page::{Leaf, open, rows};
use crate::daemon::http::select::{self, Params};
use crate::daemon::http::site::Site;
use crate::daemon::record::State;
use crate::daemon::windows::{PatchRecord, WindowRecord};
use axum::extract::{RawQuery, State as Of};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Results on the page.
const RESULTS_SHOWN: usize = 100;

fn windows_of(state: &State, params: &Params) -> Vec<WindowRecord> {
    let wanted = |w: &&WindowRecord| params.is("source", &w.source) && params.is("name", &w.name);
    state.windows.values().filter(wanted).cloned().collect()
}

/// How windows stand.
pub async fn windows(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::WINDOWS)?;
    noted(Found { items: site.look(|state| windows_of(state, &params)), note: None })
}

/// What targets got.
pub async fn patches(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::PATCHES)?;
    let past = params.past(site.clock.now_ms()).map_err(crate::daemon::http::api::Refused::wrong)?;
    noted(past_patches(&site, past, &params).await)
}

/// What targets got, the newest opening first.
async fn past_patches(site: &Site, past: Past, params: &Params) -> Found<PatchRecord> {
    let past = Past { kind: None, name: params.get("window").map(str::to_owned), ..past };
    let read = site.past(past.clone(), |history, past| history.patches(past)).await;
    let mut found = or_memory(read, || {
        site.look(|state| {
            let mut all: Vec<_> = state.patches.values().filter(|patch| past.takes_patch(patch)).cloned().collect();
            all.sort_by(|a, b| b.opened_ms.cmp(&a.opened_ms).then_with(|| a.id.cmp(&b.id)));
            all.truncate(past.limit);
            all
        })
    });
    found.items.retain(|patch| {
        params.is("target", &patch.target) && params.is("result", patch.result.as_deref().unwrap_or_default())
    });
    found
}

/// How a word is painted.
fn tone(word: &str) -> &'static str {
    match word {
        "Updated" | "UpToDate" => "good",
        "Failed" | "WentBack" => "bad",
        _ => "warn",
    }
}

/// `/windows`.
pub async fn page(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/windows", &query, select::WINDOWS)?;
        let items = site.look(|state| windows_of(state, &leaf.params));
        let past = Past { limit: RESULTS_SHOWN, ..leaf.past()? };
        let named = Params::default();
        let named = leaf.params.get("name").map_or(named.clone(), |name| named.with("window", name));
        let found = past_patches(&site, past, &named).await;
        let (results, _) = rows(found.items);
        let result = |patch: &PatchRecord| {
            let mut value = json!(patch);
            value["label"] = patch.label().into();
            value["tookMs"] = json!(patch.took_ms());
            value["tone"] = tone(patch.result.as_deref().unwrap_or_default()).into();
            value
        };
        let window = |window: &WindowRecord| {
            let mut value = json!(window);
            let targets = window.targets.iter().map(|target| {
                let mut value = json!(target);
                value["label"] = target.label().into();
                value["tone"] = tone(&target.state).into();
                value
            });
            value["targets"] = targets.collect();
            value
        };
        let items: Vec<Value> = items.iter().map(window).collect();
        let results: Vec<Value> = results.iter().map(result).collect();
        leaf.show("windows", json!({"items": items, "results": results, "note": found.note}))
    })
    .await
}
