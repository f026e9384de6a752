//! One folder or file a kind; they do not see each other. [`guest`] is what the three kinds of guests share. [`objects`] are
//! those of the datacenter, through one table. [`firewall_rules`] is what guests and security groups share, [`selector`] how policies say which guests they
//! mean. [`list`] is the registry: a new kind is one module and one entry.

pub mod backup_policy;
pub mod backups;
pub mod container;
pub mod firewall_rules;
pub mod guest;
pub mod guest_set;
pub mod guest_template;
pub mod host_mount;
pub mod list;
pub mod network_profile;
pub mod node_health;
pub mod objects;
pub mod patch_window;
pub mod pool;
pub mod runner_pool;
pub mod selector;

pub mod snapshot_policy;
pub mod virtual_machine;
pub mod when;
