//! Words everybody uses: identities, quantities, secrets, diagnostics with spans, conditions. Knows nothing of manifests
//! or of Proxmox's wire; does no I/O.

pub mod cause;
pub mod clock;
pub mod condition;
pub mod diagnostic;
pub mod id;
pub mod links;
pub mod quantity;
pub mod resolver;
pub mod secret;
pub mod secret_file;
pub mod source;
