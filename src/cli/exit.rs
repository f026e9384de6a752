//! Exit codes, a promise to scripts. `diff` follows kubectl; every other verb follows `apply`. A daemon that does not answer, or
//! knows no such thing, is a failure (1; for `drift --daemon` 3); a wrong token is a usage error; what it refuses is 3.
//!
//! | code | `diff`, `drift`         | `check`                  | `apply`, `delete` and the rest       |
//! |------|-------------------------|--------------------------|--------------------------------------|
//! | 0    | nothing to do           | no rule failed           | done                                 |
//! | 1    | differences             | some rule failed         | failed, or done in part              |
//! | 2    | usage or manifest error | usage or manifest error  | usage or manifest error              |
//! | 3    | any other error         | something was not looked at | refused by a guard; nothing was sent |

/// Done, or nothing to do.
pub const DONE: u8 = 0;
/// `diff`: there are differences.
pub const DIFFERENCES: u8 = 1;
/// `check`: some rule failed.
pub const FINDINGS: u8 = 1;
/// `apply`: some steps failed. What is done and what is left was reported; running it again goes on from there.
pub const FAILED: u8 = 1;
/// Arguments, configuration or manifests are wrong. Nothing was sent.
pub const USAGE: u8 = 2;
/// `diff`, `check`: it could not be looked at, so that neither 0 nor 1 would be true.
pub const NOT_COMPARED: u8 = 3;
/// A guard refused: data loss not allowed, too many deletions, not confirmed. Nothing was sent.
pub const REFUSED: u8 = 3;
