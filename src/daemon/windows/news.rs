//! What a look at a window has to tell that was not told before: it opened, somebody's turn ended, it was halted, it closed.
//! Pure: what was known and what is seen go in.

use crate::daemon::record::Level;
use crate::daemon::windows::{PatchRecord, Seen, WindowRecord};
use std::collections::BTreeMap;

/// What targets of windows got, by id.
pub type Known = BTreeMap<String, PatchRecord>;

/// Records that are held in memory; those of the oldest openings go first.
const KNOWN_MAX: usize = 2_000;

/// A moment worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The target that it is about; `None`: the window itself.
    pub target: Option<String>,
    /// Whether a person should look.
    pub level: Level,
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// What is new, and the records that are to be kept. `remembers`: what `known` holds outlived the daemon before this one.
pub fn news(
    before: Option<&WindowRecord>,
    known: &Known,
    remembers: bool,
    seen: &Seen,
) -> (Vec<News>, Vec<PatchRecord>) {
    let Seen { window: now, patches } = seen;
    let mut told = Vec::new();
    let about = |level, reason, message| News { target: None, level, reason, message };
    let opened = |window: &WindowRecord| window.opening.filter(|_| window.open).map(|opening| opening.opens_ms);
    let (was, is) = (before.and_then(opened), opened(now));
    if let (Some(_), Some(opening)) = (before, now.opening.filter(|_| is.is_some() && is != was)) {
        let minutes = opening.closes_ms.saturating_sub(opening.opens_ms) / 60_000;
        told.push(about(Level::Normal, "PatchWindowOpened", format!("open for {minutes} minutes")));
    }
    let mut keep = Vec::new();
    let newest = now.opening.map(|opening| opening.opens_ms);
    for patch in patches.iter().filter(|patch| patch.result.is_some()) {
        let old = known.get(&patch.id);
        if old.is_some_and(|old| old == patch || knows_less(patch, old)) {
            continue;
        }
        keep.push(patch.clone());
        let same = old.is_some_and(|old| (&old.result, &old.why) == (&patch.result, &patch.why));
        if !same && Some(patch.opened_ms) == newest && (before.is_some() || remembers) {
            told.extend(said(patch));
        }
    }
    let halted = now.halted.as_ref().filter(|_| now.open);
    if let Some(why) = halted.filter(|why| before.and_then(|before| before.halted.as_ref()) != Some(*why)) {
        told.push(about(Level::Warning, "PatchWindowHalted", why.clone()));
    }
    if let Some(closed) = was.filter(|was| is != Some(*was)) {
        let of = |patch: &&PatchRecord| patch.window == now.name && patch.source == now.source;
        let mut all: BTreeMap<&str, &PatchRecord> =
            known.values().filter(of).map(|patch| (patch.id.as_str(), patch)).collect();
        all.extend(keep.iter().map(|patch| (patch.id.as_str(), patch)));
        let ended: Vec<&PatchRecord> = all.into_values().filter(|patch| patch.opened_ms == closed).collect();
        let bad = ended.iter().any(|patch| patch.is_bad());
        let level = if bad { Level::Warning } else { Level::Normal };
        told.push(about(level, "PatchWindowClosed", summary(&ended)));
    }
    (told, keep)
}

/// One that was seen when less could be told: its disk cannot be read any more, or went back.
fn knows_less(now: &PatchRecord, old: &PatchRecord) -> bool {
    let ended = old.is_good() || old.is_bad();
    ended && now.result.as_deref() == Some("LeftOut") && now.began_ms.is_none()
}

fn said(patch: &PatchRecord) -> Option<News> {
    let why = patch.why.clone().unwrap_or_default();
    let (level, reason, message) = match patch.result.as_deref()? {
        "Updated" => (Level::Normal, "PatchUpdated", updated(patch)),
        "Failed" => (Level::Warning, "PatchFailed", why),
        "WentBack" => (Level::Warning, "PatchWentBack", format!("it failed, and went back to its snapshot: {why}")),
        "LeftOut" => (Level::Normal, "PatchLeftOut", why),
        // That nothing waited is no news.
        _ => return None,
    };
    Some(News { target: Some(patch.target.clone()), level, reason, message })
}

fn updated(patch: &PatchRecord) -> String {
    let packages = patch.changed.len();
    let mut text = if packages == 1 { "1 package".to_owned() } else { format!("{packages} packages") };
    let security = patch.changed.iter().filter(|changed| changed.security == Some(true)).count();
    if security > 0 {
        text += &format!(", {security} of them for security");
    }
    if patch.rebooted {
        text += ", rebooted";
    }
    if patch.reboot_required.is_some() {
        text += ", needs a reboot";
    }
    text
}

/// How an opening ended: `3 updated, 1 up to date, 1 left out, 1 failed`.
pub fn summary(patches: &[&PatchRecord]) -> String {
    let words = [
        ("Updated", "updated"),
        ("UpToDate", "up to date"),
        ("LeftOut", "left out"),
        ("Failed", "failed"),
        ("WentBack", "went back"),
    ];
    let count = |word: &str| patches.iter().filter(|patch| patch.result.as_deref() == Some(word)).count();
    let parts: Vec<String> = words
        .iter()
        .map(|(word, text)| (count(word), text))
        .filter(|(count, _)| *count > 0)
        .map(|(count, text)| format!("{count} {text}"))
        .collect();
    if parts.is_empty() { "nobody had a turn".to_owned() } else { parts.join(", ") }
}

/// Takes records in; the oldest go where there are too many.
pub fn remember(known: &mut Known, keep: impl IntoIterator<Item = PatchRecord>) {
    known.extend(keep.into_iter().map(|patch| (patch.id.clone(), patch)));
    while known.len() > KNOWN_MAX {
        let oldest = known.values().min_by_key(|patch| patch.opened_ms).map(|patch| patch.id.clone());
        let Some(oldest) = oldest else { break };
        known.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::windows::OpeningRecord;

    fn window(open: bool, slot: u64) -> WindowRecord {
        WindowRecord {
            source: "lab".into(),
            name: "sunday".into(),
            schedule: "Sun 02:00".into(),
            time_zone: "UTC".into(),
            open,
            opening: Some(OpeningRecord { opens_ms: slot, cutoff_ms: slot + 60_000, closes_ms: slot + 120_000 }),
            next: Vec::new(),
            halted: None,
            targets: Vec::new(),
            seen_ms: slot,
        }
    }

    fn patch(target: &str, slot: u64, result: Option<&str>, why: Option<&str>) -> PatchRecord {
        PatchRecord {
            id: format!("lab/sunday/{target}@{slot}"),
            source: "lab".into(),
            window: "sunday".into(),
            target: target.into(),
            name: String::new(),
            opened_ms: slot,
            began_ms: result.is_some_and(|r| r != "LeftOut").then_some(slot),
            ended_ms: None,
            result: result.map(str::to_owned),
            why: why.map(str::to_owned),
            system: None,
            manager: None,
            changed: Vec::new(),
            left: Vec::new(),
            cves: Vec::new(),
            checks: Vec::new(),
            log: Vec::new(),
            rebooted: false,
            reboot_required: None,
            attempts: 1,
        }
    }

    fn reasons(news: &[News]) -> Vec<(&'static str, String)> {
        news.iter().map(|n| (n.reason, n.message.clone())).collect()
    }

    #[test]
    fn a_window_opens_ends_come_one_by_one_and_it_closes_with_a_summary() {
        let (mut known, mut before) = (Known::new(), window(false, 1_000));
        let mut look = |window: WindowRecord, patches: &[PatchRecord]| {
            let seen = Seen { window, patches: patches.to_vec() };
            let (told, keep) = news(Some(&before), &known, false, &seen);
            let kept = keep.len();
            remember(&mut known, keep);
            before = seen.window;
            (reasons(&told), kept)
        };
        let said = |reason, text: &str| (reason, text.to_owned());
        assert_eq!(look(window(true, 9_000), &[]), (vec![said("PatchWindowOpened", "open for 2 minutes")], 0));
        let out = patch("102", 9_000, Some("LeftOut"), Some("it does not run"));
        let both = [patch("101", 9_000, None, None), out.clone()];
        assert_eq!(look(window(true, 9_000), &both), (vec![said("PatchLeftOut", "it does not run")], 1));
        let failed = patch("101", 9_000, Some("Failed"), Some("tcp:22"));
        let mut halted = window(true, 9_000);
        halted.halted = Some("the window is halted, for 101 failed".into());
        let (told, kept) = look(halted.clone(), &[failed.clone(), out.clone()]);
        assert_eq!(told.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(), ["PatchFailed", "PatchWindowHalted"]);
        assert_eq!(kept, 1);
        assert_eq!(look(halted, &[failed, out.clone()]), (Vec::new(), 0), "told once");
        // Its disk cannot be read any more: what was known stays.
        let less = patch("101", 9_000, Some("LeftOut"), Some("it does not run"));
        let (told, kept) = look(window(false, 9_000), &[less, out]);
        assert_eq!((told, kept), (vec![said("PatchWindowClosed", "1 left out, 1 failed")], 0));
    }

    #[test]
    fn who_begins_with_nothing_does_not_tell_old_news() {
        let seen = Seen {
            window: window(true, 9_000),
            patches: vec![patch("101", 1_000, Some("Updated"), None), patch("101", 9_000, Some("Updated"), None)],
        };
        let (told, keep) = news(None, &Known::new(), false, &seen);
        assert_eq!((reasons(&told), keep.len()), (Vec::new(), 2));
        let (told, _) = news(None, &Known::new(), true, &seen);
        assert_eq!(reasons(&told), [("PatchUpdated", "0 packages".to_owned())], "the history knew nothing of it");
        let mut known = Known::new();
        remember(&mut known, keep);
        assert_eq!(news(None, &known, true, &seen), (Vec::new(), Vec::new()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::new();
        remember(&mut known, (0..KNOWN_MAX as u64 + 7).map(|n| patch(&n.to_string(), n, Some("Updated"), None)));
        assert_eq!(known.len(), KNOWN_MAX);
        assert!(!known.contains_key("lab/sunday/0@0"));
    }
}
