//! `auth setup` and `auth check`: the least that a token must be allowed, as commands, or done; and what it lacks.

use crate::base::secret::Secret;
use crate::cli::args::auth::{Auth, AuthSetup};
use crate::cli::args::{Global, Sources};
use crate::cli::job::{AtTerminal, Person};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::cli::{exit, manifests};
use crate::engine::observe::{get, index};
use crate::engine::reconcile::Cluster;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::{Call, Method, Query, segment};
use std::collections::BTreeSet;
use std::io::Write;

/// What everybody needs: the index.
const ALWAYS: [&str; 4] = ["Datastore.Audit", "Pool.Audit", "Sys.Audit", "VM.Audit"];
const POOLS: [&str; 1] = ["Pool.Allocate"];
/// `Sys.Modify`: PVE wants it for `startup`, and, with `Sys.Audit`, to let a node download. `SDN.Use`: for bridges.
/// `Datastore.AllocateTemplate`: to fetch images and templates. `VM.Backup`: to restore a guest's backup as another.
const GUESTS: [&str; 14] = [
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "SDN.Use",
    "Sys.Modify",
    "VM.Allocate",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
];
const MACHINES: [&str; 1] = ["VM.Config.Cloudinit"];

/// The privileges that kinds take, by the kinds' names. All of them hold in PVE 8 and 9 alike.
pub fn privileges<'a>(kinds: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'static str> {
    let mut all = BTreeSet::from(ALWAYS);
    for kind in kinds {
        match kind {
            "Pool" => all.extend(POOLS),
            "Container" => all.extend(GUESTS),
            "Role" => all.extend(["Sys.Audit", "Sys.Modify"]),
            "Group" => all.extend(["Group.Allocate", "Sys.Audit"]),
            "User" => all.extend(["Realm.AllocateUser", "Sys.Audit", "User.Modify"]),
            "ApiToken" => all.extend(["Sys.Audit", "User.Modify"]),
            "AclEntry" => all.extend(["Permissions.Modify", "Sys.Audit"]),
            "Storage" => all.extend(["Datastore.Allocate", "Datastore.Audit"]),
            "SdnZone" | "SdnVnet" | "SdnSubnet" => all.extend(["SDN.Allocate", "SDN.Audit"]),
            "BackupJob" => {
                all.extend(["Datastore.Allocate", "Datastore.Audit", "Sys.Audit", "Sys.Modify", "VM.Backup"])
            }
            "BackupPolicy" => all.extend([
                "Datastore.Allocate",
                "Datastore.Audit",
                "Pool.Audit",
                "Sys.Audit",
                "Sys.Modify",
                "VM.Audit",
                "VM.Backup",
            ]),
            "FirewallAlias" | "IpSet" | "SecurityGroup" => all.extend(["Sys.Audit", "Sys.Modify"]),
            "FirewallOptions" => all.extend(["Sys.Audit", "Sys.Modify", "VM.Audit", "VM.Config.Network"]),
            _ => all.extend(GUESTS.into_iter().chain(MACHINES)),
        }
    }
    all
}

/// What is to be there: a role, a user, and a token of that user.
#[derive(Debug)]
pub struct Account<'a> {
    /// The role's id.
    pub role: &'a str,
    /// What the role holds.
    pub privileges: BTreeSet<&'static str>,
    /// `user@realm`.
    pub user: &'a str,
    /// The token's name.
    pub token: &'a str,
}

impl Account<'_> {
    /// The commands that make it, for an administrator on a node.
    pub fn commands(&self) -> String {
        let Account { role, privileges, user, token } = self;
        let privileges = privileges.iter().copied().collect::<Vec<_>>().join(",");
        format!(
            "pveum role add {role} --privs \"{privileges}\"\npveum user add {user}\npveum acl modify / --users {user} \
             --roles {role}\npveum user token add {user} {token} --privsep 0\n"
        )
    }

    /// Makes what is not there of it. Returns what was done, and the token's secret if the token is new.
    pub async fn establish(&self, cluster: &Cluster<'_>) -> Result<(Vec<String>, Option<Secret>), PveError> {
        let Account { role, privileges, user, token } = self;
        let mut done = Vec::new();
        let read = |path: String| {
            let query = Query::new(path);
            async move { get(cluster.api, cluster.clock, &query).await }
        };
        let wanted = privileges.iter().copied().collect::<Vec<_>>().join(",");
        match read(format!("/access/roles/{}", segment(role))).await {
            Ok(held) if privileges.iter().all(|p| held[*p] == 1) => {}
            Ok(_) => {
                let call = Call::new(Method::Put, format!("/access/roles/{}", segment(role)));
                cluster.api.send(&call.with("privs", &wanted).with("append", 1)).await?;
                done.push(format!("gave the role {role} what it lacked"));
            }
            Err(error) if is_missing(&error) => {
                let call = Call::new(Method::Post, "/access/roles").with("roleid", role).with("privs", &wanted);
                cluster.api.send(&call).await?;
                done.push(format!("made the role {role}"));
            }
            Err(error) => return Err(error),
        }
        match read(format!("/access/users/{}", segment(user))).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {
                cluster.api.send(&Call::new(Method::Post, "/access/users").with("userid", user)).await?;
                done.push(format!("made the user {user}"));
            }
            Err(error) => return Err(error),
        }
        // Writing what is there already changes nothing.
        let grant = Call::new(Method::Put, "/access/acl").with("path", "/").with("users", user).with("roles", role);
        cluster.api.send(&grant).await?;
        done.push(format!("gave {user} the role {role} on /"));
        let path = format!("/access/users/{}/token/{}", segment(user), segment(token));
        match read(path.clone()).await {
            Ok(_) => Ok((done, None)),
            Err(error) if is_missing(&error) => {
                let made = cluster.api.send(&Call::new(Method::Post, path).with("privsep", 0)).await?;
                done.push(format!("made the token {user}!{token}"));
                Ok((done, made["value"].as_str().map(|s| Secret::new(s.to_owned()))))
            }
            Err(error) => Err(error),
        }
    }
}

/// PVE has no status of its own for what is not there: of roles, users and tokens it says so in 400 and 500.
fn is_missing(error: &PveError) -> bool {
    match error.refusal() {
        Some(Refusal::Absent) => true,
        Some(Refusal::Invalid | Refusal::Other) => error.to_string().contains("no such"),
        Some(_) | None => false,
    }
}

/// The kinds of the manifests that are named; all, if none are.
fn wanted(sources: &Sources) -> Result<BTreeSet<&'static str>, Failure> {
    if sources.files.is_empty() {
        return Ok(privileges(["Pool", "VirtualMachine", "Container"]));
    }
    let tree = manifests::read(sources)?;
    Ok(privileges(tree.desired.resources.keys().map(|r| r.kind.as_str())))
}

/// `auth`.
pub fn auth(global: &Global, args: &Auth) -> Ended {
    match args {
        Auth::Setup(args) => setup(global, args),
        Auth::Check(args) => check(global, &args.sources),
    }
}

fn setup(global: &Global, args: &AuthSetup) -> Ended {
    let AuthSetup { sources, user, token, role, run, yes } = args;
    let account = Account { role, privileges: wanted(sources)?, user, token };
    print(&account.commands());
    if !run {
        return Ok(exit::DONE);
    }
    let agreed =
        || AtTerminal.answer("Do this with the API? [y/N] ").map_or(global.sim, |a| a.eq_ignore_ascii_case("y"));
    if !yes && !agreed() {
        let failure = Failure::new(exit::REFUSED, "not agreed to; nothing was sent");
        return Err(failure.hint("on a terminal it asks; elsewhere say --yes"));
    }
    let session = Session::open(global, None)?;
    let ended = block_on(async { account.establish(&session.cluster()).await })?;
    session.close()?;
    let (done, secret) = ended.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    let mut err = anstream::stderr();
    for line in &done {
        let _ = writeln!(err, "  ✓ {line}");
    }
    match secret {
        Some(secret) => {
            let _ = writeln!(err, "The secret of {user}!{token}, which PVE shows this once:");
            print(&format!("{}\n", secret.expose()));
        }
        None => {
            let _ = writeln!(err, "The token {user}!{token} was there already; only who made it knows its secret.");
        }
    }
    Ok(exit::DONE)
}

fn check(global: &Global, sources: &Sources) -> Ended {
    let wanted = wanted(sources)?;
    let session = Session::open(global, None)?;
    let index = block_on(async {
        let cluster = session.cluster();
        index(cluster.api, cluster.clock, &BTreeSet::new()).await
    })?;
    session.close()?;
    let index = index.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|p| !index.may("/", p)).collect();
    if missing.is_empty() {
        print(&format!("all {} privileges are held on /\n", wanted.len()));
        return Ok(exit::DONE);
    }
    for privilege in &missing {
        let places: Vec<&str> = index
            .permissions
            .iter()
            .filter(|(_, held)| held.contains_key(*privilege))
            .map(|(p, _)| p.as_str())
            .collect();
        let elsewhere = if places.is_empty() { "nowhere".to_owned() } else { format!("on {}", places.join(", ")) };
        print(&format!("missing on /: {privilege} (held {elsewhere})\n"));
    }
    let all = missing.join(",");
    Err(Failure::new(exit::FAILED, format!("{} of {} privileges are not held on /", missing.len(), wanted.len())).hint(
        format!(
            "pveum role modify ROLE --append 1 --privs {all}; what is held on narrower paths is enough for what lies \
             there, and apply names each that a plan lacks"
        ),
    ))
}
