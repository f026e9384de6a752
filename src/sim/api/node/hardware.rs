//! What a node is made of: disks, PCI devices, certificates, what its QEMU can do.

use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::request::{Args, Refusal};
use crate::sim::world::World;
use serde_json::{Value, json};

/// The devices of a node whose table `nodes/pci` names no others.
const PCI: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("0000:00:00.0", "0x060000", "0x8086", "Intel Corporation", "0x1237", "440FX - 82441FX PMC [Natoma]"),
    ("0000:00:02.0", "0x030000", "0x8086", "Intel Corporation", "0x4680", "AlderLake-S GT1"),
    ("0000:00:03.0", "0x020000", "0x8086", "Intel Corporation", "0x15f3", "Ethernet Controller I225-V"),
    ("0000:00:04.0", "0x010802", "0x144d", "Samsung Electronics Co Ltd", "0xa808", "NVMe SSD Controller SM981"),
];
/// Name and vendor of some of QEMU's CPU models.
const CPUS: &[(&str, &str)] = &[
    ("host", "default"),
    ("max", "default"),
    ("kvm64", "default"),
    ("qemu64", "default"),
    ("x86-64-v2", "default"),
    ("x86-64-v2-AES", "default"),
    ("x86-64-v3", "default"),
    ("x86-64-v4", "default"),
    ("Nehalem-IBRS", "GenuineIntel"),
    ("Haswell", "GenuineIntel"),
    ("Skylake-Server", "GenuineIntel"),
    ("Cascadelake-Server-v2", "GenuineIntel"),
    ("SapphireRapids", "GenuineIntel"),
    ("EPYC", "AuthenticAMD"),
    ("EPYC-Rome", "AuthenticAMD"),
    ("EPYC-Milan", "AuthenticAMD"),
];
/// Version of QEMU's machines, and what PVE changed in it.
const MACHINES: &[(&str, Option<&str>)] = &[
    ("10.1", None),
    ("10.0+pve1", Some("Set host_mtu vNIC option even with default value for migration compat.")),
    ("10.0", None),
    ("9.2+pve1", Some("Disable S3/S4 power states by default.")),
    ("9.2", None),
    ("8.2", None),
    ("7.2", None),
];
/// A thin pool has one byte of metadata for so many of data.
const METADATA_SHARE: u64 = 100;
const YEAR_SECONDS: u64 = 365 * 86_400;

/// `GET /nodes/{node}/disks/list`: one disk in use, as large as the local storages together.
pub fn disks(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    if args.get("type").is_some() {
        return Ok(json!([]));
    }
    if let Some(own) = ctx.world.tables.get("nodes/disks").and_then(|t| t.get(node)).cloned() {
        return Ok(own);
    }
    let local = ctx.world.storages.values().filter(|s| !s.shared() && s.on_node(node));
    let size: u64 = local.map(|s| s.size).sum();
    // As a disk of a virtual machine looks: nobody knows its health.
    let row = |path: &str, size: u64| {
        json!({
            "devpath": path, "size": size, "vendor": "0x1af4", "model": "unknown", "serial": "unknown",
            "wwn": "unknown", "type": "unknown", "rpm": -1, "health": "UNKNOWN", "wearout": "N/A", "gpt": 0,
            "osdid": -1, "osdid-list": null, "used": "mounted", "mounted": 1,
        })
    };
    let mut rows = vec![row("/dev/vda", size)];
    if args.on("include-partitions") {
        let mut partition = row("/dev/vda1", size);
        partition["parent"] = "/dev/vda".into();
        rows.push(partition);
    }
    Ok(rows.into())
}

/// `GET /nodes/{node}/disks/lvmthin`: the thin pools of a node. How full the metadata are, in hundredths, may be set in the table
/// `nodes/lvmthin` by `GROUP/POOL`.
pub fn thin_pools(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let world = &ctx.world;
    let pools = world.storages.iter().filter(|(_, s)| s.storage_type == "lvmthin" && s.on_node(node));
    let row = |(id, storage): (&String, &crate::sim::world::Storage)| {
        let option = |key: &str| storage.config.get(key).cloned().unwrap_or_default();
        let (group, pool) = (option("vgname"), option("thinpool"));
        let used = world.storage_used(id, node);
        let size = (storage.size / METADATA_SHARE).max(1);
        let set = world.tables.get("nodes/lvmthin").and_then(|t| t.get(&format!("{group}/{pool}"))?.as_u64());
        let metadata = set.map_or(used / METADATA_SHARE / 4, |share| size / 100 * share);
        json!({
            "vg": group, "lv": pool, "lv_size": storage.size, "used": used, "metadata_size": size, "metadata_used": metadata,
        })
    };
    Ok(pools.map(row).collect::<Vec<_>>().into())
}

fn devices(world: &World, node: &str) -> Vec<Value> {
    let own = world.tables.get("nodes/pci").and_then(|t| t.get(node)).and_then(Value::as_array).cloned();
    own.unwrap_or_else(|| {
        let row = |(i, (id, class, vendor, vendor_name, device, device_name)): (
            usize,
            &(&str, &str, &str, &str, &str, &str),
        )| {
            json!({
                "id": id, "class": class, "vendor": vendor, "vendor_name": vendor_name, "device": device,
                "device_name": device_name, "iommugroup": i, "subsystem_vendor": vendor,
                "subsystem_vendor_name": vendor_name, "subsystem_device": device,
            })
        };
        PCI.iter().enumerate().map(row).collect()
    })
}

/// `GET /nodes/{node}/hardware/pci`: memory, bridges and processors are left out unless asked for.
pub fn pci(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let hidden = args.get("pci-class-blacklist").unwrap_or("05;06;0b").to_owned();
    let hides = |row: &Value| {
        let class = row["class"].as_str().unwrap_or_default().trim_start_matches("0x").to_owned();
        hidden.split([';', ',', ' ']).filter(|h| !h.is_empty()).any(|h| class.starts_with(h))
    };
    let mut rows: Vec<Value> = devices(ctx.world, args.text("node")).into_iter().filter(|r| !hides(r)).collect();
    if args.get("verbose") == Some("0") {
        rows.iter_mut().for_each(|row| *row = json!({ "id": row["id"] }));
    }
    Ok(rows.into())
}

/// `GET /nodes/{node}/capabilities/qemu/cpu`: QEMU's models, and those that `cluster/qemu/custom-cpu-models` adds.
pub fn cpus(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let usual = CPUS.iter().map(|(name, vendor)| json!({ "name": name, "vendor": vendor, "custom": 0 }));
    let own = ctx.world.tables.get("cluster/qemu/custom-cpu-models").into_iter().flatten();
    let own = own.map(|(id, model)| {
        let vendor = model["reported-model"].as_str().and_then(|r| CPUS.iter().find(|(n, _)| *n == r));
        json!({ "name": format!("custom-{id}"), "vendor": vendor.map_or("default", |v| v.1), "custom": 1 })
    });
    Ok(own.chain(usual).collect())
}

/// `GET /nodes/{node}/capabilities/qemu/machines`.
pub fn machines(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let each = [("i440fx", "pc-i440fx"), ("q35", "pc-q35")].into_iter().flat_map(|(kind, prefix)| {
        MACHINES.iter().map(move |(version, changes)| {
            let mut row = json!({ "id": format!("{prefix}-{version}"), "type": kind, "version": version });
            if let Some(changes) = changes {
                row["changes"] = (*changes).into();
            }
            row
        })
    });
    Ok(each.collect())
}

/// `GET /nodes/{node}/capabilities` and what lies below.
pub fn capabilities(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([{ "name": "qemu" }]))
}

/// `GET /nodes/{node}/certificates/info`: the cluster's authority, and the node's own certificate by it.
pub fn certificates(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let found = ctx.world.nodes.get(node);
    let address = found.and_then(crate::sim::api::cluster::address).unwrap_or_default();
    let made = ctx.world.nodes.values().map(|n| n.boot_ms).min().unwrap_or(0) / 1000;
    let authority = "/CN=Proxmox Virtual Environment/OU=simulated/O=PVE Cluster Manager CA";
    let row = |file: &str, subject: &str, names: Vec<String>, years: u64, bits: u32| {
        let key = format!("{file}{subject}");
        let digest = digest_of([(&key, &key)]).to_uppercase().repeat(2);
        let octets: Vec<&str> = (0..32).filter_map(|i| digest.get(2 * i..2 * i + 2)).collect();
        json!({
            "filename": file, "subject": subject, "issuer": authority, "san": names, "fingerprint": octets.join(":"),
            "notbefore": made, "notafter": made + years * YEAR_SECONDS, "public-key-type": "rsaEncryption",
            "public-key-bits": bits, "pem": "-----BEGIN CERTIFICATE-----\nsimulated\n-----END CERTIFICATE-----\n",
        })
    };
    let own = format!("/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={node}.test.local");
    let names = ["127.0.0.1", "::1", "localhost", &address, node, &format!("{node}.test.local")];
    let names = names.iter().filter(|n| !n.is_empty()).map(|n| (*n).to_owned()).collect();
    Ok(json!([row("pve-root-ca.pem", authority, Vec::new(), 10, 4096), row("pve-ssl.pem", &own, names, 2, 2048),]))
}
