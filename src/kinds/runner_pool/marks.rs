//! What stands on a machine of how far it is: moments in seconds since 1970, kept among the applied fields of its marker. Nothing
//! is remembered elsewhere.

use crate::base::id::VmId;
use crate::resource::merge::Fields;

/// Longer values are hashed by the marker.
const WHY_BYTES_MAX: usize = 48;

/// Why a machine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its clone did not end in time.
    CloneTimeout,
    /// It does not start, or does not stay on.
    StartFailed,
    /// Its guest agent (the host link, SSH) did not answer in time.
    NoAgent,
    /// It had no address in time.
    NoAddress,
    /// Its sshd refused us, or did not answer.
    SshRefused,
    /// What comes before the runner failed: the hook, the version, the host name, the registration.
    PrepareFailed,
    /// The runner was not online in time.
    NeverOnline,
    /// The runner ended by itself, and not well.
    RunnerFailed,
    /// The runner is too old for GitHub.
    VersionTooOld,
    /// The runner was online, and is not any more.
    RunnerLost,
    /// The registration is gone, and its runner goes on.
    RunnerGone,
    /// Its job took too long.
    JobOverTime,
}

/// All of them.
pub const CAUSES: [Cause; 12] = [
    Cause::CloneTimeout,
    Cause::StartFailed,
    Cause::NoAgent,
    Cause::NoAddress,
    Cause::SshRefused,
    Cause::PrepareFailed,
    Cause::NeverOnline,
    Cause::RunnerFailed,
    Cause::VersionTooOld,
    Cause::RunnerLost,
    Cause::RunnerGone,
    Cause::JobOverTime,
];

impl Cause {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::CloneTimeout => "CloneTimeout",
            Cause::StartFailed => "StartFailed",
            Cause::NoAgent => "NoAgent",
            Cause::NoAddress => "NoAddress",
            Cause::SshRefused => "SshRefused",
            Cause::PrepareFailed => "PrepareFailed",
            Cause::NeverOnline => "NeverOnline",
            Cause::RunnerFailed => "RunnerFailed",
            Cause::VersionTooOld => "VersionTooOld",
            Cause::RunnerLost => "RunnerLost",
            Cause::RunnerGone => "RunnerGone",
            Cause::JobOverTime => "JobOverTime",
        }
    }

    /// Reads [`Cause::as_str`].
    pub fn read(word: &str) -> Option<Cause> {
        CAUSES.into_iter().find(|cause| cause.as_str() == word)
    }

    /// Whether the template, or how it is begun, is to blame rather than a job.
    pub fn of_template(self) -> bool {
        match self {
            Cause::CloneTimeout
            | Cause::StartFailed
            | Cause::NoAgent
            | Cause::NoAddress
            | Cause::SshRefused
            | Cause::PrepareFailed
            | Cause::NeverOnline
            | Cause::RunnerFailed
            | Cause::VersionTooOld => true,
            Cause::RunnerLost | Cause::RunnerGone | Cause::JobOverTime => false,
        }
    }
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: i64,
    /// More words; may be empty.
    pub why: String,
}

/// What stands on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// When its clone was asked for.
    pub made: i64,
    /// The proof in its name ([`crate::kinds::runner_pool::name`]).
    pub proof: String,
    /// The number of the template that it is a clone of.
    pub template: Option<VmId>,
    /// How many failed in a row before it was made.
    pub tries: u32,
    /// When it was configured, and first started.
    pub started: Option<i64>,
    /// When its registration was about to be asked for.
    pub registering: Option<i64>,
    /// When it was seen online.
    pub online: Option<i64>,
    /// When it was seen to have a job.
    pub busy: Option<i64>,
    /// When its runner was seen to be gone.
    pub ended: Option<i64>,
    /// How it failed.
    pub failed: Option<Failure>,
    /// A machine that was made after it did better: it does not count any more.
    pub forgiven: bool,
    /// It shall get no further job: `pvectl runners drain`.
    pub drained: bool,
}

impl Marks {
    /// Reads them off a marker's applied fields.
    pub fn read(applied: &Fields) -> Marks {
        let text = |key: &str| applied.get(&format!("runner.{key}")).map(String::as_str);
        let moment = |key: &str| text(key).and_then(|t| t.parse::<i64>().ok());
        let failed = text("failed").and_then(|words| {
            let (cause, at) = words.split_once(' ')?;
            let why = text("why").unwrap_or_default().to_owned();
            Some(Failure { cause: Cause::read(cause)?, at: at.parse().ok()?, why })
        });
        Marks {
            made: moment("made").unwrap_or(0),
            proof: text("proof").unwrap_or_default().to_owned(),
            template: text("template").and_then(|t| VmId::new(t.parse().ok()?)),
            tries: text("tries").and_then(|t| t.parse().ok()).unwrap_or(0),
            started: moment("started"),
            registering: moment("registering"),
            online: moment("online"),
            busy: moment("busy"),
            ended: moment("ended"),
            failed,
            forgiven: text("forgiven").is_some(),
            drained: text("drained").is_some(),
        }
    }

    /// As a marker keeps them.
    pub fn write(&self) -> Fields {
        let Marks {
            made,
            proof,
            template,
            tries,
            started,
            registering,
            online,
            busy,
            ended,
            failed,
            forgiven,
            drained,
        } = self;
        let moment = |at: &Option<i64>| at.map(|at| at.to_string());
        let flag = |on: bool| on.then(|| "1".to_owned());
        let failure = failed.as_ref().map(|f| format!("{} {}", f.cause.as_str(), f.at));
        let why = failed.as_ref().map(|f| shortened(&f.why)).filter(|why| !why.is_empty());
        let all = [
            ("made", Some(made.to_string())),
            ("proof", Some(proof.clone())),
            ("template", template.map(|vmid| vmid.to_string())),
            ("tries", (*tries > 0).then(|| tries.to_string())),
            ("started", moment(started)),
            ("registering", moment(registering)),
            ("online", moment(online)),
            ("busy", moment(busy)),
            ("ended", moment(ended)),
            ("failed", failure),
            ("why", why),
            ("forgiven", flag(*forgiven)),
            ("drained", flag(*drained)),
        ];
        all.into_iter().filter_map(|(key, value)| Some((format!("runner.{key}"), value?))).collect()
    }
}

/// The beginning of a text, such as the marker keeps whole.
fn shortened(text: &str) -> String {
    let fits = |at: usize| text.is_char_boundary(at);
    let end = (0..=text.len().min(WHY_BYTES_MAX)).rev().find(|at| fits(*at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::marker::Marker;
    use crate::resource::reference::ResourceRef;

    #[test]
    fn they_are_read_as_they_are_written() {
        let why = "the hook before the runner ended with 3 — ä and much more to say than fits".to_owned();
        for cause in CAUSES {
            let marks = Marks {
                made: 1_795_315_200,
                proof: "ab12".into(),
                template: VmId::new(9000),
                tries: 3,
                started: Some(1),
                registering: Some(2),
                online: Some(3),
                busy: Some(4),
                ended: Some(5),
                failed: Some(Failure { cause, at: 6, why: shortened(&why) }),
                forgiven: true,
                drained: true,
            };
            let marker = Marker {
                owner: ResourceRef::new("RunnerPool", "ci:50000"),
                set: "home".into(),
                vmid: Some(50_000),
                retain: false,
                member_of: None,
                source: None,
                version: None,
                applied: marks.write(),
            };
            let (_, read) = Marker::split(&marker.join(""));
            assert_eq!(Marks::read(&read.expect("a marker").applied), marks);
        }
        assert_eq!(Marks::read(&Marks::default().write()), Marks::default());
    }
}
