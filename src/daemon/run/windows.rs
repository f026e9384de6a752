//! What a look saw of patch windows: kept, counted, and told where it is new.

use super::Daemon;
use crate::daemon::windows::news::{News, news, remember};
use crate::daemon::windows::{Seen, carried};
use crate::kinds::patch_window::NAME;
use crate::resource::reference::ResourceRef;
use std::collections::BTreeSet;

impl Daemon {
    /// Takes in how the windows of a source stand.
    pub(super) fn windows(&mut self, source: &str, seen: Vec<Seen>) {
        let names: BTreeSet<String> = seen.iter().map(|one| one.window.name.clone()).collect();
        self.shared.write().windows.retain(|(of, name), _| of != source || names.contains(name));
        for one in seen {
            let key = (source.to_owned(), one.window.name.clone());
            let mut state = self.shared.write();
            let before = state.windows.get(&key);
            let (told, keep) = news(before, &state.patches, state.remembers, &one);
            let mut window = carried(before, one.window);
            remember(&mut state.patches, keep.iter().cloned());
            for target in &mut window.targets {
                let of = |patch: &&crate::daemon::windows::PatchRecord| {
                    patch.is_good()
                        && (patch.source.as_str(), patch.window.as_str()) == (source, key.1.as_str())
                        && patch.target == target.target
                };
                let good = state.patches.values().filter(of).map(|patch| patch.ended_ms.unwrap_or(patch.opened_ms));
                target.last_success_ms = target.last_success_ms.max(good.max());
            }
            let name = window.name.clone();
            state.windows.insert(key, window);
            drop(state);
            keep.iter().for_each(|patch| self.ear.patch(patch));
            for News { target, level, reason, message } in told {
                if matches!(reason, "PatchFailed" | "PatchWentBack") {
                    self.meter.patch_failed(source, &name);
                }
                let object = target.map_or_else(|| name.clone(), |target| format!("{name}:{target}"));
                self.tell(source, Some(&ResourceRef::new(NAME, object)), level, reason, message, None);
            }
        }
    }
}
