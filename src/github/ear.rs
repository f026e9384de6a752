//! The listener of a scale set. Who listens has the session, and nobody else is told of the jobs. What a message told is
//! acknowledged at the next turn, when whoever listens has handled it; one that was not acknowledged is told again.

use crate::github::address::is_hosted;
use crate::github::budget::Class;
use crate::github::demand::{Ask, Demand};
use crate::github::fault::{Fault, json, time};
use crate::github::line::request;
use crate::github::message::{Message, News, Statistics, Tally};
use crate::github::place::{Place, Scope};
use crate::github::scale_set::{Row, Session, Way, dropped};
use crate::github::tenant::{bearer, counted};
use crate::github::wire::{Request, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Url;

/// The header that tells GitHub how many jobs we can take; only a long poll has it.
pub const CAPACITY: &str = "x-scalesetmaxcapacity";
/// A listener that heard nothing for so long, in seconds, is not connected: longer than GitHub holds a poll.
const FRESH: i64 = 150;
/// The numbers count as now for so long, in seconds. A poll that brings nothing does not tell them again: GitHub may have lost
/// what it had to say.
const NUMBERS: i64 = 120;
/// A scale set that is not there yet is looked for again after this.
const UNMADE_PAUSE: Duration = Duration::from_secs(10);
/// Jobs that are acquired at once.
const ACQUIRE_MAX: usize = 200;

/// Which scale set: where, and by what name in which group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    api: String,
    scope: Scope,
    pool: String,
    group: String,
}

impl Key {
    fn new(place: &Place, pool: &str, group: &str) -> Key {
        let (pool, group) = (pool.to_lowercase(), group.to_lowercase());
        Key { api: place.api.clone(), scope: place.scope.clone(), pool, group }
    }
}

/// The listeners.
pub(super) struct Ears {
    all: Mutex<BTreeMap<Key, Arc<Ear>>>,
    owner: String,
}

#[derive(Default)]
struct Ear {
    /// The conversation: one turn at a time.
    talk: tokio::sync::Mutex<Talk>,
    /// What is known: read while a turn waits for GitHub.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Talk {
    session: Option<Session>,
    /// The last message that came.
    last: u64,
    /// It is not acknowledged yet.
    told: Option<u64>,
    /// Jobs that are still to be acquired.
    wanted: Vec<u64>,
}

#[derive(Default)]
struct Known {
    row: Option<Row>,
    /// When anything was heard last, in seconds since 1970.
    at: i64,
    /// When the numbers were told last, in seconds since 1970; zero: never.
    told_at: i64,
    /// When the scale set was asked for them last, in seconds since 1970.
    asked_at: i64,
    /// It did not tell them: the listener must ask for them.
    is_mute: bool,
    /// A session is open.
    listens: bool,
    tally: Tally,
    /// The listener was told that there is no scale set.
    unmade: bool,
    /// Labels that GitHub did not take for those that were asked for.
    settled: Option<(Vec<String>, Vec<String>)>,
}

impl Ears {
    /// Listeners that say who they are.
    pub(super) fn new(owner: &str) -> Ears {
        Ears { all: Mutex::default(), owner: owner.to_owned() }
    }

    fn ear(&self, place: &Place, pool: &str, group: &str) -> Arc<Ear> {
        let mut all = self.all.lock().expect("no holder of this lock panics");
        Arc::clone(all.entry(Key::new(place, pool, group)).or_default())
    }

    /// One turn.
    pub(super) async fn listen(&self, way: &Way<'_>, ask: &Ask) -> Result<bool, Fault> {
        let ear = self.ear(way.place, &ask.pool, &ask.group);
        let mut talk = ear.talk.lock().await;
        let turn = ear.turn(way, ask, &mut talk, &self.owner).await;
        if let Err(fault) = &turn {
            // A session that does not go on is ended before there is another: one that is only forgotten stands in the way for
            // minutes. What was not asked at all, or could not be ended, is kept.
            if fault.status().is_some_and(|status| status < 500) || matches!(fault, Fault::Garbled(_)) {
                ear.end(way, &mut talk).await;
            }
            ear.known().listens = talk.session.is_some();
        }
        turn
    }

    /// Ends the session of a listener, if it has one. A turn that goes on is not waited for long.
    pub(super) async fn hang_up(&self, way: &Way<'_>, ask: &Ask) {
        let ear = self.ear(way.place, &ask.pool, &ask.group);
        let wait = way.line.clock.sleep(Duration::from_secs(5));
        let locked = futures::future::select(Box::pin(ear.talk.lock()), wait).await;
        let futures::future::Either::Left((mut talk, _)) = locked else { return };
        ear.end(way, &mut talk).await;
        *talk = Talk::default();
        ear.known().listens = false;
    }

    /// How much work there is: as the listener knows it, else asked for.
    pub(super) async fn demand(&self, way: &Way<'_>, ask: &Ask) -> Result<Demand, Fault> {
        let ear = self.ear(way.place, &ask.pool, &ask.group);
        let now = way.line.now();
        if let Some(demand) = ear.remembered(way.place, ask, now) {
            return Ok(demand);
        }
        let Some(row) = way.find(&ask.pool, &ask.group).await? else {
            let group = if ask.group.is_empty() { "Default" } else { &ask.group };
            let unset = format!("{} has no scale set `{}` in the runner group {group}", way.place.scope, ask.pool);
            return Ok(Demand { at: now, unset: Some(unset), ..Demand::default() });
        };
        let mut statistics = row.statistics;
        let (listens, told_at) = {
            let known = ear.known();
            (known.listens, known.told_at)
        };
        let mut notes = Vec::new();
        if statistics.is_none() && listens {
            // Another session would take the place of the listener's.
            notes.push(format!("the listener was told how many jobs there are at {} last", time(told_at)));
        } else if statistics.is_none() {
            match way.open(row.id, &self.owner).await {
                Ok(session) => {
                    statistics = session.statistics;
                    if let Err(fault) = way.close(row.id, &session).await {
                        notes.push(format!(
                            "a session of the scale set is left, which GitHub ends in some minutes: {}",
                            fault.text()
                        ));
                    }
                }
                // It passes, and machines that wait for no job in particular need not wait for it.
                Err(fault) if fault.status() == Some(409) => notes.push(held(&fault, told_at)),
                Err(fault) => return Err(fault),
            }
        }
        let mut demand = {
            let mut known = ear.known();
            known.learn(statistics, &[], now);
            (known.asked_at, known.is_mute) = (now, statistics.is_none());
            known.row = Some(row);
            known.tally.demand(now)
        };
        demand.notes.extend(notes);
        ear.judge(way.place, ask, &mut demand);
        Ok(demand)
    }

    /// Makes a scale set or brings it up to date.
    pub(super) async fn make(&self, way: &Way<'_>, ask: &Ask) -> Result<(), Fault> {
        let row = way.make(ask).await?;
        let ear = self.ear(way.place, &ask.pool, &ask.group);
        let mut known = ear.known();
        known.settled = (!row.fits(ask)).then(|| (ask.labels.clone(), row.labels.clone()));
        known.row = Some(row);
        known.unmade = false;
        Ok(())
    }

    /// Takes a scale set away, with its listener's session.
    pub(super) async fn remove(&self, way: &Way<'_>, pool: &str, group: &str) -> Result<(), Fault> {
        let ask = Ask { pool: pool.to_owned(), group: group.to_owned(), ..Ask::default() };
        self.hang_up(way, &ask).await;
        way.remove(pool, group).await?;
        self.all.lock().expect("no holder of this lock panics").remove(&Key::new(way.place, pool, group));
        Ok(())
    }

    /// The number of a scale set.
    pub(super) async fn number(&self, way: &Way<'_>, pool: &str, group: &str) -> Result<u64, Fault> {
        let ear = self.ear(way.place, pool, group);
        let known = ear.known().row.as_ref().map(|row| row.id);
        if let Some(id) = known {
            return Ok(id);
        }
        let Some(row) = way.find(pool, group).await? else {
            return Err(Fault::refused(409, format!("{} has no scale set `{pool}` yet", way.place.scope)));
        };
        let id = row.id;
        ear.known().row = Some(row);
        Ok(id)
    }

    /// Forgets the number of a scale set that GitHub does not know.
    pub(super) fn forget(&self, place: &Place, pool: &str, group: &str) {
        self.ear(place, pool, group).known().row = None;
    }
}

impl Known {
    fn learn(&mut self, statistics: Option<Statistics>, news: &[News], now: i64) {
        self.tally.learn(statistics, news, now);
        if statistics.is_some() {
            self.told_at = now;
        }
    }
}

/// What counts while somebody else has the session.
fn held(fault: &Fault, told_at: i64) -> String {
    let counts = match told_at {
        0 => "no job is counted until then".to_owned(),
        at => format!("what was told at {} counts until then", time(at)),
    };
    format!("{}; {counts}", fault.text())
}

impl Ear {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }

    fn remembered(&self, place: &Place, ask: &Ask, now: i64) -> Option<Demand> {
        let mut demand = {
            let known = self.known();
            let is_told = now - known.told_at.max(known.asked_at) < NUMBERS;
            let fresh = known.listens && known.row.is_some() && now - known.at < FRESH && is_told;
            fresh.then(|| known.tally.demand(known.at))?
        };
        self.judge(place, ask, &mut demand);
        Some(demand)
    }

    /// Whether the scale set is as it is asked for.
    fn judge(&self, place: &Place, ask: &Ask, demand: &mut Demand) {
        let known = self.known();
        let Some(row) = known.row.as_ref().filter(|row| !row.fits(ask)) else { return };
        let is_settled = known.settled.as_ref().is_some_and(|(want, have)| *want == ask.labels && *have == row.labels);
        // A server that keeps nothing but the name says so by its rows: to send the labels at each start helps nobody.
        let has_name_only = matches!(row.labels.as_slice(), [label] if label.eq_ignore_ascii_case(&ask.pool));
        if is_settled || (has_name_only && !is_hosted(&place.api)) {
            demand.notes.push(dropped(place, row, ask));
        } else {
            let (have, want) = (row.labels.join(", "), ask.labels.join(", "));
            demand.unset = Some(format!("its labels are {have}; they should be {want}"));
        }
    }

    async fn turn(&self, way: &Way<'_>, ask: &Ask, talk: &mut Talk, owner: &str) -> Result<bool, Fault> {
        let Some(session) = talk.session.clone() else { return self.begin(way, ask, talk, owner).await };
        let set = match self.known().row.as_ref() {
            Some(row) => row.id,
            None => {
                *talk = Talk::default();
                return Ok(true);
            }
        };
        let session = self.catch_up(way, set, talk, session).await?;
        let (answer, session) = ask_queue(way, set, session, &Queue::Next { last: talk.last, max: ask.max }).await?;
        talk.session = Some(session);
        let now = way.line.now();
        // A proxy that gives up answers a poll with nothing, too (actions-runner-controller issue 4285).
        if answer.status != 200 || answer.body.is_empty() {
            let is_old = {
                let mut known = self.known();
                known.at = now;
                known.is_mute && now - known.told_at >= NUMBERS
            };
            return if is_old { self.count_again(way, set, talk).await } else { Ok(false) };
        }
        let read = json(&answer.body).as_ref().and_then(Message::read);
        let message = read.ok_or_else(|| Fault::Garbled("a message of the scale set is none".to_owned()))?;
        talk.last = talk.last.max(message.id);
        talk.told = Some(message.id);
        talk.wanted = message.available();
        {
            let mut known = self.known();
            known.learn(message.statistics, &message.news, now);
            known.at = now;
            known.listens = true;
        }
        self.take(way, set, talk).await?;
        Ok(true)
    }

    /// Asks for the numbers by the session, where the scale set does not tell them. True: they are others.
    async fn count_again(&self, way: &Way<'_>, set: u64, talk: &mut Talk) -> Result<bool, Fault> {
        let Some(session) = talk.session.clone() else { return Ok(false) };
        let session = way.refresh(set, &session).await?;
        let statistics = session.statistics;
        talk.session = Some(session);
        let mut known = self.known();
        let before = known.tally.statistics();
        known.learn(statistics, &[], way.line.now());
        Ok(known.tally.statistics() != before)
    }

    /// Opens a session. What it counts is news.
    async fn begin(&self, way: &Way<'_>, ask: &Ask, talk: &mut Talk, owner: &str) -> Result<bool, Fault> {
        let Some(row) = way.find(&ask.pool, &ask.group).await? else {
            let is_news = !std::mem::replace(&mut self.known().unmade, true);
            if !is_news {
                way.line.clock.sleep(UNMADE_PAUSE).await;
            }
            return Ok(is_news);
        };
        let session = way.open(row.id, owner).await?;
        let now = way.line.now();
        {
            let mut known = self.known();
            (known.tally, known.told_at) = (Tally::default(), 0);
            known.learn(session.statistics.or(row.statistics), &[], now);
            known.row = Some(row);
            (known.at, known.listens, known.unmade) = (now, true, false);
        }
        *talk = Talk { session: Some(session), ..Talk::default() };
        Ok(true)
    }

    /// What the last turn left: jobs to acquire, and the message to acknowledge, in this order. A message whose jobs were not
    /// acquired is told again.
    async fn catch_up(&self, way: &Way<'_>, set: u64, talk: &mut Talk, mut session: Session) -> Result<Session, Fault> {
        if !talk.wanted.is_empty() {
            self.take(way, set, talk).await?;
            session = talk.session.clone().unwrap_or(session);
        }
        if let Some(message) = talk.told {
            let (_, after) = ask_queue(way, set, session, &Queue::Acknowledge(message)).await?;
            session = after;
            talk.told = None;
            talk.session = Some(session.clone());
        }
        Ok(session)
    }

    async fn take(&self, way: &Way<'_>, set: u64, talk: &mut Talk) -> Result<(), Fault> {
        let Some(mut session) = talk.session.clone() else { return Ok(()) };
        while !talk.wanted.is_empty() {
            let some: Vec<u64> = talk.wanted.iter().copied().take(ACQUIRE_MAX).collect();
            match way.acquire(set, &session, &some).await {
                Err(fault) if fault.status() == Some(401) => {
                    session = way.refresh(set, &session).await?;
                    talk.session = Some(session.clone());
                    way.acquire(set, &session, &some).await?;
                }
                answer => {
                    answer?;
                }
            }
            talk.wanted.drain(..some.len());
        }
        Ok(())
    }

    async fn end(&self, way: &Way<'_>, talk: &mut Talk) {
        let set = self.known().row.as_ref().map(|row| row.id);
        if let (Some(set), Some(session)) = (set, &talk.session)
            && let Err(fault) = way.close(set, session).await
        {
            tracing::debug!("the session of a scale set was not ended: {}", fault.text());
            return;
        }
        *talk = Talk::default();
    }
}

/// What is asked of a queue.
enum Queue {
    /// The next message: waits for one.
    Next { last: u64, max: u32 },
    /// A message was handled.
    Acknowledge(u64),
}

/// Asks a session's queue; a token that has ended is renewed once. The session that it was asked with.
async fn ask_queue(way: &Way<'_>, set: u64, mut session: Session, asked: &Queue) -> Result<(Response, Session), Fault> {
    for is_again in [false, true] {
        match once(way, &session, asked).await {
            Err(fault) if fault.status() == Some(401) && !is_again => session = way.refresh(set, &session).await?,
            // It was acknowledged before, and the answer was lost.
            Err(fault) if fault.status() == Some(404) && matches!(asked, Queue::Acknowledge(_)) => {
                return Ok((Response { status: 204, ..Response::default() }, session));
            }
            answer => return answer.map(|answer| (answer, session)),
        }
    }
    unreachable!("the second time returns")
}

async fn once(way: &Way<'_>, session: &Session, asked: &Queue) -> Result<Response, Fault> {
    let broken = || Fault::Garbled("the address of the session's queue is none".to_owned());
    let mut url = Url::parse(&session.queue).map_err(|_| broken())?;
    let (method, what, headers) = match asked {
        Queue::Next { last, max } => {
            if *last > 0 {
                url.query_pairs_mut().append_pair("lastMessageId", &last.to_string());
            }
            let accept = ("accept".to_owned(), "application/json; api-version=6.0-preview".to_owned());
            ("GET", "GET messages", vec![accept, (CAPACITY.to_owned(), max.to_string())])
        }
        Queue::Acknowledge(message) => {
            let path = format!("{}/{message}", url.path().trim_end_matches('/'));
            url.set_path(&path);
            ("DELETE", "DELETE message", Vec::new())
        }
    };
    let plain = request(method, url.to_string(), headers, None);
    let signed = Request { authorization: Some(bearer(&session.token)), ..plain };
    way.line.send(&counted(way.line, way.place), Class::Actions, what, signed).await
}
