//! What was read of the inside of a guest or of a node: the state of the window's jobs on its disk, and which boot it is in.

use crate::host::state::{JobState, Phase, State};
use crate::kinds::patch_window::outcome::stamp;

/// What was read of an inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// It does not run.
    Off,
    /// It was read.
    Read {
        /// The window's jobs.
        state: State,
        /// Which boot it is in; empty where that cannot be told.
        boot: String,
    },
    /// It runs and does not answer: why.
    Silent(String),
    /// There is no way in, whatever it does: why.
    Shut(String),
    /// Its node does not answer: why.
    Away(String),
}

impl Inside {
    /// What the host link answers: the boot in the first line, then the state.
    pub fn of_link(text: &str) -> Inside {
        let boot = text.lines().next().and_then(|line| line.strip_prefix("boot=")).unwrap_or_default();
        Inside::Read { state: State::read(text), boot: boot.to_owned() }
    }

    /// The window's jobs, and which boot it is in, where it was read.
    pub fn read(&self) -> Option<(&State, &str)> {
        match self {
            Inside::Read { state, boot } => Some((state, boot)),
            Inside::Off | Inside::Silent(_) | Inside::Shut(_) | Inside::Away(_) => None,
        }
    }

    /// The window's jobs, where they were read.
    pub fn state(&self) -> Option<&State> {
        self.read().map(|(state, _)| state)
    }

    /// The newest attempt at a job of an opening: its number, and how far it is.
    pub fn latest(&self, slot: i64, word: &str) -> Option<(u8, &JobState)> {
        let (state, stamp) = (self.state()?, stamp(slot));
        let attempts = (1..=u8::MAX).map_while(|attempt| {
            let name = if attempt == 1 { format!("{stamp}-{word}") } else { format!("{stamp}-{word}{attempt}") };
            Some((attempt, state.job(&name)?))
        });
        attempts.last()
    }

    /// How long jobs of these words took in earlier openings, in seconds, the longest.
    pub fn took(&self, words: &[&str]) -> Option<i64> {
        let meant = |job: &&JobState| words.iter().any(|word| job.name.contains(word));
        // One that was killed ended when somebody looked.
        let whole = |job: &&JobState| job.phase == Phase::Done && job.exit == Some(0);
        let jobs = self.state()?.jobs.iter().filter(meant).filter(whole);
        jobs.filter_map(|job| Some(job.ended?.saturating_sub(job.started))).max()
    }
}

/// A job's last words, after a colon; empty where it said nothing.
pub fn last_words(job: &JobState) -> String {
    job.log
        .iter()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map_or_else(String::new, |line| format!(": {}", line.trim()))
}

/// What a look whether it is well found: the checks that failed, or its last words.
pub fn not_well(health: &JobState) -> String {
    let bad = health.checks.iter().filter(|check| !check.ok);
    let bad: Vec<String> = bad.map(|check| format!("{}: {}", check.what, check.said)).collect();
    if bad.is_empty() { format!("it is not well{}", last_words(health)) } else { bad.join("; ") }
}
