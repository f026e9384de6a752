//! Which events somebody is told of. Pure: what was told before is the only memory. The same trouble is told once, its end is told, and
//! what comes and goes is told until it is clear that it does.

use crate::daemon::config::NotifyConfig;
use crate::daemon::record::{EventRecord, Level};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Trouble that lasts is told again after this time.
const SAME_MS: u64 = 6 * 3_600_000;
/// Trouble of the same reason in other words, or the same good news, is told again after this time: messages carry numbers that change.
const OTHER_MS: u64 = 600_000;
/// So many messages about one object within [`FLAP_MS`], and only the end of what was told is told for the rest of it.
const FLAP_MAX: usize = 6;
const FLAP_MS: u64 = 3_600_000;
/// Objects remembered; beyond that the one that was quiet for the longest time is forgotten, and told of once more.
const OBJECTS_MAX: usize = 5_000;

/// The reasons of events about a sink itself; their object is `Notice/NAME`.
pub const FAILED: &str = "NoticeFailed";
/// It can be told again.
pub const MENDED: &str = "NoticeMended";

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is told, with a word about what comes after it.
    Tell(Option<String>),
    /// It is not.
    Quiet,
}

/// What somebody wants to hear, and what they have heard.
#[derive(Clone, Debug)]
pub struct Route {
    name: String,
    reasons: BTreeSet<String>,
    sources: BTreeSet<String>,
    told: BTreeMap<(String, Option<String>), Told>,
}

/// What was told of one object.
#[derive(Clone, Debug, Default)]
struct Told {
    /// By reason: the words, and when.
    reasons: BTreeMap<String, (String, u64)>,
    times: VecDeque<u64>,
}

impl Route {
    /// For somebody of the configuration.
    pub fn new(config: &NotifyConfig) -> Route {
        let NotifyConfig { name, form: _, url: _, token: _, reasons, sources } = config;
        let told = BTreeMap::new();
        Route { name: name.clone(), reasons: reasons.clone(), sources: sources.clone(), told }
    }

    /// Whether to tell of an event; remembers that it was told.
    pub fn judge(&mut self, event: &EventRecord, now_ms: u64) -> Verdict {
        if !self.sources.is_empty() && !self.sources.contains(&event.source) {
            return Verdict::Quiet;
        }
        let own = event.object.as_deref().and_then(|o| o.strip_prefix("Notice/")) == Some(self.name.as_str());
        if own && matches!(event.reason.as_str(), FAILED | MENDED) {
            return Verdict::Quiet;
        }
        let key = (event.source.clone(), event.object.clone());
        let wanted = self.wants(event);
        if !wanted && !self.told.contains_key(&key) {
            return Verdict::Quiet;
        }
        self.forget(&key);
        let told = self.told.entry(key).or_default();
        told.times.retain(|at| now_ms.abs_diff(*at) < FLAP_MS);
        let before = told.reasons.len();
        told.reasons.retain(|reason, _| !ends(&event.reason, reason));
        let ended = told.reasons.len() < before;
        if !ended && (!wanted || told.repeats(event, now_ms) || told.times.len() >= FLAP_MAX) {
            return Verdict::Quiet;
        }
        told.remember(event, now_ms);
        let last = told.times.len() == FLAP_MAX;
        let note = || format!("told {FLAP_MAX} times within an hour: it comes and goes, and is told less often now");
        Verdict::Tell(last.then(note))
    }

    fn wants(&self, event: &EventRecord) -> bool {
        if self.reasons.is_empty() {
            event.level == Level::Warning || event.reason.starts_with("Drift")
        } else {
            self.reasons.contains(&event.reason)
        }
    }

    /// Makes room for one more.
    fn forget(&mut self, key: &(String, Option<String>)) {
        if self.told.len() < OBJECTS_MAX || self.told.contains_key(key) {
            return;
        }
        let quiet = self.told.iter().min_by_key(|(_, told)| told.times.back().copied());
        if let Some(key) = quiet.map(|(key, _)| key.clone()) {
            self.told.remove(&key);
        }
    }
}

impl Told {
    fn remember(&mut self, event: &EventRecord, now_ms: u64) {
        self.reasons.insert(event.reason.clone(), (event.message.clone(), now_ms));
        self.times.push_back(now_ms);
    }

    fn repeats(&self, event: &EventRecord, now_ms: u64) -> bool {
        self.reasons.get(&event.reason).is_some_and(|(message, at)| {
            let same = *message == event.message && event.level == Level::Warning;
            now_ms.abs_diff(*at) < if same { SAME_MS } else { OTHER_MS }
        })
    }
}

/// Whether this reason says that trouble of that reason is over: `SourceMended` ends `SourceBroken`, `DriftHealed` ends
/// `DriftSeen`.
fn ends(reason: &str, trouble: &str) -> bool {
    match reason {
        "Applied" => return trouble == "ApplyFailed",
        "ClusterAnswers" => return trouble == "ClusterUnreadable",
        "ComparedAgain" => return trouble == "NotCompared",
        _ => {}
    }
    let stem = ["Mended", "Healed"].iter().find_map(|end| reason.strip_suffix(end));
    stem.is_some_and(|stem| !stem.is_empty() && trouble != reason && trouble.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::config::file::SecretField;
    use crate::daemon::config::NotifyForm;

    const MINUTE: u64 = 60_000;

    fn route(reasons: &[&str], sources: &[&str]) -> Route {
        let set = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Route::new(&NotifyConfig {
            name: "phone".into(),
            form: NotifyForm::Generic,
            url: SecretField::Value(Secret::new("http://x")),
            token: None,
            reasons: set(reasons),
            sources: set(sources),
        })
    }

    fn event(reason: &str, message: &str) -> EventRecord {
        let good = ["Healed", "Mended", "Applied", "DriftSeen", "Answers"].iter().any(|end| reason.ends_with(end));
        EventRecord {
            at_ms: 0,
            source: "lab".into(),
            object: Some("Pool/x".into()),
            revision: None,
            level: if good { Level::Normal } else { Level::Warning },
            reason: reason.into(),
            message: message.into(),
            count: 1,
        }
    }

    /// What is told of a line of events, each at its minute.
    fn told(route: &mut Route, events: &[(u64, &str, &str)]) -> Vec<u64> {
        let tells = |(minute, reason, message): &&(u64, &str, &str)| {
            route.judge(&event(reason, message), minute * MINUTE) != Verdict::Quiet
        };
        events.iter().filter(tells).map(|(minute, _, _)| *minute).collect()
    }

    #[test]
    fn warnings_and_drift_are_told_by_default_and_what_is_asked_for_otherwise() {
        let events = [(1, "ApplyFailed", "a"), (2, "DriftSeen", "b"), (3, "Proposed2Applied", "c")];
        assert_eq!(told(&mut route(&[], &[]), &events), [1, 2]);
        assert_eq!(told(&mut route(&["Proposed2Applied"], &[]), &events), [3]);
        assert_eq!(told(&mut route(&[], &["home"]), &events), Vec::<u64>::new());
        assert_eq!(told(&mut route(&[], &["lab"]), &events), [1, 2]);
    }

    #[test]
    fn the_same_is_told_once_and_again_after_hours() {
        let again =
            [(0, "ApplyFailed", "a"), (5, "ApplyFailed", "a"), (300, "ApplyFailed", "a"), (361, "ApplyFailed", "a")];
        assert_eq!(told(&mut route(&[], &[]), &again), [0, 361]);
        let other = [(0, "ApplyFailed", "a"), (5, "ApplyFailed", "b"), (11, "ApplyFailed", "c"), (12, "Locked", "a")];
        assert_eq!(told(&mut route(&[], &[]), &other), [0, 11, 12]);
    }

    #[test]
    fn an_end_is_told_to_whom_the_beginning_was_and_makes_the_next_new() {
        let events = [
            (0, "Applied", "well"),
            (1, "ApplyFailed", "a"),
            (2, "SourceMended", "not its end"),
            (3, "Applied", "well"),
            (4, "Applied", "well"),
            (5, "ApplyFailed", "a"),
        ];
        assert_eq!(told(&mut route(&[], &[]), &events), [1, 3, 5]);
        // Even to those who asked for the trouble alone.
        let narrow = [(1, "SourceBroken", "a"), (2, "SourceMended", "b"), (3, "SourceMended", "b")];
        let cluster = [(1, "ClusterUnreadable", "a"), (2, "ClusterAnswers", "b")];
        assert_eq!(told(&mut route(&[], &[]), &cluster), [1, 2]);
        assert_eq!(told(&mut route(&["SourceBroken"], &[]), &narrow), [1, 2]);
        assert_eq!(told(&mut route(&[], &[]), &[(1, "DriftSeen", "a"), (2, "DriftHealed", "b")]), [1, 2]);
    }

    #[test]
    fn what_comes_and_goes_is_no_flood() {
        let mut route = route(&[], &[]);
        let events: Vec<_> = (0..60).map(|n| (n, if n % 2 == 0 { "DriftSeen" } else { "DriftHealed" }, "a")).collect();
        let minutes = told(&mut route, &events);
        assert!((6..=8).contains(&minutes.len()), "{minutes:?}");
        assert!(minutes.iter().all(|m| *m < 10));
        // The last of them says so; after an hour it is told again.
        let mut anew = self::route(&[], &[]);
        let verdicts: Vec<_> = (0..6).map(|n| anew.judge(&event(&format!("R{n}"), "a"), n)).collect();
        assert!(matches!(&verdicts[5], Verdict::Tell(Some(note)) if note.contains("comes and goes")), "{verdicts:?}");
        assert_eq!(verdicts[4], Verdict::Tell(None));
        assert!(told(&mut route, &[(130, "DriftSeen", "a")]) == [130]);
    }

    #[test]
    fn nobody_is_told_that_they_cannot_be_told() {
        let own = EventRecord { object: Some("Notice/phone".into()), ..event(FAILED, "x") };
        assert_eq!(route(&[], &[]).judge(&own, 0), Verdict::Quiet);
        let other = EventRecord { object: Some("Notice/chat".into()), ..event(FAILED, "x") };
        assert_eq!(route(&[], &[]).judge(&other, 0), Verdict::Tell(None));
    }

    #[test]
    fn memory_has_a_bound() {
        let mut route = route(&[], &[]);
        for n in 0..OBJECTS_MAX as u64 + 50 {
            let object = Some(format!("Pool/{n}"));
            assert_eq!(route.judge(&EventRecord { object, ..event("Locked", "x") }, n), Verdict::Tell(None));
        }
        assert_eq!(route.told.len(), OBJECTS_MAX);
        assert!(!route.told.contains_key(&("lab".into(), Some("Pool/0".into()))), "the oldest is forgotten");
    }
}
