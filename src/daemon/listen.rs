//! The listener of one pool's scale set: when it asks GitHub again. What it is told is acknowledged by asking again, and that
//! is done when a look has taken it in: a daemon that dies before that is told once more. Pure; the time is an argument.

use crate::github::demand::Ask;
use crate::github::place::Place;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// The first wait after a failure, and the longest.
const AGAIN_MS: u64 = 1_000;
const AGAIN_MAX_MS: u64 = 60_000;
/// Turns begin at least so far apart: a server that answers at once is not asked without end.
const GAP_MS: u64 = 250;
/// What was told is acknowledged after this time although no look went well: it is a number that the next turn tells anew, and
/// a session that nobody asks ends.
const TAKEN_MAX_MS: u64 = 30_000;

/// What a listener does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It asks next then.
    Due { at_ms: u64 },
    /// It waits for GitHub.
    Listening { since_ms: u64 },
    /// There was news after so many moments of the loop; a look that begins later takes it in.
    Taking { after: u64, since_ms: u64 },
    /// It was told to end.
    Ending,
}

/// The listener of a pool.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where on GitHub, and as whom.
    pub place: Place,
    /// Whose jobs.
    pub ask: Ask,
    stand: Stand,
    failures: u32,
}

/// What is to be told of a turn that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing new.
    Nothing,
    /// It failed, and did not before.
    Broken,
    /// It went well, and did not before.
    Mended,
}

impl Listener {
    /// One that asks at once.
    pub fn new(place: Place, ask: Ask, now_ms: u64) -> Listener {
        Listener { place, ask, stand: Stand::Due { at_ms: now_ms }, failures: 0 }
    }

    /// Takes on what the manifest says now. False: it is about another scale set, and this listener must end.
    pub fn moved(&mut self, place: &Place, ask: &Ask) -> bool {
        let same = self.place.api == place.api
            && self.place.scope == place.scope
            && (&self.ask.pool, &self.ask.group) == (&ask.pool, &ask.group);
        if same {
            self.place.auth.clone_from(&place.auth);
            self.ask.clone_from(ask);
        }
        same
    }

    /// When it asks next; `None`: it waits for something else than time.
    pub fn wake_ms(&self) -> Option<u64> {
        match self.stand {
            Stand::Due { at_ms } => Some(at_ms),
            Stand::Taking { since_ms, .. } => Some(since_ms + TAKEN_MAX_MS),
            Stand::Listening { .. } | Stand::Ending => None,
        }
    }

    /// Begins a turn, if one is due.
    pub fn begin(&mut self, now_ms: u64) -> bool {
        let due = self.wake_ms().is_some_and(|at| at <= now_ms);
        if due {
            self.stand = Stand::Listening { since_ms: now_ms };
        }
        due
    }

    /// A turn has ended, after so many moments of the loop. `well`: whether there is news, unless it failed.
    pub fn ended(&mut self, well: Option<bool>, after: u64, now_ms: u64) -> Told {
        let Stand::Listening { since_ms } = self.stand else { return Told::Nothing };
        let Some(news) = well else {
            self.failures = self.failures.saturating_add(1);
            self.stand = Stand::Due { at_ms: now_ms + self.wait(now_ms) };
            return if self.failures == 1 { Told::Broken } else { Told::Nothing };
        };
        let mended = std::mem::take(&mut self.failures) > 0;
        // A clock that was set back is no reason to wait.
        let next = since_ms.min(now_ms) + GAP_MS;
        self.stand =
            if news { Stand::Taking { after, since_ms: now_ms } } else { Stand::Due { at_ms: next.max(now_ms) } };
        if mended { Told::Mended } else { Told::Nothing }
    }

    /// A look that began after so many moments of the loop went well: what was told before is taken in.
    pub fn looked(&mut self, began_after: u64, now_ms: u64) {
        if let Stand::Taking { after, .. } = self.stand
            && began_after >= after
        {
            self.stand = Stand::Due { at_ms: now_ms };
        }
    }

    /// It was told to end.
    pub fn has_ended(&self) -> bool {
        self.stand == Stand::Ending
    }

    /// It is to end. True: it waits for GitHub just now.
    pub fn end(&mut self) -> bool {
        let listens = matches!(self.stand, Stand::Listening { .. });
        self.stand = Stand::Ending;
        listens
    }

    /// The clock was set back: it waits no longer for that.
    pub fn set_back(&mut self, by_ms: u64) {
        match &mut self.stand {
            Stand::Due { at_ms } => *at_ms = at_ms.saturating_sub(by_ms),
            Stand::Taking { since_ms, .. } | Stand::Listening { since_ms } => {
                *since_ms = since_ms.saturating_sub(by_ms)
            }
            Stand::Ending => {}
        }
    }

    /// Doubles up to the longest, less up to a quarter: a hash spreads those that failed together.
    fn wait(&self, now_ms: u64) -> u64 {
        let full = (AGAIN_MS << self.failures.saturating_sub(1).min(10)).min(AGAIN_MAX_MS);
        let mut hasher = DefaultHasher::new();
        (&self.ask.pool, self.failures, now_ms).hash(&mut hasher);
        full - full / 4 * (hasher.finish() % 1000) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::place::{Auth, Scope, SecretRef};

    fn listener() -> Listener {
        let auth = Auth::Token(SecretRef::Env("TOKEN".into()));
        let place = Place { api: "https://api".into(), scope: Scope::Organization("acme".into()), auth };
        Listener::new(place, Ask { pool: "ci".into(), ..Ask::default() }, 1_000)
    }

    #[test]
    fn it_asks_again_when_a_look_has_taken_the_news_in() {
        let mut one = listener();
        assert!(one.begin(1_000) && !one.begin(1_000), "one turn at a time");
        assert_eq!(one.ended(Some(true), 7, 2_000), Told::Nothing);
        one.looked(6, 2_100);
        assert!(!one.begin(2_200), "that look had begun before");
        one.looked(7, 2_300);
        assert!(one.begin(2_300));
        one.ended(Some(true), 9, 3_000);
        assert!(!one.begin(3_000 + TAKEN_MAX_MS - 1) && one.begin(3_000 + TAKEN_MAX_MS), "not for ever");
    }

    #[test]
    fn a_server_that_answers_at_once_is_not_asked_without_end() {
        let mut one = listener();
        assert!(one.begin(1_000));
        one.ended(Some(false), 1, 1_000);
        assert!(!one.begin(1_000 + GAP_MS - 1) && one.begin(1_000 + GAP_MS));
        one.ended(Some(false), 2, 51_000);
        assert!(one.begin(51_000));
    }

    #[test]
    fn failures_wait_longer_each_time_and_are_told_once() {
        let (mut one, mut now, mut waits) = (listener(), 1_000, Vec::new());
        for turn in 0..12 {
            assert!(one.begin(now));
            let told = one.ended(None, turn, now);
            assert_eq!(told, if turn == 0 { Told::Broken } else { Told::Nothing });
            let next = one.wake_ms().expect("it tries again");
            waits.push(next - now);
            now = next;
        }
        assert!(waits[0] <= AGAIN_MS && waits.iter().all(|wait| *wait <= AGAIN_MAX_MS), "{waits:?}");
        assert!(waits.last().is_some_and(|wait| *wait >= AGAIN_MAX_MS / 4 * 3), "{waits:?}");
        assert!(one.begin(now));
        assert_eq!(one.ended(Some(false), 20, now), Told::Mended);
    }

    #[test]
    fn a_change_of_the_manifest_is_taken_on_unless_it_is_another_scale_set() {
        let mut one = listener();
        let ask = Ask { max: 9, labels: vec!["x64".into()], ..one.ask.clone() };
        let place = one.place.clone();
        assert!(one.moved(&place, &ask) && one.ask.max == 9);
        let other = Ask { group: "big".into(), ..ask };
        assert!(!one.moved(&place, &other) && one.ask.group.is_empty());
        let elsewhere = Place { scope: Scope::Organization("other".into()), ..place };
        let ask = one.ask.clone();
        assert!(!one.moved(&elsewhere, &ask));
        assert!(!one.end(), "it did not wait for anything");
        assert_eq!((one.begin(u64::MAX), one.wake_ms()), (false, None));
    }
}
