//! A set of small numbers: the minutes, hours or days at which something is due.

/// Numbers from 0 to 63, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// No number at all.
    pub const EMPTY: Set = Set(0);

    /// The numbers from `first` to `last`, both included.
    pub fn range(first: u8, last: u8) -> Set {
        Set::steps(first, last, 1)
    }

    /// `first` and every `step`-th number after it up to `last`; a step of 0 is `first` alone, as PVE reads it.
    pub fn steps(first: u8, last: u8, step: u8) -> Set {
        let all = (first..=last.min(63)).step_by(usize::from(step.max(1)));
        let taken = if step == 0 { 1 } else { usize::MAX };
        Set(all.take(taken).fold(0, |bits, n| bits | 1 << n))
    }

    /// One number; none where it is over 63.
    pub fn one(number: u8) -> Set {
        Set::range(number, number)
    }

    /// What is in one of the two.
    pub fn or(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// What is in both.
    pub fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// True where nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True where `number` is in it.
    pub fn contains(self, number: u8) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// The smallest number in it that is `number` or more.
    pub fn at_or_after(self, number: u8) -> Option<u8> {
        let rest = self.0.checked_shr(u32::from(number)).unwrap_or(0);
        (rest != 0).then(|| number + low(rest.trailing_zeros()))
    }

    /// The largest number in it that is `number` or less.
    pub fn at_or_before(self, number: u8) -> Option<u8> {
        let rest = self.0 << (63 - number.min(63));
        (rest != 0).then(|| number.min(63) - low(rest.leading_zeros()))
    }

    /// The smallest number in it.
    pub fn first(self) -> Option<u8> {
        self.at_or_after(0)
    }

    /// The largest number in it.
    pub fn last(self) -> Option<u8> {
        self.at_or_before(63)
    }
}

/// A number of bits, which is at most 64.
fn low(bits: u32) -> u8 {
    u8::try_from(bits).unwrap_or(u8::MAX)
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Set {
        numbers.into_iter().fold(Set::EMPTY, |set, n| set.or(Set::one(n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_found_in_both_directions() {
        let set: Set = [0, 5, 63].into_iter().collect();
        let around = |n| (set.at_or_before(n), set.at_or_after(n));
        assert_eq!(around(0), (Some(0), Some(0)));
        assert_eq!(around(1), (Some(0), Some(5)));
        assert_eq!(around(6), (Some(5), Some(63)));
        assert_eq!(around(63), (Some(63), Some(63)));
        assert_eq!(set.at_or_after(64), None);
        assert_eq!(Set::EMPTY.at_or_before(63), None);
        assert_eq!(Set::steps(5, 59, 0), Set::one(5));
        assert_eq!(Set::steps(0, 10, 4), [0, 4, 8].into_iter().collect());
    }
}
