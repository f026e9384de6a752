//! Pools of runners of GitHub Actions. PVE holds no object for a pool; it is in force while a manifest declares it, and how far
//! each of its machines is stands on the machine itself, on its guest's disk, and in GitHub's list of runners.

pub mod spec;

pub mod check;

pub mod warm;

/// Its name in manifests.
pub const NAME: &str = "RunnerPool";
