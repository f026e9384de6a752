//! What is told, in words that every form shares. Texts of the cluster are strangers' texts: control characters are shown, and
//! long ones are cut.

use crate::daemon::record::{Actor, DriftRecord, EventRecord, FieldRecord, Level};
use crate::daemon::report::findings::moment;
use crate::report::text;

/// Fields of one message; the rest is counted.
const FIELDS_MAX: usize = 10;
/// Letters of one value.
const VALUE_MAX: usize = 200;
/// Letters of an event's own sentence: errors of PVE come with lines of its log.
const SENTENCE_MAX: usize = 1_500;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub event: EventRecord,
    /// The drift that it is about.
    pub drift: Option<DriftRecord>,
    /// A word about the telling itself.
    pub note: Option<String>,
    /// Messages before this one that were dropped because there were too many.
    pub dropped: u64,
}

/// Which face a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Something is wrong.
    Bad,
    /// Somebody should look.
    Notable,
    /// All is well, or well again.
    Good,
}

impl Message {
    /// `DriftSeen: VirtualMachine/web-01 (homelab)`.
    pub fn title(&self) -> String {
        let EventRecord { source, object, reason, .. } = &self.event;
        let about = match (object, source.as_str()) {
            (Some(object), "") => object.clone(),
            (Some(object), source) => format!("{object} ({source})"),
            (None, "") => "pvectl".to_owned(),
            (None, source) => source.to_owned(),
        };
        visible(&format!("{reason}: {about}"), VALUE_MAX)
    }

    /// Its face.
    pub fn mood(&self) -> Mood {
        match self.event.level {
            Level::Normal | Level::Warning if self.event.reason == "DriftSeen" => Mood::Notable,
            Level::Warning => Mood::Bad,
            Level::Normal => Mood::Good,
        }
    }

    /// The event's own sentence; lines stay lines.
    pub fn sentence(&self) -> String {
        let lines = self.event.message.lines().map(|line| visible(line, SENTENCE_MAX));
        cut(&lines.collect::<Vec<_>>().join("\n"), SENTENCE_MAX)
    }

    /// The fields that drifted, and how many more there are.
    pub fn fields(&self) -> (&[FieldRecord], usize) {
        let fields = self.drift.as_ref().map_or(&[][..], |drift| &drift.fields);
        let shown = fields.len().min(FIELDS_MAX);
        (&fields[..shown], fields.len() - shown)
    }

    /// `is 8, should be 4`, each value in a dress.
    pub fn difference(&self, field: &FieldRecord, dress: impl Fn(&str) -> String) -> String {
        let (from, to) = (dress(&value(field.from.as_ref())), dress(&value(field.to.as_ref())));
        let over = self.drift.as_ref().is_some_and(|drift| drift.healed_ms.is_some());
        if over { format!("was {from}, should have been {to}") } else { format!("is {from}, should be {to}") }
    }

    /// What stands around it: who, which commit, what was left out.
    pub fn remarks(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some((drift, healed_ms)) = self.drift.as_ref().and_then(|drift| drift.healed_ms.map(|ms| (drift, ms))) {
            let by = drift.healed_by.map_or("nobody knows whom", |healer| healer.as_str());
            out.push(format!("healed at {} by {by}; it lasted from {}", moment(healed_ms), moment(drift.since_ms())));
        }
        if let Some(Actor { user, what, at_ms }) = self.drift.as_ref().and_then(|drift| drift.by.as_ref()) {
            out.push(visible(&format!("by {user} at {}: {what}", moment(*at_ms)), VALUE_MAX));
        }
        if let Some(revision) = &self.event.revision {
            out.push(visible(&format!("revision {revision}"), VALUE_MAX));
        }
        if self.event.count > 1 {
            out.push(format!("{} times in a row", self.event.count));
        }
        out.extend(self.note.clone());
        if self.dropped > 0 {
            let some = if self.dropped == 1 { "1 message" } else { &format!("{} messages", self.dropped) };
            out.push(format!("{some} before this one dropped: too many at once"));
        }
        out
    }

    /// All of it without any markup.
    pub fn text(&self) -> String {
        let mut lines = vec![self.sentence()];
        let (fields, more) = self.fields();
        lines.extend(
            fields
                .iter()
                .map(|field| format!("{}: {}", visible(&field.path, VALUE_MAX), self.difference(field, str::to_owned))),
        );
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines.extend(self.remarks());
        lines.join("\n")
    }
}

/// A value on one line.
fn value(value: Option<&String>) -> String {
    match value {
        None => "(default)".to_owned(),
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => visible(text, VALUE_MAX),
    }
}

/// With control characters shown, and cut.
fn visible(text: &str, letters_max: usize) -> String {
    cut(&text::visible(text), letters_max)
}

fn cut(text: &str, letters_max: usize) -> String {
    match text.char_indices().nth(letters_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// At most so many bytes, whole letters.
pub fn within(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let room = bytes_max.saturating_sub('…'.len_utf8());
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= room).last().unwrap_or(0);
    format!("{}…", &text[..end])
}
