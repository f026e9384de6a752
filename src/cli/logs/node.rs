//! The journal of a node, through the API. PVE answers with a place, the lines, and a place (`mini-journalreader`): the last
//! place is that of the last line, and reading on from it begins with the next.

use crate::cli::logs::follow::{Dry, Tap, Wish, shown};
use crate::engine::observe::get;
use crate::engine::reconcile::Cluster;
use crate::pve::request::Query;
use futures::future::BoxFuture;
use serde_json::Value;

/// Lines that are asked for at once.
const LINES_AT_ONCE: usize = 2000;
/// The first stretch of time that is asked for, in seconds; PVE bounds no answer by lines where it is asked by time.
const STRETCH: i64 = 3600;
const STRETCH_MAX: i64 = 30 * 86_400;
/// Fewer lines than this, and the next stretch is twice as long; more than twice of it, and it is half as long.
const LINES_WANTED: usize = 1000;

/// A node's journal.
pub struct NodeJournal {
    node: String,
    wish: Wish,
    /// The place of the last line; `None`: nothing was asked yet.
    place: Option<String>,
}

/// A part of a journal.
struct Page {
    first: Option<String>,
    last: Option<String>,
    lines: Vec<String>,
}

/// Whether a text is a place and no line: `s=…;i=…`, without a blank.
fn is_place(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| key.len() == 1) && !text.contains(' ')
}

fn page(value: &Value) -> Page {
    let mut lines: Vec<String> =
        value.as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect();
    let last = if lines.last().is_some_and(|l| is_place(l)) { lines.pop() } else { None };
    let first = if lines.first().is_some_and(|l| is_place(l)) { Some(lines.remove(0)) } else { last.clone() };
    Page { first, last, lines }
}

impl NodeJournal {
    /// The journal of a node.
    pub fn new(node: &str, wish: Wish) -> NodeJournal {
        NodeJournal { node: node.to_owned(), wish, place: None }
    }

    async fn ask(&self, cluster: &Cluster<'_>, params: &[(&str, String)]) -> Result<Page, Dry> {
        let query = Query::new(format!("/nodes/{}/journal", self.node));
        let query = params.iter().fold(query, |query, (key, value)| query.with(key, value));
        Ok(page(&get(cluster.api, cluster.clock, &query).await?))
    }

    /// The newest lines, from the end backwards.
    async fn newest(&mut self, cluster: &Cluster<'_>, count: usize) -> Result<Vec<String>, Dry> {
        let mut pages: Vec<Vec<String>> = Vec::new();
        let (mut left, mut end) = (count, None::<String>);
        while left > 0 || end.is_none() {
            // Without any line there would be no place to go on from.
            let asked = left.clamp(1, LINES_AT_ONCE);
            let mut params = vec![("lastentries", asked.to_string())];
            params.extend(end.iter().map(|end| ("endcursor", end.clone())));
            let Page { first, last, mut lines } = self.ask(cluster, &params).await?;
            if end.is_none() {
                self.place = last;
            }
            let whole = lines.len() >= asked;
            if left == 0 {
                lines.clear();
            }
            left = left.saturating_sub(lines.len());
            pages.push(lines);
            match first {
                Some(first) if whole && Some(&first) != end.as_ref() => end = Some(first),
                Some(_) | None => break,
            }
        }
        pages.reverse();
        Ok(pages.concat())
    }

    /// The lines since a moment, stretch by stretch: PVE does not bound what it answers by lines then.
    async fn since(&mut self, cluster: &Cluster<'_>, from: i64) -> Result<Vec<String>, Dry> {
        let now = i64::try_from(cluster.clock.now_ms() / 1000).unwrap_or(i64::MAX);
        let (mut at, mut stretch, mut all) = (from.max(0), STRETCH, Vec::new());
        loop {
            let until = at.saturating_add(stretch);
            let mut params = vec![("since", at.to_string())];
            if until < now {
                params.push(("until", until.to_string()));
            }
            let page = self.ask(cluster, &params).await?;
            let count = page.lines.len();
            all.extend(page.lines);
            if until >= now {
                self.place = page.last;
                break;
            }
            at = until;
            if count < LINES_WANTED {
                stretch = (stretch * 2).min(STRETCH_MAX);
            } else if count > 2 * LINES_WANTED {
                stretch = (stretch / 2).max(60);
            }
        }
        let from = self.wish.lines.map_or(0, |lines| all.len().saturating_sub(lines));
        Ok(all.split_off(from))
    }
}

impl Tap for NodeJournal {
    fn next<'a>(&'a mut self, cluster: &'a Cluster<'_>) -> BoxFuture<'a, Result<Vec<String>, Dry>> {
        Box::pin(async move {
            let lines = match (self.place.clone(), self.wish.since, self.wish.lines) {
                (Some(place), _, _) => {
                    let page = self.ask(cluster, &[("startcursor", place)]).await?;
                    if page.last.is_some() {
                        self.place = page.last;
                    }
                    page.lines
                }
                (None, Some(since), _) => self.since(cluster, since).await?,
                (None, None, lines) => self.newest(cluster, lines.unwrap_or(usize::MAX)).await?,
            };
            // A journal without a line has no place, and is asked again from its beginning.
            Ok(lines.iter().map(|line| shown(line)).collect())
        })
    }
}
