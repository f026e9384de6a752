//! The lock on the configuration of networks (libpve-network-perl 1.1.3, PVE 9): whoever holds its token writes, and nobody
//! else. It has no end of its own. `PVE::Network::SDN::lock_sdn_config` and `PVE::API2::Network::SDN` say how.

use super::{SUBNETS, VNETS, ZONES};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::world::World;
use serde_json::Value;

const LOCK: &str = "cluster/sdn/lock";
const TOKEN: &str = "token";

/// Refuses whoever has no token while somebody holds the lock.
pub(super) fn check(ctx: &Ctx<'_>, args: &Args, failed: &str) -> Result<(), Refusal> {
    let held = ctx.world.tables.get(LOCK).and_then(|t| t.get(TOKEN)).and_then(Value::as_str);
    match held {
        Some(token) if args.get("lock-token") != Some(token) => Err(Refusal::died(format!(
            "{failed}: invalid lock token provided! at /usr/share/perl5/PVE/Network/SDN.pm line 291."
        ))),
        Some(_) | None => Ok(()),
    }
}

/// The same for one object: PVE says what it was about to do.
pub(super) fn check_object(ctx: &Ctx<'_>, args: &Args, what: &str) -> Result<(), Refusal> {
    check(ctx, args, &format!("{what} object failed"))
}

/// Lets the lock go where a token was given, unless the caller keeps it.
fn release_after(ctx: &mut Ctx<'_>, args: &Args) {
    if args.get("lock-token").is_some() && (args.get("release-lock").is_none() || args.on("release-lock")) {
        ctx.world.table(LOCK).remove(TOKEN);
    }
}

fn has_pending(world: &World) -> bool {
    let tables = [ZONES, VNETS, SUBNETS].into_iter().filter_map(|table| world.tables.get(table));
    tables.flat_map(|table| table.values()).any(|entry| entry["config"] != entry["running"])
}

/// `POST /cluster/sdn/lock`.
pub(super) fn take(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    const FAILED: &str = "could not acquire lock for SDN config";
    check(ctx, args, FAILED)?;
    if !args.on("allow-pending") && has_pending(ctx.world) {
        let place = "/usr/share/perl5/PVE/API2/Network/SDN.pm line 149.";
        return Err(Refusal::died(format!("{FAILED}: configuration has pending changes at {place}")));
    }
    let token = Value::from(ctx.world.new_uuid());
    ctx.world.table(LOCK).insert(TOKEN.to_owned(), token.clone());
    Ok(token)
}

/// `DELETE /cluster/sdn/lock`.
pub(super) fn release(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if !args.on("force") {
        check(ctx, args, "could not release lock")?;
    }
    ctx.world.table(LOCK).remove(TOKEN);
    Ok(Value::Null)
}

/// `POST /cluster/sdn/rollback`: what is configured becomes what runs.
pub(super) fn rollback(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    check(ctx, args, "could not rollback SDN configuration")?;
    for table in [ZONES, VNETS, SUBNETS] {
        let entries = ctx.world.table(table);
        entries.retain(|_, entry| !entry["running"].is_null());
        for entry in entries.values_mut() {
            entry["config"] = entry["running"].clone();
        }
    }
    release_after(ctx, args);
    Ok(Value::Null)
}

/// What `PUT /cluster/sdn` does before its task starts: the configuration becomes the running one.
pub(super) fn commit(ctx: &mut Ctx<'_>, args: &Args) -> Result<(), Refusal> {
    check(ctx, args, "could not commit SDN config")?;
    for table in [ZONES, VNETS, SUBNETS] {
        let entries = ctx.world.table(table);
        entries.retain(|_, entry| !entry["config"].is_null());
        for entry in entries.values_mut() {
            entry["running"] = entry["config"].clone();
        }
    }
    release_after(ctx, args);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn who_has_the_token_writes_and_nobody_else() {
        let world = &mut build(Baseline::Homelab);
        let token = root(world, "POST /cluster/sdn/lock", &json!({})).expect("nobody has it");
        let zone = |id: &str| json!({ "zone": id, "type": "simple" });
        let said = root(world, "POST /cluster/sdn/zones", &zone("z1")).expect_err("it is locked");
        assert!(
            format!("{said:?}").contains("create sdn zone object failed: invalid lock token provided!"),
            "{said:?}"
        );
        let again = root(world, "POST /cluster/sdn/lock", &json!({})).expect_err("it is held");
        assert!(
            format!("{again:?}").contains("could not acquire lock for SDN config: invalid lock token"),
            "{again:?}"
        );
        let with = json!({ "zone": "z1", "type": "simple", "lock-token": token });
        root(world, "POST /cluster/sdn/zones", &with).expect("it is ours");
        root(world, "POST /cluster/sdn/rollback", &json!({ "lock-token": token })).expect("it is ours");
        assert_eq!(root(world, "GET /cluster/sdn/zones", &json!({})).expect("a list"), json!([]));
        root(world, "POST /cluster/sdn/zones", &zone("z2")).expect("the lock is gone");
        let pending = root(world, "POST /cluster/sdn/lock", &json!({})).expect_err("something is pending");
        assert!(format!("{pending:?}").contains("configuration has pending changes"), "{pending:?}");
        let token = root(world, "POST /cluster/sdn/lock", &json!({ "allow-pending": 1 })).expect("it is allowed");
        assert_eq!(ended(world, "PUT /cluster/sdn", &json!({ "lock-token": token })), "OK");
        root(world, "POST /cluster/sdn/lock", &json!({})).expect("it was released, and nothing is pending");
        root(world, "DELETE /cluster/sdn/lock", &json!({ "lock-token": "x" })).expect_err("that is not the token");
        root(world, "DELETE /cluster/sdn/lock", &json!({ "force": 1 })).expect("force needs no token");
    }
}
