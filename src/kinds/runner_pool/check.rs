//! What is wrong with a pool whatever the cluster is like, each with its field.

use crate::github::place::{Scope, SecretRef};
use crate::host::guest::HostKeys;
use crate::host::ssh::options::Spot;
use crate::host::token::Token;
use crate::kinds::runner_pool::spec::{AuthSpec, DemandMode, Os, RegistrationMode, RunnerPoolSpec, Via};
use crate::kinds::runner_pool::warm;
use crate::resource::step::Problem;
use std::collections::BTreeSet;
use std::path::Path;

/// As long as GitHub takes a label.
const LABEL_CHARACTERS_MAX: usize = 256;
/// As long as a hook may be: it goes with the program that begins the runner.
const HOOK_CHARACTERS_MAX: usize = 4000;

/// Everything that is wrong.
pub fn check(spec: &RunnerPoolSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    github(spec, &mut problems);
    labels(spec, &mut problems);
    size(spec, &mut problems);
    demand(spec, &mut problems);
    bootstrap(spec, &mut problems);
    timeouts(spec, &mut problems);
    problems.extend(warm::check(spec));
    problems
}

fn github(spec: &RunnerPoolSpec, problems: &mut Vec<Problem>) {
    let github = &spec.github;
    if !github.scope.is_plain() {
        let (field, help) = match &github.scope {
            Scope::Organization(_) => ("organization", "its name, as in https://github.com/NAME"),
            Scope::Repository(_) => ("repository", "`owner/name`"),
            Scope::Enterprise(_) => ("enterprise", "its slug, as in https://github.com/enterprises/SLUG"),
        };
        problems.push(Problem::new(&format!("github.scope.{field}"), "GitHub has no such names").help(help));
    }
    if let Some(url) = &github.api_url {
        let rest = url.strip_prefix("https://").or_else(|| local(url));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/[]".contains(c);
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(plain)) {
            problems.push(
                Problem::new("github.apiUrl", format!("`{url}` is no base of GitHub's API"))
                    .help("leave it out for github.com; https://HOST/api/v3 for a GitHub Enterprise Server"),
            );
        }
    }
    match &github.auth {
        AuthSpec::App(app) => {
            if app.id.0.is_empty() || !app.id.0.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') {
                problems.push(
                    Problem::new("github.auth.app.id", "it is neither a client id nor a number")
                        .help("both stand on the App's settings page"),
                );
            }
            if app.installation_id == 0 {
                problems.push(Problem::new("github.auth.app.installationId", "there is no installation 0"));
            }
            secret(&app.private_key, "github.auth.app.privateKey", problems);
        }
        AuthSpec::Token(token) => secret(token, "github.auth.token", problems),
    }
    github.webhook_secret.iter().for_each(|of| secret(of, "github.webhookSecret", problems));
    for (at, repository) in github.repositories.iter().enumerate() {
        let field = format!("github.repositories.{at}");
        let owner = repository.split_once('/').map_or("", |(owner, _)| owner);
        let of_scope = match &github.scope {
            Scope::Organization(name) => owner.eq_ignore_ascii_case(name),
            Scope::Repository(one) => repository.eq_ignore_ascii_case(one),
            Scope::Enterprise(_) => true,
        };
        if !Scope::Repository(repository.clone()).is_plain() {
            problems.push(Problem::new(&field, format!("`{repository}` is no repository")).help("`owner/name`"));
        } else if !of_scope {
            let message = format!("`{repository}` is not of `{}`: its jobs never come here", github.scope);
            problems.push(Problem::new(&field, message).help("take it out, or give it a pool of its own"));
        }
    }
}

/// What follows `http://` of our own machine: a tunnel, a test.
fn local(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://")?;
    let host = rest.split(['/', ':']).next()?;
    (matches!(host, "localhost" | "127.0.0.1") || rest.starts_with("[::1]")).then_some(rest)
}

fn secret(of: &SecretRef, field: &str, problems: &mut Vec<Problem>) {
    let empty = match of {
        SecretRef::Env(name) | SecretRef::File(name) => name.is_empty(),
        SecretRef::Command(words) => words.first().is_none_or(String::is_empty),
    };
    if empty {
        problems.push(
            Problem::new(field, "it does not say where the secret stands").help("{file: /etc/pvectl/github.pem}"),
        );
    }
}

fn labels(spec: &RunnerPoolSpec, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (at, label) in spec.labels.iter().enumerate() {
        let field = format!("labels.{at}");
        let odd = |c: char| c == ',' || c.is_control() || c.is_whitespace();
        if label.is_empty() || label.chars().count() > LABEL_CHARACTERS_MAX || label.contains(odd) {
            let message = format!("`{label}` is no label of GitHub's");
            problems.push(Problem::new(&field, message).help("one word, without comma and blank"));
        } else if !seen.insert(label.to_lowercase()) {
            problems
                .push(Problem::new(&field, format!("`{label}` stands here twice; GitHub does not tell case apart")));
        }
    }
}

fn size(spec: &RunnerPoolSpec, problems: &mut Vec<Problem>) {
    let size = &spec.size;
    if size.max == 0 {
        problems.push(Problem::new("size.max", "no machine could ever be made").help("say 1 or more"));
    }
    if size.max_starting == 0 {
        problems.push(Problem::new("size.maxStarting", "no machine could ever be made").help("say 1 or more"));
    }
    if size.min_idle > size.max {
        let message = format!("there are never more than {} machines (`size.max`)", size.max);
        problems.push(Problem::new("size.minIdle", message).help("say less here, or more there"));
    }
    let (first, last) = (spec.vmid_range.0.get(), spec.vmid_range.1.get());
    let (numbers, wanted) = (last - first + 1, size.max.saturating_add(spec.on_failure.keep));
    if numbers < wanted {
        let message = format!("it has {numbers} numbers, and {wanted} machines may be there at once");
        problems.push(Problem::new("vmidRange", message).help("widen it: `size.max`, `onFailure.keep` and some more"));
    }
    let mut seen = BTreeSet::new();
    for (at, node) in spec.nodes.iter().enumerate() {
        if !seen.insert(node) {
            problems.push(Problem::new(&format!("nodes.{at}"), format!("`{node}` stands here twice")));
        }
    }
    let mut slots = BTreeSet::new();
    for (at, network) in spec.networks.iter().enumerate() {
        if !slots.insert(&network.slot) {
            let message = format!("`{}` stands here twice", network.slot);
            problems.push(Problem::new(&format!("networks.{at}.slot"), message));
        }
    }
}

fn demand(spec: &RunnerPoolSpec, problems: &mut Vec<Problem>) {
    let github = &spec.github;
    match spec.demand {
        DemandMode::ScaleSet => {
            if spec.bootstrap.registration == RegistrationMode::Token {
                problems.push(
                    Problem::new("bootstrap.registration", "runners of a scale set are registered just in time")
                        .help("leave it out, or say another `demand`"),
                );
            }
        }
        DemandMode::Webhook => {
            if github.webhook_secret.is_none() {
                problems.push(
                    Problem::new("github.webhookSecret", "anybody could say that jobs wait")
                        .help("give the webhook a secret on GitHub, and say here where it stands"),
                );
            }
        }
        DemandMode::Polling => {
            let one = matches!(github.scope, Scope::Repository(_));
            if !one && github.repositories.is_empty() {
                problems.push(
                    Problem::new("github.repositories", "GitHub tells of queued jobs by repository only")
                        .help("name the repositories, or say `demand: ScaleSet`"),
                );
            }
        }
        DemandMode::Idle => {
            if spec.size.min_idle == 0 && spec.warm.iter().all(|warm| warm.min_idle == 0) {
                problems.push(
                    Problem::new("size.minIdle", "no machine would ever be made: nobody is asked whether jobs wait")
                        .help("say 1 or more, here or in `warm`"),
                );
            }
        }
    }
}

fn bootstrap(spec: &RunnerPoolSpec, problems: &mut Vec<Problem>) {
    let bootstrap = &spec.bootstrap;
    let directory = spec.directory();
    let odd = |c: char| c.is_control() || "\"'`$".contains(c);
    let drive = |d: &str| d.chars().next().is_some_and(|c| c.is_ascii_alphabetic()) && d[1..].starts_with(r":\");
    let (absolute, like) = match bootstrap.os {
        Os::Linux => (directory.starts_with('/'), "/opt/actions-runner"),
        Os::Windows => (drive(directory), r"C:\actions-runner"),
    };
    if !absolute || directory.contains(odd) {
        let message = format!("`{directory}` is no whole path of such a system");
        problems.push(Problem::new("bootstrap.directory", message).help(format!("write it like {like}")));
    }
    if let Some(user) = &bootstrap.user {
        if bootstrap.os == Os::Windows {
            let message = "on Windows the runner runs as the system's own account";
            problems.push(Problem::new("bootstrap.user", message).help("leave it out"));
        } else if Token::argument(user.as_str()).is_none_or(|user| user.as_str().contains([':', '/', '='])) {
            problems.push(Problem::new("bootstrap.user", format!("`{user}` is no name of a user")));
        }
    }
    let folder = spec.work_folder();
    if folder.is_empty() || folder.contains(|c: char| odd(c) || c.is_whitespace()) {
        problems.push(Problem::new("bootstrap.workFolder", format!("`{folder}` is no folder")).help("such as _work"));
    }
    for (field, hook) in [("before", &bootstrap.before), ("after", &bootstrap.after)] {
        let Some(hook) = hook else { continue };
        let field = format!("bootstrap.{field}");
        if hook.contains(['\n', '\r', '\0']) {
            let help = "put what takes several lines into a script in the template, and name that";
            problems.push(Problem::new(&field, "it has a line break in it").help(help));
        } else if hook.len() > HOOK_CHARACTERS_MAX {
            problems.push(Problem::new(&field, format!("it is longer than {HOOK_CHARACTERS_MAX} characters")));
        }
    }
    match (bootstrap.via, &bootstrap.ssh) {
        (Some(Via::Ssh), None) => problems.push(
            Problem::new("bootstrap.ssh", "it is not said as whom machines are reached").help("say `ssh: {user: ci}`"),
        ),
        (Some(Via::Ssh), Some(ssh)) => {
            if Token::argument(ssh.user.as_str()).is_none_or(|user| user.as_str().contains([':', '@', '/', '='])) {
                problems.push(Problem::new("bootstrap.ssh.user", format!("`{}` is no name of a user", ssh.user)));
            }
            let spot = |text: &str| text.starts_with('/') && Spot::new(Path::new(text)).is_some();
            if !spot(&ssh.private_key.file) {
                problems.push(
                    Problem::new(
                        "bootstrap.ssh.privateKey.file",
                        format!("`{}` is no such path", ssh.private_key.file),
                    )
                    .help("an absolute path without blanks, such as /etc/pvectl/runner_ed25519"),
                );
            }
            let ways = [ssh.known_hosts.is_some(), ssh.host_key.is_some(), ssh.accept_new];
            if ways.into_iter().filter(|said| *said).count() != 1 {
                problems.push(
                    Problem::new("bootstrap.ssh", "which host keys are believed is not said in exactly one way")
                        .help("`hostKey: ssh-ed25519 AAAA…` (the template's), `knownHosts: FILE`, or `acceptNew: true` where nobody else is on that network"),
                );
            }
            if ssh.known_hosts.as_deref().is_some_and(|file| !spot(file)) {
                problems.push(Problem::new("bootstrap.ssh.knownHosts", "it is no absolute path without blanks"));
            }
            if ssh.host_key.as_deref().is_some_and(|key| HostKeys::pinned(key).is_none()) {
                problems.push(
                    Problem::new("bootstrap.ssh.hostKey", "it is no host key")
                        .help("as ssh-keyscan has it: ssh-ed25519 AAAA…"),
                );
            }
        }
        (Some(Via::GuestAgent | Via::HostLink) | None, Some(_)) => problems.push(
            Problem::new("bootstrap.ssh", "it is said how machines are reached by SSH, and they are not")
                .help("say `via: SSH`, or leave it out"),
        ),
        (Some(Via::GuestAgent | Via::HostLink) | None, None) => {}
    }
    if bootstrap.os == Os::Windows && bootstrap.via == Some(Via::HostLink) {
        problems.push(
            Problem::new("bootstrap.via", "by the host link only containers are reached, which are Linux")
                .help("say `via: GuestAgent`"),
        );
    }
}

fn timeouts(spec: &RunnerPoolSpec, problems: &mut Vec<Problem>) {
    let t = &spec.timeouts;
    let at_least = [
        ("clone", t.clone, 10),
        ("address", t.address, 5),
        ("ready", t.ready, 10),
        ("online", t.online, 10),
        ("job", t.job, 60),
        ("idle", t.idle, 60),
        ("maxLifetime", t.max_lifetime, 300),
    ];
    for (field, span, least) in at_least {
        if span.signed() < least {
            let message = format!("nothing could ever be done in time: less than {least} s");
            problems.push(Problem::new(&format!("timeouts.{field}"), message).help("say more"));
        }
    }
    if t.min_idle_age.0 >= t.idle.0 {
        problems.push(
            Problem::new("timeouts.minIdleAge", "a runner would be replaced for its age before it may go")
                .help("say less than `idle`"),
        );
    }
    if t.job.0 > t.max_lifetime.0 {
        problems.push(
            Problem::new("timeouts.maxLifetime", "it ends before a job that may take `job`")
                .help("say more than `job`"),
        );
    }
    if spec.watchdog.queued.0 < 10 {
        problems.push(Problem::new("watchdog.queued", "every job waits for some seconds").help("say 1m or more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(change: &[(&str, Value)]) -> RunnerPoolSpec {
        let mut spec = json!({
            "github": {"scope": {"organization": "acme"}, "auth": {"token": {"env": "GITHUB_TOKEN"}}},
            "labels": ["self-hosted", "x64"], "template": "debian", "size": {"max": 4},
            "vmidRange": "50000-50099", "bootstrap": {},
        });
        for (path, value) in change {
            let (parents, last) = path.rsplit_once('/').unwrap_or(("", path));
            let parent = parents.split('/').filter(|p| !p.is_empty()).fold(&mut spec, |at, key| &mut at[key]);
            parent[last] = value.clone();
        }
        serde_json::from_value(spec).expect("is a spec")
    }

    #[test]
    fn a_plain_pool_is_well() {
        assert_eq!(check(&spec(&[])), []);
        let app = json!({"app": {"id": 1, "installationId": 2, "privateKey": {"file": "/etc/pvectl/app.pem"}}});
        let windows = json!({"os": "Windows", "directory": r"D:\runner", "hostName": true, "version": "2.330.0"});
        assert_eq!(check(&spec(&[("github/auth", app), ("bootstrap", windows)])), []);
        let ssh = json!({"via": "SSH", "ssh": {"user": "ci", "privateKey": {"file": "/k"}, "knownHosts": "/h"}});
        assert_eq!(check(&spec(&[("bootstrap", ssh)])), []);
        let idle =
            json!([{"schedule": "Mon..Fri 08:00", "duration": "10h", "timeZone": "Europe/Berlin", "minIdle": 4}]);
        assert_eq!(check(&spec(&[("demand", json!("Idle")), ("warm", idle)])), []);
        let local = json!("http://127.0.0.1:8080");
        assert_eq!(check(&spec(&[("github/apiUrl", local)])), []);
    }

    fn ssh(more: Value) -> Value {
        let mut ssh = json!({"user": "ci", "privateKey": {"file": "/k"}});
        ssh.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
        json!({"via": "SSH", "ssh": ssh})
    }

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        let token = json!("Token");
        for (path, value, field) in [
            ("github/scope", json!({"organization": "a/b"}), "github.scope.organization"),
            ("github/scope", json!({"repository": "acme"}), "github.scope.repository"),
            ("github/apiUrl", json!("http://github.example.com/api/v3"), "github.apiUrl"),
            ("github/apiUrl", json!("https://x?y"), "github.apiUrl"),
            ("github/auth", json!({"token": {"env": ""}}), "github.auth.token"),
            ("github/repositories", json!(["acme/a", "other/b"]), "github.repositories.1"),
            ("labels", json!(["a", "b c"]), "labels.1"),
            ("labels", json!(["a", "A"]), "labels.1"),
            ("size/minIdle", json!(5), "size.minIdle"),
            ("size/maxStarting", json!(0), "size.maxStarting"),
            ("vmidRange", json!("500-502"), "vmidRange"),
            ("nodes", json!(["pve1", "pve1"]), "nodes.1"),
            ("networks", json!([{"slot": "net0"}, {"slot": "net0"}]), "networks.1.slot"),
            ("demand", json!("Webhook"), "github.webhookSecret"),
            ("demand", json!("Polling"), "github.repositories"),
            ("demand", json!("Idle"), "size.minIdle"),
            ("bootstrap/registration", token, "bootstrap.registration"),
            ("bootstrap/directory", json!("runner"), "bootstrap.directory"),
            ("bootstrap", json!({"os": "Windows", "directory": "/opt/x"}), "bootstrap.directory"),
            ("bootstrap", json!({"os": "Windows", "user": "ci"}), "bootstrap.user"),
            ("bootstrap", json!({"os": "Windows", "via": "HostLink"}), "bootstrap.via"),
            ("bootstrap/workFolder", json!("my work"), "bootstrap.workFolder"),
            ("bootstrap/before", json!("a\nb"), "bootstrap.before"),
            ("bootstrap/via", json!("SSH"), "bootstrap.ssh"),
            ("bootstrap", ssh(json!({})), "bootstrap.ssh"),
            ("bootstrap", ssh(json!({"acceptNew": true, "knownHosts": "/h"})), "bootstrap.ssh"),
            ("bootstrap", ssh(json!({"knownHosts": "h"})), "bootstrap.ssh.knownHosts"),
            ("bootstrap", ssh(json!({"hostKey": "nonsense"})), "bootstrap.ssh.hostKey"),
            (
                "bootstrap",
                ssh(json!({"acceptNew": true, "privateKey": {"file": "k"}})),
                "bootstrap.ssh.privateKey.file",
            ),
            ("bootstrap/ssh", json!({"user": "ci", "privateKey": {"file": "/k"}}), "bootstrap.ssh"),
            ("timeouts", json!({"clone": "1s"}), "timeouts.clone"),
            ("timeouts", json!({"maxLifetime": "1h"}), "timeouts.maxLifetime"),
            ("timeouts", json!({"idle": "60s", "minIdleAge": "60s"}), "timeouts.minIdleAge"),
            ("watchdog", json!({"queued": "1s"}), "watchdog.queued"),
            ("warm", json!([{"duration": "1h", "minIdle": 1}]), "warm.0"),
            ("warm", json!([{"schedule": "nonsense", "duration": "1h", "minIdle": 1}]), "warm.0.schedule"),
            (
                "warm",
                json!([{"schedule": "02:00", "timeZone": "Mars/X", "duration": "1h", "minIdle": 1}]),
                "warm.0.timeZone",
            ),
            ("warm", json!([{"cron": "0 8 * * *", "duration": "10d", "minIdle": 1}]), "warm.0.duration"),
            ("warm", json!([{"cron": "0 8 * * *", "duration": "1h", "minIdle": 9}]), "warm.0.minIdle"),
        ] {
            let problems = check(&spec(&[(path, value.clone())]));
            let fields: Vec<String> = problems.iter().map(|p| p.path.join(".")).collect();
            assert_eq!(fields, [field], "{path}: {value}");
        }
    }
}
