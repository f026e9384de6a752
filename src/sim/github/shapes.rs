//! How GitHub shows things in JSON.

use super::state::{GitHub, Job, Registered, Status};
use super::words::time;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// What a repository's addresses end with.
const REPOSITORY_URLS: &[(&str, &str)] = &[
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

/// What a user's addresses end with.
const USER_URLS: &[(&str, &str)] = &[
    ("events_url", "/events{/privacy}"),
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("organizations_url", "/orgs"),
    ("received_events_url", "/received_events"),
    ("repos_url", "/repos"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("url", ""),
];

/// A number for a name, always the same.
fn number(name: &str) -> u64 {
    Sha256::digest(name.as_bytes()).iter().take(4).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// Where people look: `https://github.com`.
pub(super) fn site(api: &str) -> String {
    match api.strip_suffix("/api/v3") {
        Some(server) => server.to_owned(),
        None => api.replacen("://api.", "://", 1),
    }
}

fn with_urls(mut object: Value, base: &str, urls: &[(&str, &str)]) -> Value {
    for (key, end) in urls {
        object[*key] = format!("{base}{end}").into();
    }
    object
}

/// A user, or the owner of repositories.
pub(super) fn user(api: &str, login: &str) -> Value {
    let about = json!({
        "login": login, "id": number(login), "node_id": format!("U_{}", number(login)), "gravatar_id": "", "site_admin": false,
        "type": if login == "octocat" { "User" } else { "Organization" },
        "html_url": format!("{}/{login}", site(api)),
        "avatar_url": format!("{}/avatars/{}", site(api), number(login)),
    });
    with_urls(about, &format!("{api}/users/{login}"), USER_URLS)
}

/// An organisation.
pub(super) fn organization(api: &str, login: &str) -> Value {
    let base = format!("{api}/orgs/{login}");
    json!({
        "login": login, "id": number(login), "node_id": format!("O_{}", number(login)), "url": base,
        "repos_url": format!("{base}/repos"), "events_url": format!("{base}/events"), "hooks_url": format!("{base}/hooks"),
        "issues_url": format!("{base}/issues"), "members_url": format!("{base}/members{{/member}}"),
        "public_members_url": format!("{base}/public_members{{/member}}"),
        "avatar_url": format!("{}/avatars/{}", site(api), number(login)), "description": null,
    })
}

/// A repository as lists show it.
pub(super) fn repository(api: &str, full_name: &str) -> Value {
    let (owner, name) = full_name.split_once('/').unwrap_or((full_name, full_name));
    let about = json!({
        "id": number(full_name), "node_id": format!("R_{}", number(full_name)), "name": name, "full_name": full_name,
        "owner": user(api, owner), "private": true, "description": null, "fork": false,
        "html_url": format!("{}/{full_name}", site(api)),
    });
    with_urls(about, &format!("{api}/repos/{full_name}"), REPOSITORY_URLS)
}

/// What webhooks tell of a repository besides.
pub(super) fn complete_repository(repository: &mut Value, created_ms: u64) {
    let (created, page) = (time(created_ms), repository["html_url"].as_str().unwrap_or_default().to_owned());
    let host = page.trim_start_matches("https://").to_owned();
    let more = json!({
        "clone_url": format!("{page}.git"), "git_url": format!("git://{host}.git"), "svn_url": page,
        "ssh_url": format!("git@{}.git", host.replacen('/', ":", 1)), "default_branch": "main",
        "forks": 0, "forks_count": 0, "open_issues": 0, "open_issues_count": 0, "size": 1, "stargazers_count": 0,
        "watchers": 0, "watchers_count": 0, "has_downloads": true, "has_issues": true, "has_projects": true,
        "has_wiki": true, "has_pages": false, "has_discussions": false, "homepage": null, "language": null,
        "archived": false, "disabled": false, "mirror_url": null, "license": null, "allow_forking": true,
        "is_template": false, "web_commit_signoff_required": false, "topics": [], "visibility": "private",
        "created_at": created, "updated_at": created, "pushed_at": created,
    });
    if let (Value::Object(all), Value::Object(more)) = (repository, more) {
        all.extend(more);
    }
}

/// A runner that is registered.
pub(super) fn runner(runner: &Registered) -> Value {
    let own = ["self-hosted", "linux", "windows", "x64", "arm64"];
    let label = |(at, name): (usize, &String)| {
        let kind = if own.contains(&name.to_ascii_lowercase().as_str()) { "read-only" } else { "custom" };
        json!({ "id": at + 1, "name": name, "type": kind })
    };
    json!({
        "id": runner.id,
        "runner_group_id": runner.group,
        "name": runner.name,
        "os": if runner.os.is_empty() { "unknown" } else { runner.os.as_str() },
        "status": if runner.online { "online" } else { "offline" },
        "busy": runner.busy,
        "ephemeral": true,
        "labels": runner.labels.iter().enumerate().map(label).collect::<Vec<_>>(),
        "version": runner.version,
    })
}

fn status(job: &Job) -> &'static str {
    match job.status {
        Status::Waiting => "waiting",
        Status::Queued => "queued",
        Status::InProgress => "in_progress",
        Status::Completed => "completed",
    }
}

/// A job.
pub(super) fn job(github: &GitHub, job: &Job) -> Value {
    let base = format!("{}/repos/{}", job.api, job.repository);
    let page = format!("{}/{}/actions/runs/{}", site(&job.api), job.repository, job.run);
    let (runner, name) = job.runner.clone().map_or((Value::Null, Value::Null), |(id, name)| (id.into(), name.into()));
    let group = job.runner.as_ref().map(|(id, _)| github.runners.get(id).map_or(1, |runner| runner.group));
    let ended = job.ended_ms.map(time);
    let began = job.started_ms.map(time);
    let step = |name: &str, number: u64, done: bool| {
        json!({
            "name": name, "number": number, "status": if done { "completed" } else { "in_progress" },
            "conclusion": if done { Some("success") } else { None }, "started_at": began,
            "completed_at": if done { ended.as_ref().or(began.as_ref()) } else { None },
        })
    };
    let done = job.status == Status::Completed;
    let steps = match job.started_ms {
        Some(_) => vec![step("Set up job", 1, true), step("Run make", 2, done)],
        None => Vec::new(),
    };
    json!({
        "id": job.id, "run_id": job.run, "run_attempt": 1, "node_id": format!("CR_{}", job.id),
        "run_url": format!("{base}/actions/runs/{}", job.run), "url": format!("{base}/actions/jobs/{}", job.id),
        "html_url": format!("{page}/job/{}", job.id), "check_run_url": format!("{base}/check-runs/{}", job.id),
        "head_sha": sha(job.run), "head_branch": "main", "workflow_name": "CI", "name": job.name,
        "status": status(job), "conclusion": job.conclusion,
        "created_at": time(job.queued_ms), "started_at": began.clone().unwrap_or_else(|| time(job.queued_ms)),
        "completed_at": ended, "steps": steps, "labels": job.labels,
        "runner_id": runner, "runner_name": name,
        "runner_group_id": group, "runner_group_name": group.map(|id| github.group_name(id)),
    })
}

fn sha(number: u64) -> String {
    hex::encode(Sha256::digest(number.to_be_bytes()))[..40].to_owned()
}

/// How the run of some jobs stands.
pub(super) fn run_status(jobs: &[&Job]) -> &'static str {
    let all = |status: Status| jobs.iter().all(|job| job.status == status);
    if all(Status::Completed) {
        "completed"
    } else if all(Status::Queued) {
        "queued"
    } else if jobs.iter().all(|job| matches!(job.status, Status::Waiting | Status::Completed)) {
        "waiting"
    } else {
        "in_progress"
    }
}

/// The run of some jobs; there is one at least.
pub(super) fn run(id: u64, jobs: &[&Job]) -> Value {
    let Some(first) = jobs.first() else { return Value::Object(Map::new()) };
    let base = format!("{}/repos/{}/actions/runs/{id}", first.api, first.repository);
    let workflow = format!("{}/repos/{}/actions/workflows/1", first.api, first.repository);
    let repository = repository(&first.api, &first.repository);
    let state = run_status(jobs);
    let worst =
        ["failure", "cancelled"].into_iter().find(|c| jobs.iter().any(|job| job.conclusion.as_deref() == Some(*c)));
    let last = jobs.iter().filter_map(|job| job.ended_ms.or(job.started_ms)).max().unwrap_or(first.queued_ms);
    let who = json!({ "name": "Mona", "email": "mona@example.com" });
    json!({
        "id": id, "name": "CI", "node_id": format!("WFR_{id}"), "head_branch": "main", "head_sha": sha(id),
        "path": ".github/workflows/ci.yml", "display_title": "a change", "run_number": id, "run_attempt": 1, "event": "push",
        "status": state, "conclusion": if state == "completed" { Some(worst.unwrap_or("success")) } else { None },
        "workflow_id": 1, "url": base, "html_url": format!("{}/{}/actions/runs/{id}", site(&first.api), first.repository),
        "pull_requests": [], "created_at": time(first.queued_ms), "updated_at": time(last),
        "jobs_url": format!("{base}/jobs"), "logs_url": format!("{base}/logs"), "cancel_url": format!("{base}/cancel"),
        "rerun_url": format!("{base}/rerun"), "artifacts_url": format!("{base}/artifacts"),
        "check_suite_url": format!("{}/repos/{}/check-suites/{id}", first.api, first.repository),
        "previous_attempt_url": null, "workflow_url": workflow,
        "head_commit": {
            "id": sha(id), "tree_id": sha(id + 1), "message": "a change", "timestamp": time(first.queued_ms), "author": who,
            "committer": who,
        },
        "repository": repository, "head_repository": repository,
    })
}
