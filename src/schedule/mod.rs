//! When something is due: PVE's calendar events and cron's five fields, in a time zone.
//!
//! Both are read into one form ([`fields::Fields`]: sets of seconds, minutes, hours, days, months, weekdays, years), and one
//! search finds the slots of it ([`slots::Schedule`]). Nothing here knows the present moment: who asks says which time he
//! means, so the same question has the same answer after a restart, in a test, and in a year that is only played.

pub mod set;

pub mod fields;

pub mod calendar;
pub mod cron;

pub mod slots;

mod zone;

#[cfg(test)]
mod tests;
