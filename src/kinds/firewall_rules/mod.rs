//! Rules of PVE's firewall as lists, which security groups and guests have alike. PVE puts a new rule at the front whatever the
//! request says, and ignores everything else where a rule is moved; positions shift with each request, so each is sent only for
//! the list that it was made for, with that list's digest. Values only.

pub mod list;

pub mod script;
