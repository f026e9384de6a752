//! From a spec to fields in normal form: the flat map that the three-way merge takes.

use crate::kinds::guest::mapping::{normal_keys, normal_tags};
use crate::kinds::guest::spec::{
    Bios, Cache, CloudInit, Disk, Hardware, Network, Options, Power, Seconds, Size, Startup,
};
use crate::resource::merge::Fields;

/// Collects fields; absent ones are not managed and leave no trace.
#[derive(Default)]
pub struct Collect {
    /// What was collected.
    pub fields: Fields,
}

impl Collect {
    /// A field with a text.
    pub fn text(&mut self, path: impl Into<String>, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.fields.insert(path.into(), value.to_string());
        }
    }

    /// A boolean field.
    pub fn flag(&mut self, path: impl Into<String>, value: Option<bool>) {
        self.text(path, value.map(u8::from));
    }

    /// A size.
    pub fn size(&mut self, path: impl Into<String>, value: Option<Size>) {
        self.text(path, value.map(|s| s.0));
    }

    /// Tags, sorted.
    pub fn tags(&mut self, value: Option<&Vec<String>>) {
        self.text("tags", value.map(|t| normal_tags(t.iter().map(String::as_str))));
    }

    /// Notes for people.
    pub fn description(&mut self, value: Option<&String>) {
        self.text("description", value.map(|d| d.trim_end()));
    }

    /// Power, unless it is nobody's business.
    pub fn power(&mut self, value: Option<Power>) {
        let word = match value {
            Some(Power::Running) => "Running",
            Some(Power::Stopped) => "Stopped",
            Some(Power::Unmanaged) | None => return,
        };
        self.text("power", Some(word));
    }

    /// Start with the node.
    pub fn startup(&mut self, startup: Option<&Startup>) {
        let Some(Startup { on_boot, order, up_delay, down_delay }) = startup else { return };
        self.flag("startup.onBoot", *on_boot);
        self.text("startup.order", *order);
        self.text("startup.upDelay", up_delay.map(|Seconds(s)| s));
        self.text("startup.downDelay", down_delay.map(|Seconds(s)| s));
    }

    /// The board of a VM.
    pub fn hardware(&mut self, hardware: Option<&Hardware>) {
        let Some(hardware) = hardware else { return };
        let Hardware {
            cores,
            sockets,
            cpu,
            memory,
            balloon,
            machine,
            bios,
            os_type,
            scsi_controller,
            guest_agent,
            vga,
        } = hardware;
        self.text("hardware.cores", *cores);
        self.text("hardware.sockets", *sockets);
        self.text("hardware.cpu", cpu.as_ref());
        self.size("hardware.memory", *memory);
        self.text("hardware.balloon", balloon.map(|b| b.0));
        self.text("hardware.machine", machine.as_ref());
        self.text(
            "hardware.bios",
            bios.map(|b| match b {
                Bios::Seabios => "seabios",
                Bios::Ovmf => "ovmf",
            }),
        );
        self.text("hardware.osType", os_type.as_ref());
        self.text("hardware.scsiController", scsi_controller.as_ref());
        self.flag("hardware.guestAgent", *guest_agent);
        self.text("hardware.vga", vga.as_ref());
    }

    /// Disks of a VM.
    pub fn disks(&mut self, disks: &[Disk]) {
        for Disk { slot, storage, size, discard, ssd, io_thread, cache, backup } in disks {
            let at = |part: &str| format!("disks.{slot}.{part}");
            self.text(at("storage"), storage.as_ref());
            self.size(at("size"), *size);
            self.flag(at("discard"), *discard);
            self.flag(at("ssd"), *ssd);
            self.flag(at("ioThread"), *io_thread);
            self.text(
                at("cache"),
                cache.map(|c| match c {
                    Cache::None => "none",
                    Cache::Writeback => "writeback",
                    Cache::Writethrough => "writethrough",
                    Cache::Directsync => "directsync",
                    Cache::Unsafe => "unsafe",
                }),
            );
            self.flag(at("backup"), *backup);
        }
    }

    /// Interfaces of a VM.
    pub fn networks(&mut self, networks: &[Network]) {
        for Network { slot, bridge, vlan, model, mac, firewall, mtu, rate_limit, ip, gateway } in networks {
            let at = |part: &str| format!("networks.{slot}.{part}");
            self.text(at("bridge"), bridge.as_ref());
            self.text(at("vlan"), *vlan);
            self.text(at("model"), model.as_ref());
            self.text(at("mac"), mac.as_ref().map(|m| m.to_uppercase()));
            self.flag(at("firewall"), *firewall);
            self.text(at("mtu"), *mtu);
            self.text(at("rateLimit"), *rate_limit);
            self.text(at("ip"), ip.as_ref());
            self.text(at("gateway"), gateway.as_ref());
        }
    }

    /// What cloud-init tells a VM.
    pub fn cloud_init(&mut self, cloud_init: Option<&CloudInit>) {
        let Some(CloudInit { storage: _, user, ssh_keys, nameservers, search_domain }) = cloud_init else { return };
        self.text("cloudInit.user", user.as_ref());
        self.text("cloudInit.sshKeys", ssh_keys.as_ref().map(|k| normal_keys(&k.join("\n"))));
        self.text("cloudInit.nameservers", nameservers.as_ref().map(|n| n.join(" ")));
        self.text("cloudInit.searchDomain", search_domain.as_ref());
    }

    /// Options of PVE, verbatim.
    pub fn options(&mut self, options: &Options) {
        for (key, value) in options {
            self.text(format!("options.{key}"), Some(&value.0));
        }
    }
}
