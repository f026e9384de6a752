//! What PVE puts back of a backup otherwise than one would think: a template, a drive of cloud-init in another slot, raw lines
//! of a container, the firewall's file.

use crate::base::id::GuestType;
use crate::kinds::guest::hand::losses::held_volumes;
use crate::kinds::guest::hand::restore_checks::Look;
use crate::kinds::guest::mapping::Config;
use crate::resource::step::Delta;

/// What is said of every backup, or stands against it in place.
pub fn oddities(look: &Look<'_>, saved: &Config, delta: &mut Delta) {
    let restore = look.restore;
    let raw: Vec<&str> = saved.keys().map(String::as_str).filter(|key| key.starts_with("lxc.")).collect();
    // `PVE::LXC::Create::sanitize_and_merge_config` drops them for whoever is not root@pam himself.
    if restore.backup.guest == GuestType::Lxc && !raw.is_empty() && !restore.root_ticket {
        let raw = raw.join(", ");
        if restore.in_place() {
            look.refuse(
                delta,
                format!("PVE puts raw lines back for root@pam alone, and the container would lose them: {raw}"),
                "log in with user root@pam and a password, or restore it on the host with pct restore",
            );
        } else {
            look.say(delta, format!("raw lines of the original do not come along, PVE leaves them to root@pam: {raw}"));
        }
    }
    look.say(
        delta,
        if restore.in_place() {
            "its firewall rules go back too, where the backup has any"
        } else {
            "the original's firewall rules come along, where the backup has any"
        },
    );
}

/// What stands against writing over a guest with the configuration `now`.
pub fn over(look: &Look<'_>, now: &Config, saved: &Config, delta: &mut Delta) {
    let (restore, word) = (look.restore, look.word());
    if saved.get("template").is_some_and(|t| t == "1") && now.get("template").is_none_or(|t| t != "1") {
        look.refuse(
            delta,
            format!("it is a backup of a template, and {word} {} would become one", restore.vmid),
            "restore it to a new guest: leave --in-place out",
        );
    }
    if restore.backup.guest == GuestType::Qemu {
        cloud_init(look, now, saved, delta);
    }
}

/// PVE makes the drive of cloud-init anew, under a name of which a storage holds one; only what is in a slot of the backup makes
/// way before.
fn cloud_init(look: &Look<'_>, now: &Config, saved: &Config, delta: &mut Delta) {
    let drives = |config: &Config| -> Vec<(String, String)> {
        let all = held_volumes(GuestType::Qemu, config).into_iter();
        all.filter(|(_, volume)| volume.contains("-cloudinit"))
            .filter_map(|(slot, volume)| Some((slot, volume.split_once(':')?.0.to_owned())))
            .collect()
    };
    let to = look.storage(saved);
    for (slot, storage) in drives(saved) {
        let storage = to.as_ref().unwrap_or(&storage);
        let in_way =
            drives(now).into_iter().find(|(other, on)| *other != slot && on == storage && !saved.contains_key(other));
        if let Some((other, _)) = in_way {
            look.refuse(
                delta,
                format!("the drive of cloud-init is in {other} now and in {slot} in the backup, and `{storage}` holds only one"),
                format!("detach it first: qm set {} --delete {other} on the node; PVE makes it anew in {slot}", look.restore.vmid),
            );
        }
    }
}
