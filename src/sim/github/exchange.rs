//! A request as GitHub reads it, and the making of answers.

use crate::github::wire::{Request, Response};
use crate::sim::world::World;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a request says.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    /// The API's base: `https://api.github.com`, `https://github.example.com/api/v3`. Of a scale set's service: what stands before
    /// `/_apis/`.
    pub(super) base: String,
    /// The path after that, in parts.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    /// What the caller shows: its way (`Bearer`) and the token.
    pub(super) shown: Option<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    /// Null where there is none, or none that can be read.
    pub(super) body: Value,
}

impl Asked {
    /// Reads a request; `None` if its address is none.
    pub(super) fn read(request: &Request) -> Option<Asked> {
        let url = url::Url::parse(&request.url).ok()?;
        let origin = url.origin().ascii_serialization();
        let parts: Vec<String> = url.path_segments()?.filter(|part| !part.is_empty()).map(decoded).collect();
        let begins = parts.iter().position(|part| part == "_apis");
        let of_base = begins.unwrap_or(if parts.starts_with(&["api".to_owned(), "v3".to_owned()]) { 2 } else { 0 });
        let base = parts[..of_base].iter().fold(origin, |base, part| format!("{base}/{part}"));
        let shown = request.authorization.as_ref().and_then(|secret| {
            let (way, token) = secret.expose().split_once(' ')?;
            Some((way.to_owned(), token.to_owned()))
        });
        let body = request.body.as_deref().filter(|text| !text.is_empty());
        Some(Asked {
            method: request.method,
            base,
            path: parts[of_base..].to_vec(),
            query: url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect(),
            shown,
            headers: request.headers.clone(),
            body: body.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        })
    }

    /// A value of the query.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.param(name)?.parse().ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The token, if it is shown as a bearer's.
    pub(super) fn bearer(&self) -> Option<&str> {
        let (way, token) = self.shown.as_ref()?;
        let is_way = way.eq_ignore_ascii_case("bearer") || way.eq_ignore_ascii_case("token");
        (is_way && !token.is_empty()).then_some(token.as_str())
    }

    /// The page that is asked for out of all, and where the next one is.
    pub(super) fn page<T>(&self, all: Vec<T>) -> (Vec<T>, Option<String>) {
        let size = self.number("per_page").unwrap_or(30).clamp(1, 100);
        let page = self.number("page").unwrap_or(1).max(1);
        let from = usize::try_from((page - 1) * size).unwrap_or(usize::MAX);
        let size = usize::try_from(size).unwrap_or(100);
        let more = all.len() > from.saturating_add(size);
        let path = self.path.join("/");
        let next = more.then(|| format!("<{}/{path}?per_page={size}&page={}>; rel=\"next\"", self.base, page + 1));
        (all.into_iter().skip(from).take(size).collect(), next)
    }
}

fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// An answer with JSON.
pub(super) fn json(status: u16, body: &Value) -> Response {
    let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
    Response { status, headers, body: body.to_string().into_bytes() }
}

/// An answer without a body.
pub(super) fn empty(status: u16) -> Response {
    Response { status, ..Response::default() }
}

/// A refusal as GitHub's REST API words it.
pub(super) fn refusal(status: u16, message: &str) -> Response {
    let docs = "https://docs.github.com/rest";
    json(status, &json!({ "message": message, "documentation_url": docs, "status": status.to_string() }))
}

/// Adds a header.
pub(super) fn with(mut response: Response, name: &str, value: impl ToString) -> Response {
    response.headers.push((name.to_owned(), value.to_string()));
    response
}

/// A read that was asked for with the mark of what the caller has already is answered with 304.
pub(super) fn marked(asked: &Asked, response: Response) -> Response {
    if asked.method != "GET" || response.status != 200 {
        return response;
    }
    let mark = format!("W/\"{}\"", hex::encode(Sha256::digest(&response.body)));
    let known = asked.header("if-none-match").is_some_and(|known| known == mark);
    let response = if known { Response { status: 304, body: Vec::new(), ..response } } else { response };
    with(response, "etag", mark)
}

/// Counts a request against its caller's budget and says what is left; none is left: a refusal.
pub(super) fn budgeted(world: &mut World, asked: &Asked, answer: impl FnOnce(&mut World) -> Response) -> Response {
    let (limit, now) = (world.github.settings.requests_per_hour, world.now());
    let who = asked.shown.as_ref().map_or("", |(_, token)| token.as_str());
    // As many as there are apps and people, not as there are their tokens.
    let who = format!("{} {}", asked.base, hex::encode(&Sha256::digest(who.as_bytes())[..6]));
    let budget = world.github.budgets.entry(who.clone()).or_default();
    if budget.reset <= now {
        (budget.used, budget.reset) = (0, now + 3600);
    }
    let response = match budget.used >= limit {
        true => refusal(403, "API rate limit exceeded for installation ID 1."),
        false => answer(world),
    };
    let budget = world.github.budgets.entry(who).or_default();
    if response.status != 304 && budget.used < limit {
        budget.used += 1;
    }
    let (used, reset) = (budget.used, budget.reset);
    let response = with(response, "x-ratelimit-limit", limit);
    let response = with(response, "x-ratelimit-remaining", limit - used.min(limit));
    let response = with(response, "x-ratelimit-used", used);
    let response = with(response, "x-ratelimit-reset", reset);
    with(response, "x-ratelimit-resource", "core")
}
