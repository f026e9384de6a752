//! Backup policies: one of PVE's own jobs for chosen guests ([`job`]), whose list of guests follows them ([`members`]), and a
//! look at what backups there really are ([`fresh`]). The job carries the marker of its policy in its comment, and goes
//! through the table of objects as a `BackupJob` does: what differs, who changed it and what is reset comes from there.

pub mod spec;

pub mod members;

pub mod job;

pub mod fresh;

pub mod kind;
