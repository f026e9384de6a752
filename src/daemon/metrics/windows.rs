//! What patch windows come to, in numbers. Read off the state, but for failures, which are counted as they happen.

use super::{Counters, GUESTS_MAX, Gauges, Labels};
use crate::daemon::record::State;
use crate::daemon::windows::TargetRecord;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// The metrics of windows.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pending: Gauges,
    reboot: Gauges,
    success: Gauges,
    open: Gauges,
    failures: Counters,
}

impl Windows {
    /// Makes a metric known by its whole name, if it is one of these.
    pub(super) fn register(&self, name: &str, help: &'static str, registry: &mut Registry) {
        let bare = name.trim_end_matches("_total");
        match name {
            "pvectl_patch_pending_updates" => registry.register(bare, help, self.pending.clone()),
            "pvectl_patch_reboot_required" => registry.register(bare, help, self.reboot.clone()),
            "pvectl_patch_last_success_timestamp_seconds" => registry.register(bare, help, self.success.clone()),
            "pvectl_patch_window_open" => registry.register(bare, help, self.open.clone()),
            "pvectl_patch_failures_total" => registry.register(bare, help, self.failures.clone()),
            _ => {}
        }
    }

    /// A target failed, or went back to its snapshot.
    pub(super) fn failed(&self, source: (&'static str, String), window: &str) {
        self.failures.get_or_create(&vec![source, ("window", window.to_owned())]).inc();
    }

    /// Takes in how windows stand. What is not known is not told: it is not the same as none.
    pub(super) fn read(&self, state: &State, label: impl Fn(&str) -> (&'static str, String)) {
        for family in [&self.pending, &self.reboot, &self.success, &self.open] {
            family.clear();
        }
        let mut targets = 0;
        for window in state.windows.values() {
            let of: Labels = vec![label(&window.source), ("window", window.name.clone())];
            self.open.get_or_create(&of).set(if window.open { 1.0 } else { 0.0 });
            // From zero on, so that the first failure is an increase.
            drop(self.failures.get_or_create(&of));
            for target in &window.targets {
                targets += 1;
                if targets > GUESTS_MAX {
                    return;
                }
                self.target(&of, target);
            }
        }
    }

    fn target(&self, of: &Labels, target: &TargetRecord) {
        let with = |more: &[(&'static str, &str)]| -> Labels {
            let own = [("target", target.target.as_str())].into_iter().chain(more.iter().copied());
            of.iter().cloned().chain(own.map(|(name, value)| (name, value.to_owned()))).collect()
        };
        if let Some(pending) = target.pending {
            #[expect(clippy::cast_precision_loss, reason = "no guest has that many packages")]
            let count = |count: usize| count as f64;
            if let Some(security) = pending.security {
                self.pending.get_or_create(&with(&[("class", "security")])).set(count(security));
            }
            let other = if pending.security.is_some() { "other" } else { "all" };
            self.pending.get_or_create(&with(&[("class", other)])).set(count(pending.other));
            let reboot = if target.reboot_required.is_some() { 1.0 } else { 0.0 };
            self.reboot.get_or_create(&with(&[])).set(reboot);
        }
        if let Some(at) = target.last_success_ms {
            self.success.get_or_create(&with(&[])).set(Duration::from_millis(at).as_secs_f64());
        }
    }
}
