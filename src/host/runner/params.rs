//! A start as the arguments of its program, and as the parameters of a request; and the secret that a request carries.

use crate::base::secret::Secret;
use crate::host::job::System;
use crate::host::runner::{Registration, Start};

/// What a start is called in a request, in the order of the program's arguments.
const KEYS: [&str; 12] = [
    "name",
    "directory",
    "user",
    "host-name",
    "version",
    "before",
    "after",
    "registration",
    "url",
    "labels",
    "group",
    "folder",
];

/// The secret that a request carries; none yet where a plan holds it, as an earlier answer brings it. It is in no `Debug`.
#[derive(Clone, Debug, Default)]
pub struct Handed(Option<Secret>);

impl Handed {
    /// The parameter in which a request has it, as the guest agent's `exec` calls its standard input.
    pub const PARAM: &str = "input-data";

    /// A secret; an empty one is none.
    pub fn new(text: &str) -> Handed {
        Handed((!text.is_empty()).then(|| Secret::new(text)))
    }

    /// The secret of a request.
    pub fn of(params: &[(String, String)]) -> Handed {
        Handed::new(params.iter().find(|(key, _)| key == Handed::PARAM).map_or("", |(_, value)| value))
    }

    /// The secret itself, for the one place that writes it; `None` where there is none.
    pub fn expose(&self) -> Option<&str> {
        self.0.as_ref().map(Secret::expose)
    }
}

impl PartialEq for Handed {
    fn eq(&self, other: &Handed) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Handed {}

impl Start {
    /// What a request says of it. The secret is not in it.
    pub fn params(&self) -> Vec<(String, String)> {
        let system = if self.system == System::Windows { "windows" } else { "linux" };
        let mut words = self.words();
        if self.system == System::Windows {
            words.insert(2, String::new());
        }
        let pairs = KEYS.into_iter().zip(words).filter(|(_, word)| !word.is_empty());
        let pairs = pairs.map(|(key, word)| (key.to_owned(), word));
        [("system".to_owned(), system.to_owned())].into_iter().chain(pairs).collect()
    }

    /// What such parameters say; `None` where they are of no start that could be begun. Others are passed over.
    pub fn of_params(params: &[(String, String)]) -> Option<Start> {
        let param = |key: &str| params.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value.as_str());
        let mut words: Vec<String> = KEYS.iter().map(|key| param(key).to_owned()).collect();
        let system = match param("system") {
            "linux" => System::Linux,
            "windows" if words.remove(2).is_empty() => System::Windows,
            _ => return None,
        };
        Start::of_args(system, &words).filter(|start| start.check().is_ok())
    }

    /// The program's arguments. What is not asked for is empty.
    pub(super) fn words(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let host_name = if self.host_name { "1" } else { "0" }.to_owned();
        let mut out = vec![self.name.clone(), self.directory.clone()];
        if self.system != System::Windows {
            out.push(text(&self.user));
        }
        out.extend([host_name, text(&self.version), text(&self.before), text(&self.after)]);
        match &self.registration {
            Registration::JustInTime => out.extend(["jit", "", "", "", ""].map(str::to_owned)),
            Registration::Token { url, labels, group, folder } => {
                out.extend(["token".to_owned(), url.clone(), labels.join(","), group.clone(), folder.clone()]);
            }
        }
        out
    }

    pub(super) fn of_args(system: System, args: &[String]) -> Option<Start> {
        let (name, directory, user, rest) = match (system, args) {
            (System::Windows, [name, directory, rest @ ..]) => (name, directory, "", rest),
            (System::Linux, [name, directory, user, rest @ ..]) => (name, directory, user.as_str(), rest),
            (System::Linux | System::Windows | System::Node, _) => return None,
        };
        let [host_name, version, before, after, way, url, labels, group, folder] = rest else { return None };
        let asked = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let registration = match way.as_str() {
            "jit" => Registration::JustInTime,
            "token" => Registration::Token {
                url: url.clone(),
                labels: labels.split(',').map(str::to_owned).collect(),
                group: group.clone(),
                folder: folder.clone(),
            },
            _ => return None,
        };
        Some(Start {
            system,
            name: name.clone(),
            directory: directory.clone(),
            user: asked(user),
            host_name: host_name == "1",
            version: asked(version),
            before: asked(before),
            after: asked(after),
            registration,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::runner::begin::tests::start;

    #[test]
    fn a_start_is_its_parameters() {
        let token = Registration::Token {
            url: "https://github.com/acme".into(),
            labels: vec!["self-hosted".into(), "a b".into()],
            group: String::new(),
            folder: "_work".into(),
        };
        for system in [System::Linux, System::Windows] {
            for registration in [Registration::JustInTime, token.clone()] {
                let start = Start { registration, ..start(system) };
                let mut params = start.params();
                params.push((Handed::PARAM.to_owned(), "c2VjcmV0".to_owned()));
                assert_eq!(Start::of_params(&params), Some(start));
                assert_eq!(Handed::of(&params).expose(), Some("c2VjcmV0"));
            }
        }
        let mut params = start(System::Linux).params();
        assert_eq!(Handed::of(&params), Handed::default());
        params.retain(|(key, _)| key != "directory");
        assert_eq!(Start::of_params(&params), None);
    }

    #[test]
    fn a_secret_is_in_no_debug() {
        let handed = Handed::new("c2VjcmV0");
        assert!(!format!("{handed:?}").contains("c2Vj"));
        assert_ne!(handed, Handed::new("b3RoZXI="));
    }
}
