//! Manifests to try the laws on: for every kind some lives, each with a beginning and changes to it. Every life ends with
//! nothing left.

/// A life: what stands in the manifests, one state after the other.
pub(crate) struct Life {
    /// What it shows.
    pub(crate) name: &'static str,
    /// Its states; the first is a creation.
    pub(crate) states: &'static [&'static str],
}

/// All lives.
pub(crate) const LIVES: &[Life] = &[
    Life {
        name: "pool with a comment that changes and goes",
        states: &[
            "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: lab}, spec: {comment: one}}",
            "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: lab}, spec: {comment: 'two -- <b>'}}",
            "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: lab}, spec: {}}",
        ],
    },
    Life {
        name: "template cloned from a guest that is not ours",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: base}
spec:
  vmid: 9000
  node: pve1
  source: {clone: {vmid: 8000, storage: local-lvm}}
  tags: [golden]
  description: first
  hardware: {cores: 2, memory: 2Gi, osType: l26, guestAgent: true}
",
            r"
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: base}
spec:
  vmid: 9000
  node: pve1
  source: {clone: {vmid: 8000, storage: local-lvm}}
  tags: [golden, tested]
  description: second
  hardware: {cores: 4, memory: 2Gi, osType: l26, guestAgent: true}
",
        ],
    },
    Life {
        name: "machine from nothing",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: bare}
spec:
  vmid: 120
  node: pve2
  tags: [b, a]
  description: one
  power: Stopped
  hardware: {cores: 2, memory: 1Gi, osType: l26, scsiController: virtio-scsi-single, cpu: host, localTime: true}
  disks:
    - {slot: scsi0, storage: local-lvm, size: 4Gi, discard: true, ssd: true, ioThread: true}
  networks:
    - {slot: net0, bridge: vmbr0, firewall: true}
  startup: {onBoot: true, order: 3, upDelay: 10s}
  options: {autostart: false, tdf: true}
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: bare}
spec:
  vmid: 120
  node: pve2
  tags: [c]
  description: two
  power: Running
  hardware: {cores: 4, memory: 2Gi, osType: l26, scsiController: virtio-scsi-single, cpu: host}
  disks:
    - {slot: scsi0, storage: local-lvm, size: 6Gi, discard: true, ssd: true, ioThread: true}
    - {slot: scsi1, storage: nfs, size: 1Gi, backup: false}
  networks:
    - {slot: net0, bridge: vmbr1, vlan: 20}
    - {slot: net1, bridge: vmbr0, model: e1000}
  startup: {onBoot: false, order: 4}
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: bare}
spec:
  vmid: 120
",
        ],
    },
    Life {
        name: "machine from a template with cloud-init, in a pool, numbered by us",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: Pool
metadata: {name: web}
spec: {comment: front}
---
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: base}
spec:
  vmid: 9000
  node: pve1
  source: {clone: {vmid: 8000, storage: local-lvm}}
  description: base
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: web}
spec:
  vmidRange: 400-449
  from: {template: base, mode: Linked}
  pool: web
  tags: [web]
  description: front end
  power: Running
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, size: 8Gi}]
  networks: [{slot: net0, bridge: vmbr0, ip: 10.0.0.9/24, gateway: 10.0.0.1}]
  cloudInit: {user: ops, sshKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5vYyXk0Yx0n2m8kQmC1h3rT7b9wZ4dL6sV8uFqPgEo ops@x'], nameservers: [10.0.0.53], searchDomain: lan}
  update: {reboot: IfRequired}
",
            r"
apiVersion: pvectl/v1alpha1
kind: Pool
metadata: {name: web}
spec: {comment: front}
---
apiVersion: pvectl/v1alpha1
kind: Pool
metadata: {name: other}
spec: {comment: back}
---
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: base}
spec:
  vmid: 9000
  node: pve1
  source: {clone: {vmid: 8000, storage: local-lvm}}
  description: base
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: web}
spec:
  vmidRange: 400-449
  from: {template: base, mode: Linked}
  pool: other
  tags: [web, v2]
  description: front end, new
  power: Running
  hardware: {cores: 2, memory: 2Gi, balloon: 1Gi}
  disks: [{slot: scsi0, size: 9Gi, discard: true}]
  networks: [{slot: net0, bridge: vmbr0, ip: dhcp}]
  cloudInit: {user: ops, nameservers: [10.0.0.53, 9.9.9.9]}
  update: {reboot: IfRequired}
",
        ],
    },
    Life {
        name: "full clone onto another storage",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: base}
spec: {vmid: 9000, node: pve1, source: {clone: {vmid: 8000, storage: nfs}}, description: base}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: app}
spec:
  vmid: 130
  node: pve2
  from: {template: base, mode: Full, storage: nfs}
  description: app
  power: Stopped
",
            r"
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: base}
spec: {vmid: 9000, node: pve1, source: {clone: {vmid: 8000, storage: nfs}}, description: base}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: app}
spec:
  vmid: 130
  node: pve2
  from: {template: base, mode: Full, storage: nfs}
  description: app
  power: Running
  protection: false
",
        ],
    },
    Life {
        name: "container from an archive",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: dns}
spec:
  vmid: 210
  node: pve3
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  tags: [dns]
  description: names
  power: Running
  unprivileged: true
  features: {nesting: true}
  hardware: {cores: 1, memory: 256Mi, swap: 0Mi}
  rootfs: {storage: local-lvm, size: 1Gi}
  networks: [{slot: net0, bridge: vmbr0, ip: 10.0.0.53/24, gateway: 10.0.0.1}]
  nameservers: [9.9.9.9]
  searchDomain: lan
  startup: {onBoot: true, order: 1, upDelay: 5s}
",
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: dns}
spec:
  vmid: 210
  node: pve3
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  tags: [dns, v2]
  description: names, new
  power: Running
  unprivileged: true
  features: {nesting: true}
  hardware: {cores: 2, memory: 512Mi, swap: 128Mi}
  rootfs: {storage: local-lvm, size: 2Gi}
  mounts: [{slot: mp0, storage: local-lvm, size: 1Gi, path: /srv, backup: true}]
  networks: [{slot: net0, bridge: vmbr0, vlan: 7, ip: dhcp}]
  nameservers: [9.9.9.9, 1.1.1.1]
  startup: {onBoot: true, order: 2}
  update: {reboot: IfRequired}
",
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: dns}
spec:
  vmid: 210
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  power: Stopped
",
        ],
    },
    Life {
        name: "machine with everything, whose disks move, leave and come back",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: full}
spec:
  vmid: 121
  node: pve1
  power: Running
  hardware:
    cpu: {type: x86-64-v2-AES, flags: [+aes]}
    machine: {type: q35, viommu: virtio}
    bios: ovmf
    guestAgent: {enabled: true, fstrimClonedDisks: true}
    vga: 'virtio,memory=64'
    rng: {source: /dev/urandom}
    watchdog: {model: i6300esb, action: reset}
    smbios: {manufacturer: 'Acme, Inc.'}
    hotplug: [network, disk]
  bootOrder: [scsi0, net0]
  serialPorts: [{slot: serial0, device: socket}]
  usb: [{slot: usb0, host: spice}]
  numaNodes: [{slot: numa0, cpus: '0', memory: 512Mi}]
  disks:
    - {slot: scsi0, storage: local-lvm, size: 1Gi, limits: {iops: 500, mbpsRd: 20.5}}
    - {slot: scsi1, storage: local-lvm, size: 1Gi, serial: data 1}
    - {slot: sata0, iso: 'local:iso/debian-12.iso'}
    - {slot: efidisk0, storage: local-lvm, efiType: 4m, preEnrolledKeys: true}
    - {slot: tpmstate0, storage: local-lvm, version: v2.0}
  networks: [{slot: net0, bridge: vmbr0, model: virtio, queues: 2, trunks: [2, 3], ip6: auto}]
  cloudInit: {storage: local-lvm, drive: ide0, upgrade: false, type: nocloud}
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: full}
spec:
  vmid: 121
  node: pve1
  power: Running
  hardware:
    cpu: host
    machine: q35
    bios: ovmf
    guestAgent: false
    hotplug: [network, disk]
  bootOrder: [net0]
  disks:
    - {slot: scsi0, storage: nfs, size: 2Gi}
    - {slot: sata0, iso: none}
    - {slot: efidisk0, storage: local-lvm}
    - {slot: tpmstate0, storage: local-lvm, version: v2.0}
  networks: [{slot: net0, bridge: vmbr0, linkDown: true}]
  update: {volumes: Detach}
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: full}
spec:
  vmid: 121
  node: pve1
  power: Running
  disks:
    - {slot: scsi0, storage: nfs, size: 2Gi}
    - {slot: virtio3, volume: 'local-lvm:vm-121-disk-2', cache: writeback}
",
        ],
    },
    Life {
        name: "container whose volumes move, leave and come back",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: store}
spec:
  vmid: 211
  node: pve3
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  power: Stopped
  timeZone: Europe/Berlin
  console: {mode: shell, ttys: 4}
  env: ['A=1', 'B=two words']
  hardware: {memory: 256Mi, cpuLimit: 1.5, cpuUnits: 200}
  rootfs: {storage: local-lvm, size: 1Gi, mountOptions: [noatime]}
  mounts:
    - {slot: mp0, storage: local-lvm, size: 1Gi, path: /srv, acl: true}
    - {slot: mp1, hostPath: /srv/shared, path: /mnt/shared, readOnly: true}
  devices: [{slot: dev0, path: /dev/ttyUSB0, mode: '0660'}]
  networks: [{slot: net0, bridge: vmbr0, ip6: auto, trunks: [5]}]
",
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: store}
spec:
  vmid: 211
  node: pve3
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  power: Stopped
  rootfs: {storage: nfs, size: 2Gi}
  mounts: []
  update: {volumes: Detach}
",
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: store}
spec:
  vmid: 211
  node: pve3
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  power: Stopped
  rootfs: {storage: nfs, size: 2Gi}
  mounts: [{slot: mp5, volume: 'local-lvm:vm-211-disk-1', path: /srv}]
",
        ],
    },
    Life {
        name: "machine that moves from node to node, with its disks",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: nomad}
spec:
  vmid: 123
  node: pve1
  power: Stopped
  disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}, {slot: scsi1, storage: nfs, size: 1Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: nomad}
spec:
  vmid: 123
  node: pve2
  power: Running
  hardware: {cores: 2}
  disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}, {slot: scsi1, storage: nfs, size: 1Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  update: {migrate: Online}
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: nomad}
spec:
  vmid: 123
  placement: {nodes: [pve1, pve3]}
  power: Running
  hardware: {cores: 2}
  disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}, {slot: scsi1, storage: nfs, size: 1Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  update: {migrate: Online, reboot: IfRequired}
",
        ],
    },
    Life {
        name: "container that moves by a restart",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: nomad}
spec:
  vmid: 223
  node: pve3
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  description: a
  power: Running
  rootfs: {storage: local-lvm, size: 1Gi}
  networks: [{slot: net0, bridge: vmbr0}]
",
            r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: nomad}
spec:
  vmid: 223
  node: pve1
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  description: a
  power: Running
  hardware: {cores: 2}
  rootfs: {storage: local-lvm, size: 1Gi}
  networks: [{slot: net0, bridge: vmbr0}]
  update: {migrate: Offline}
",
        ],
    },
    Life {
        name: "machine from a cloud image, whose source moves on",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: cloud}
spec:
  vmid: 122
  node: pve1
  from:
    image:
      url: https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2
      checksum: 'sha256:4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c'
      storage: local
  power: Running
  hardware: {cores: 2, memory: 1Gi, osType: l26, scsiController: virtio-scsi-single, guestAgent: true}
  disks: [{slot: scsi0, storage: local-lvm, size: 6Gi, discard: true}]
  networks: [{slot: net0, bridge: vmbr0, ip: dhcp}]
  cloudInit: {storage: local-lvm, user: ops}
",
            r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: cloud}
spec:
  vmid: 122
  node: pve1
  from:
    image: {volume: 'local:import/another.qcow2'}
  power: Running
  hardware: {cores: 2, memory: 1Gi, osType: l26, scsiController: virtio-scsi-single, guestAgent: true}
  disks: [{slot: scsi0, storage: local-lvm, size: 7Gi, discard: true}]
  networks: [{slot: net0, bridge: vmbr0, ip: dhcp}]
  cloudInit: {storage: local-lvm, user: ops}
",
        ],
    },
    Life {
        name: "machine to be installed from a CD, numbered by us, where there is room",
        states: &[r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: install}
spec:
  placement: {nodes: [pve2, pve3]}
  from: {iso: 'local:iso/debian-12.iso'}
  power: Stopped
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  cloudInit: {storage: local-lvm, user: ops}
"],
    },
    Life {
        name: "machine and container from backups",
        states: &[r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: back}
spec:
  vmid: 123
  node: pve2
  from: {archive: 'nfs:backup/vzdump-qemu-8000-2026_11_15-02_00_00.vma.zst', storage: local-lvm}
  description: restored
  tags: [restored]
  hardware: {cores: 4}
  disks: [{slot: scsi0, size: 5Gi}]
---
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: names}
spec:
  vmid: 212
  node: pve2
  from: {archive: 'nfs:backup/vzdump-lxc-8200-2026_11_15-02_00_00.tar.zst'}
  description: restored
  power: Running
  hardware: {memory: 256Mi}
  rootfs: {storage: local-lvm, size: 3Gi}
"],
    },
    Life {
        name: "containers from an appliance, an OCI image and a copy",
        states: &[r"
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: appliance}
spec:
  vmid: 213
  node: pve1
  from: {appliance: debian-13-standard, storage: local}
  rootfs: {storage: local-lvm, size: 2Gi}
---
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: appliance-2}
spec:
  vmid: 214
  node: pve1
  from: {appliance: debian-13-standard, storage: local}
  rootfs: {storage: local-lvm, size: 2Gi}
---
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: nginx}
spec:
  vmid: 215
  node: pve1
  from: {oci: 'docker.io/library/nginx:1.27', storage: local}
  env: ['PATH=/bin', 'NGINX_PORT=80']
  rootfs: {storage: local-lvm, size: 1Gi}
---
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: copy}
spec:
  vmid: 216
  node: pve1
  from: {clone: {guest: appliance, storage: nfs}}
  rootfs: {size: 3Gi}
"],
    },
    Life {
        name: "golden images of both types in two versions",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: golden}
spec:
  node: pve1
  vmidRange: 9100-9109
  version: '1'
  source:
    cloudImage:
      url: https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img
      checksum: 'sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
      storage: local
  hardware: {cores: 2, memory: 4Gi, osType: l26, guestAgent: true, scsiController: virtio-scsi-single}
  disks: [{slot: scsi0, storage: local-lvm, size: 20Gi, discard: true}]
  networks: [{slot: net0, bridge: vmbr0, ip: dhcp}]
  serialPorts: [{slot: serial0, device: socket}]
  cloudInit: {storage: local-lvm, user: ci, custom: {vendor: 'local:snippets/coding-agent.yaml'}}
---
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: golden-ct}
spec:
  type: Container
  node: pve2
  vmidRange: 9110-9119
  version: '1'
  source: {osTemplate: 'local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst'}
  hardware: {cores: 1, memory: 512Mi, swap: 0Mi}
  rootfs: {storage: local-lvm, size: 2Gi}
  networks: [{slot: net0, bridge: vmbr0, ip: dhcp}]
  unprivileged: true
  features: {nesting: true}
",
            r"
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: golden}
spec:
  node: pve1
  vmidRange: 9100-9109
  version: '2'
  source: {clone: {vmid: 8000}}
  hardware: {cores: 2, memory: 4Gi, osType: l26, guestAgent: true, scsiController: virtio-scsi-single}
  disks: [{slot: scsi0, size: 20Gi, discard: true}]
---
apiVersion: pvectl/v1alpha1
kind: GuestTemplate
metadata: {name: golden-ct}
spec:
  type: Container
  node: pve2
  vmidRange: 9110-9119
  version: '2'
  source: {archive: 'nfs:backup/vzdump-lxc-8200-2026_11_15-02_00_00.tar.zst', storage: local-lvm}
  hardware: {cores: 1, memory: 512Mi, swap: 0Mi}
",
        ],
    },
    Life {
        name: "firewall of the datacenter",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: FirewallAlias, metadata: {name: office}, spec: {cidr: 10.9.0.1/16, comment: 'the office # 1'}}
---
apiVersion: pvectl/v1alpha1
kind: IpSet
metadata: {name: admins}
spec:
  comment: who may come in
  members:
    - {cidr: 10.1.0.0/24, comment: desks}
    - {cidr: 10.1.0.9, nomatch: true}
    - {cidr: office}
---
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  comment: front ends
  rules:
    - {type: in, action: ACCEPT, macro: HTTP}
    - {type: in, action: ACCEPT, proto: tcp, dport: '22', source: +admins, comment: shell}
    - {type: in, action: ACCEPT, proto: icmp, icmpType: echo-request}
    - {type: out, action: REJECT, dest: office, log: info}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: FirewallAlias, metadata: {name: office}, spec: {cidr: 10.8.0.0/16}}
---
apiVersion: pvectl/v1alpha1
kind: IpSet
metadata: {name: admins}
spec:
  members:
    - {cidr: 10.1.0.9, comment: not a desk}
    - {cidr: 'fd00::1/64'}
---
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  comment: front ends, moved
  rules:
    - {type: out, action: REJECT, dest: office, log: info}
    - {type: in, action: ACCEPT, macro: HTTPS, enable: false}
    - {type: in, action: ACCEPT, proto: tcp, dport: '22', source: +admins}
    - {type: in, action: DROP}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: FirewallAlias, metadata: {name: office}, spec: {cidr: 10.8.0.0/16}}
---
{apiVersion: pvectl/v1alpha1, kind: IpSet, metadata: {name: admins}, spec: {members: []}}
---
{apiVersion: pvectl/v1alpha1, kind: SecurityGroup, metadata: {name: web}, spec: {rules: []}}
",
        ],
    },
    Life {
        name: "guests behind security groups",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: inside}
spec: {rules: [{type: in, action: ACCEPT, proto: tcp, dport: '22'}]}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: guarded}
spec:
  vmid: 130
  node: pve1
  power: Running
  networks: [{slot: net0, bridge: vmbr0, firewall: true}, {slot: net1, bridge: vmbr1, firewall: true}]
  firewall:
    enabled: true
    policyOut: DROP
    groups: [{group: inside, interface: net0}]
",
            r"
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: inside}
spec: {rules: [{type: in, action: ACCEPT, proto: tcp, dport: '22'}]}
---
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: other}
spec: {rules: [{type: out, action: ACCEPT}]}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: guarded}
spec:
  vmid: 130
  node: pve1
  power: Running
  networks: [{slot: net0, bridge: vmbr0, firewall: true}, {slot: net1, bridge: vmbr1, firewall: true}]
  firewall:
    enabled: true
    policyIn: REJECT
    macFilter: false
    groups: [{group: other, interface: net1}, {group: inside}]
",
            r"
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: inside}
spec: {rules: [{type: in, action: ACCEPT, proto: tcp, dport: '22'}]}
---
apiVersion: pvectl/v1alpha1
kind: SecurityGroup
metadata: {name: other}
spec: {rules: [{type: out, action: ACCEPT}]}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: guarded}
spec:
  vmid: 130
  node: pve1
  power: Running
  networks: [{slot: net0, bridge: vmbr0, firewall: true}]
  firewall: {enabled: false, groups: []}
",
        ],
    },
    Life {
        name: "who may do what",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: Role, metadata: {name: backup-operator}, spec: {id: BackupOperator, privs: [VM.Backup, VM.Audit]}}
---
{apiVersion: pvectl/v1alpha1, kind: Group, metadata: {name: ops}, spec: {comment: 'on call: 24 h'}}
---
{apiVersion: pvectl/v1alpha1, kind: User, metadata: {name: anna}, spec: {id: anna@pve, groups: [ops], email: anna@example.org, expire: '2027-01-01T00:00:00Z', enable: false}}
---
{apiVersion: pvectl/v1alpha1, kind: AclEntry, metadata: {name: ops-backup}, spec: {path: /vms, role: BackupOperator, group: ops}}
---
{apiVersion: pvectl/v1alpha1, kind: AclEntry, metadata: {name: anna-audits}, spec: {path: /, role: PVEAuditor, user: anna@pve, propagate: false}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: Role, metadata: {name: backup-operator, annotations: {pvectl/take-over: 'true'}}, spec: {id: BackupOperator, privs: [VM.Audit, VM.Snapshot]}}
---
{apiVersion: pvectl/v1alpha1, kind: Group, metadata: {name: ops}, spec: {}}
---
{apiVersion: pvectl/v1alpha1, kind: User, metadata: {name: anna}, spec: {id: anna@pve, comment: 'Anna', firstName: Anna, lastName: Ops, groups: []}}
---
{apiVersion: pvectl/v1alpha1, kind: AclEntry, metadata: {name: ops-backup}, spec: {path: /vms, role: BackupOperator, group: ops}}
---
{apiVersion: pvectl/v1alpha1, kind: AclEntry, metadata: {name: anna-audits, annotations: {pvectl/take-over: 'true'}}, spec: {path: /, role: PVEAuditor, user: anna@pve, propagate: true}}
",
        ],
    },
    Life {
        name: "a token whose secret is told once",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: User, metadata: {name: ops}, spec: {id: ops@pve}}
---
{apiVersion: pvectl/v1alpha1, kind: ApiToken, metadata: {name: ci}, spec: {user: ops@pve, comment: 'builds: 24 h', expire: '2027-01-01T00:00:00Z', privsep: true, secret: {file: ci.token}}}
---
{apiVersion: pvectl/v1alpha1, kind: ApiToken, metadata: {name: deploy}, spec: {user: root@pam, id: Deploy.2, secret: {file: deploy.token}}}
---
{apiVersion: pvectl/v1alpha1, kind: AclEntry, metadata: {name: ci-audits}, spec: {path: /, role: PVEAuditor, token: 'ops@pve!ci'}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: User, metadata: {name: ops}, spec: {id: ops@pve}}
---
{apiVersion: pvectl/v1alpha1, kind: ApiToken, metadata: {name: ci}, spec: {user: ops@pve, comment: builds, privsep: false}}
---
{apiVersion: pvectl/v1alpha1, kind: ApiToken, metadata: {name: deploy}, spec: {user: root@pam, id: Deploy.2, expire: '2027-01-01T00:00:00Z'}}
---
{apiVersion: pvectl/v1alpha1, kind: AclEntry, metadata: {name: ci-audits}, spec: {path: /, role: PVEAuditor, token: 'ops@pve!ci'}}
",
        ],
    },
    Life {
        name: "storage with a backup job",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: Storage
metadata: {name: vault}
spec: {type: nfs, server: 10.0.0.2, export: /vault, content: [backup, iso], nodes: [pve1, pve2], retention: {keepDaily: 7}}
---
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: front}, spec: {}}
---
apiVersion: pvectl/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  comment: every night
  schedule: '02:30'
  storage: vault
  vmids: [8200, 8100]
  mode: stop
  compress: zstd
  retention: {keepLast: 3, keepWeekly: 4}
  notesTemplate: '{{guestname}}'
  repeatMissed: true
",
            r"
apiVersion: pvectl/v1alpha1
kind: Storage
metadata: {name: vault, annotations: {pvectl/take-over: 'true'}}
spec: {type: nfs, server: 10.0.0.3, export: /vault, content: [iso, backup, snippets], disable: true, options: {options: 'vers=4.2'}}
---
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: front}, spec: {}}
---
apiVersion: pvectl/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec: {schedule: 'sat 04:00', storage: vault, pool: front, enabled: false, options: {mailto: ops@example.org}}
",
            r"
apiVersion: pvectl/v1alpha1
kind: Storage
metadata: {name: vault}
spec: {type: nfs, server: 10.0.0.3, export: /vault}
---
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: front}, spec: {}}
---
apiVersion: pvectl/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec: {schedule: 'sat 04:00', all: true, exclude: [8100], node: pve1}
",
        ],
    },
    Life {
        name: "network profiles that guests name, change and leave",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: NetworkProfile
metadata: {name: api-access}
spec:
  bridge: vmbr1
  vlan: 20
  rateLimit: 100MB/s
  macFilter: true
  egress:
    default: Deny
    allow:
      - to: api.github.com:443
      - {to: 10.0.0.0/8, ports: [tcp/5432, udp/53]}
      - to: {guests: {labels: {app: web}}, ports: [tcp/8080]}
  ingress: {default: Deny, allow: [{from: any, ports: [icmp]}]}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: agent}
spec: {vmid: 131, node: pve1, description: agent, power: Running, networks: [{slot: net0, profile: api-access}]}
---
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: server, labels: {app: web}}
spec:
  vmid: 132
  description: server
  node: pve1
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  rootfs: {storage: local-lvm, size: 1Gi}
  networks: [{slot: net0, name: eth0, profile: api-access, ip: 10.0.20.9/24}]
",
            r"
apiVersion: pvectl/v1alpha1
kind: NetworkProfile
metadata: {name: api-access}
spec:
  bridge: vmbr1
  egress:
    default: Reject
    allow:
      - {to: any, ports: [tcp/80], except: [192.0.2.0/24]}
      - to: {guests: {labels: {app: web}}, ports: [tcp/8080]}
      - to: api.github.com:443
    deny: [{to: 10.0.0.0/8}]
  log: Info
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: agent}
spec: {vmid: 131, node: pve1, description: agent, power: Running, networks: [{slot: net0, profile: api-access}]}
---
apiVersion: pvectl/v1alpha1
kind: Container
metadata: {name: server, labels: {app: web}}
spec:
  vmid: 132
  description: server
  node: pve1
  from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}
  rootfs: {storage: local-lvm, size: 1Gi}
  networks: [{slot: net0, name: eth0, bridge: vmbr0, ip: 10.0.20.10/24}]
  firewall: {enabled: false, groups: []}
",
        ],
    },
    Life {
        name: "zones with virtual networks",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: SdnZone, metadata: {name: lab}, spec: {type: simple, ipam: pve, dhcp: dnsmasq}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnZone, metadata: {name: office}, spec: {id: vl, type: vlan, bridge: vmbr0, nodes: [pve1, pve2], mtu: 1496, options: {bridge-disable-mac-learning: true}}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnVnet, metadata: {name: vlab}, spec: {zone: lab, alias: the lab}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnVnet, metadata: {name: printers}, spec: {id: v20, zone: vl, tag: 20}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnSubnet, metadata: {name: lab-four}, spec: {vnet: vlab, cidr: 10.60.0.0/24, gateway: 10.60.0.1, snat: true, dnsZonePrefix: lab, dhcpRanges: [{startAddress: 10.60.0.200, endAddress: 10.60.0.220}, {startAddress: 10.60.0.20, endAddress: 10.60.0.90}]}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnSubnet, metadata: {name: lab-six}, spec: {vnet: vlab, cidr: 'fd00:60::/64'}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: SdnZone, metadata: {name: lab, annotations: {pvectl/take-over: 'true'}}, spec: {type: simple, ipam: pve, mtu: 1400, nodes: [pve3, pve1]}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnZone, metadata: {name: office}, spec: {id: vl, type: vlan, bridge: vmbr0}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnZone, metadata: {name: wide}, spec: {type: vxlan, peers: [10.0.0.13, 10.0.0.11, 10.0.0.12], vxlanPort: 4790}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnVnet, metadata: {name: vlab}, spec: {zone: lab}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnVnet, metadata: {name: far}, spec: {zone: wide, tag: 70000}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnSubnet, metadata: {name: lab-four, annotations: {pvectl/take-over: 'true'}}, spec: {vnet: vlab, cidr: 10.60.0.0/24, gateway: 10.60.0.254, snat: false, dhcpDnsServer: 10.60.0.53, dhcpRanges: [{startAddress: 10.60.0.20, endAddress: 10.60.0.99}]}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnSubnet, metadata: {name: lab-six}, spec: {vnet: vlab, cidr: 'fd00:60::/64'}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnSubnet, metadata: {name: far-four}, spec: {vnet: far, cidr: 10.61.0.0/16}}
---
{apiVersion: pvectl/v1alpha1, kind: SdnVnet, metadata: {name: printers, annotations: {pvectl/take-over: 'true'}}, spec: {id: v20, zone: vl, tag: 21, alias: printers (2nd floor), isolatePorts: true, vlanAware: true}}
",
        ],
    },
    Life {
        name: "a snapshot policy that moves",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: web}}, spec: {vmid: 120, node: pve2, description: kept, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {name: nightly}, spec: {selector: {vmids: [120]}, schedule: '00:00', retention: {keepDaily: 2}}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: web}}, spec: {vmid: 120, node: pve2, description: kept, disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {name: nightly}, spec: {selector: {labels: {app: web}}, schedule: '00:00', namePrefix: n, concurrency: {perStorage: 1}, limits: {minFreeStorage: 1%}, retention: {keepLast: 1}, freshness: 2d}}
---
{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {name: yearly}, spec: {selector: {vmids: [120]}, cron: '0 0 1 1 *', retention: {classes: {daily: 7d, monthly: 60d}}}}
",
        ],
    },
    Life {
        name: "a patch window that moves",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: web}}, spec: {vmid: 120, node: pve2, description: kept}}
---
{apiVersion: pvectl/v1alpha1, kind: PatchWindow, metadata: {name: sunday}, spec: {schedule: 'Sun 02:00', duration: 3h, timeZone: Europe/Berlin, targets: {selector: {vmids: [120]}}}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: web}}, spec: {vmid: 120, node: pve2, description: kept}}
---
{apiVersion: pvectl/v1alpha1, kind: PatchWindow, metadata: {name: sunday}, spec: {cron: '0 3 * * 0', duration: 4h, cutoff: 45m, freeze: ['2026-12-20..2027-01-06'], waves: [{selector: {labels: {app: web}}, soak: 1h}, {selector: {}}], maxErrors: 2, targets: {nodes: [pve1, pve2], selector: {labels: {app: web}}}, order: GuestsFirst, updates: {class: Security, exclude: ['linux-image-*'], soakDays: 3}, maxConcurrent: 2, before: {snapshot: true, keep: 3d}, reboot: IfRequired, drain: {migrate: Online, nodeMaintenance: true}, healthCheck: {tcp: ['22'], command: [systemctl, is-system-running, --wait], timeout: 5m}, onFailure: Rollback, configFiles: Replace, stopped: Start}}
",
        ],
    },
    Life {
        name: "a runner pool whose GitHub is away",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: debian}, spec: {node: pve1, vmid: 9000, source: {clone: {vmid: 8000, mode: Full}}, hardware: {guestAgent: true}}}
---
{apiVersion: pvectl/v1alpha1, kind: RunnerPool, metadata: {name: ci}, spec: {github: {scope: {organization: acme}, auth: {token: {env: GITHUB_TOKEN}}}, labels: [self-hosted], template: debian, demand: Idle, size: {minIdle: 1, max: 2}, vmidRange: 50000-50009, bootstrap: {}, checks: []}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: debian}, spec: {node: pve1, vmid: 9000, source: {clone: {vmid: 8000, mode: Full}}, hardware: {guestAgent: true}}}
---
{apiVersion: pvectl/v1alpha1, kind: NetworkProfile, metadata: {name: out}, spec: {bridge: vmbr1, egress: {default: Deny, allow: [{to: 10.0.0.0/8, ports: ['tcp/443']}]}}}
---
{apiVersion: pvectl/v1alpha1, kind: RunnerPool, metadata: {name: ci}, spec: {github: {scope: {repository: acme/app}, apiUrl: 'https://github.example.com/api/v3', auth: {app: {id: Iv1, installationId: 7, privateKey: {file: /etc/pvectl/app.pem}}}, runnerGroup: builders}, labels: [self-hosted, x64], template: debian, clone: {mode: Full, storage: local-lvm}, demand: Idle, size: {minIdle: 1, max: 2}, warm: [{schedule: 'Mon..Fri 08:00', duration: 10h, timeZone: Europe/Berlin, minIdle: 2}], vmidRange: 50000-50009, nodes: [pve1], networkProfile: out, tags: [ci], minFreeMemory: 1Gi, bootstrap: {registration: Token, before: 'true'}, timeouts: {job: 1h}, onFailure: {keep: 1}, checks: []}}
",
        ],
    },
    Life {
        name: "a backup policy whose guests come and leave",
        states: &[
            r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: web}}, spec: {vmid: 120, node: pve2, description: kept}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: other, labels: {app: db}}, spec: {vmid: 121, node: pve2, description: other}}
---
{apiVersion: pvectl/v1alpha1, kind: BackupPolicy, metadata: {name: nightly}, spec: {selector: {labels: {app: web}}, schedule: '03:30', storage: nfs, mode: Snapshot, compress: zstd, retention: {keepDaily: 7, keepWeekly: 4, keepMonthly: 6, keepYearly: 1}, notesTemplate: '{{guestname}} on {{node}}', fleecing: {enabled: true, storage: local-lvm}, repeatMissed: true, protected: false, maxAge: 36h}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: front}, spec: {}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: db}}, spec: {vmid: 120, node: pve2, description: kept}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: other, labels: {app: web}}, spec: {vmid: 121, node: pve2, description: other, pool: front}}
---
{apiVersion: pvectl/v1alpha1, kind: BackupPolicy, metadata: {name: nightly}, spec: {selector: {labels: {app: web}}, schedule: 'sat 04:00', storage: nfs, mode: Stop, retention: {keepAll: true}, enabled: false}}
---
{apiVersion: pvectl/v1alpha1, kind: BackupPolicy, metadata: {name: front}, spec: {selector: {pools: [front]}, schedule: 'mon..fri 22:00', storage: local, node: pve2}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: front}, spec: {}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: other, labels: {app: web}}, spec: {vmid: 121, node: pve2, description: other}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: kept, labels: {app: db}}, spec: {vmid: 120, node: pve2, description: kept}}
---
{apiVersion: pvectl/v1alpha1, kind: BackupPolicy, metadata: {name: nightly}, spec: {selector: {names: [ke*]}, schedule: 'sat 04:00', storage: nfs}}
---
{apiVersion: pvectl/v1alpha1, kind: BackupPolicy, metadata: {name: front}, spec: {selector: {}, schedule: daily, storage: local, maxAge: 2d}}
",
        ],
    },
    Life {
        name: "a disk that is mounted, with a storage on it",
        states: &[
            r"
apiVersion: pvectl/v1alpha1
kind: HostMount
metadata: {name: usb-backup}
spec:
  node: pve1
  uuid: 3f1c2a9e-7d54-4b1e-9c58-2f6b8a0d4e11
  path: /mnt/usb-backup
  fsType: ext4
  options: [noatime, commit=30]
  storage: {id: usb, content: [backup]}
---
{apiVersion: pvectl/v1alpha1, kind: HostMount, metadata: {name: media}, spec: {node: pve2, uuid: 5d0e7c44-21b3-4f0a-8a6e-90c1f2b7d3aa, path: /srv/media, fsType: xfs, required: true}}
",
            r"
apiVersion: pvectl/v1alpha1
kind: HostMount
metadata: {name: usb-backup}
spec:
  node: pve1
  uuid: 3f1c2a9e-7d54-4b1e-9c58-2f6b8a0d4e11
  path: /mnt/usb-backup
  fsType: ext4
  options: [nofail, nodev]
  storage: {id: usb, content: [iso, backup]}
---
{apiVersion: pvectl/v1alpha1, kind: HostMount, metadata: {name: media}, spec: {node: pve2, uuid: 5d0e7c44-21b3-4f0a-8a6e-90c1f2b7d3aa, path: /srv/media, fsType: xfs, options: [ro]}}
",
            r"
{apiVersion: pvectl/v1alpha1, kind: HostMount, metadata: {name: usb-backup}, spec: {node: pve1, uuid: 3f1c2a9e-7d54-4b1e-9c58-2f6b8a0d4e11, path: /mnt/usb-backup, fsType: ext4, storage: {id: usb}}}
---
{apiVersion: pvectl/v1alpha1, kind: HostMount, metadata: {name: media}, spec: {node: pve2, uuid: 5d0e7c44-21b3-4f0a-8a6e-90c1f2b7d3aa, path: /srv/media, fsType: xfs}}
",
        ],
    },
];
