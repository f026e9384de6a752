//! How the loop tells of a moment: to the state, the log, and whoever listens.

use super::Daemon;
use crate::daemon::record::{DriftRecord, EventRecord, Level};
use crate::resource::reference::ResourceRef;

impl Daemon {
    /// Tells a moment to everybody.
    pub(super) fn tell(
        &self,
        source: &str,
        object: Option<&ResourceRef>,
        level: Level,
        reason: &str,
        message: String,
        drift: Option<&DriftRecord>,
    ) {
        let mut state = self.shared.write();
        let revision = state.sources.get(source).map(|s| s.revision.clone()).filter(|r| !r.is_empty());
        let event = EventRecord {
            at_ms: self.clock.now_ms(),
            source: source.to_owned(),
            object: object.map(ToString::to_string),
            revision,
            level,
            reason: reason.to_owned(),
            message,
            count: 1,
        };
        let event = state.tell(event);
        drop(state);
        let place = event.object.as_deref().map_or_else(|| source.to_owned(), |object| format!("{source}: {object}"));
        match level {
            _ if event.count > 1 => tracing::debug!("{place}: {reason}: {}", event.message),
            Level::Normal => tracing::info!("{place}: {reason}: {}", event.message),
            Level::Warning => tracing::warn!("{place}: {reason}: {}", event.message),
        }
        self.ear.event(&event, drift);
    }
}
