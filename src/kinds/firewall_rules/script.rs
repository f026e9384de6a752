//! The shortest way from one list to another for rules, which PVE inserts at the front only and moves one at a time.

/// One request on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<T> {
    /// At the front.
    Insert(T),
    /// At a place, in place.
    Change(usize, T),
    /// From a place to before what stands at another.
    Move(usize, usize),
    /// From a place.
    Delete(usize),
}

/// What an edit makes of a list, as PVE does it.
pub fn edit<T: Clone>(list: &mut Vec<T>, edit: &Edit<T>) {
    match edit {
        Edit::Insert(item) => list.insert(0, item.clone()),
        Edit::Change(at, item) => list[*at] = item.clone(),
        Edit::Move(from, to) => {
            let item = list.remove(*from);
            let to = if to > from { to - 1 } else { *to };
            list.insert(to.min(list.len()), item);
        }
        Edit::Delete(at) => {
            list.remove(*at);
        }
    }
}

/// What a script needs to know of its items.
pub trait Item: Clone + PartialEq {
    /// Whether two differ at most in what decides nothing: a comment, a log level.
    fn is_alike(&self, other: &Self) -> bool;
    /// The same, in force or not.
    fn switched(&self, on: bool) -> Self;
}

/// The edits that make `want` of `have`, so that at every moment each packet fares as before or as after.
///
/// The first rule that fits decides. So what is new is put behind what goes, from first to last, and each is made off and
/// switched on in its place, since PVE makes rules at the front; then what goes is taken from last to first. What is alike
/// at both ends stays. A list that nobody asks yet (`fresh`) is simply filled.
pub fn script<T: Item>(have: &[T], want: &[T], fresh: bool) -> Vec<Edit<T>> {
    if fresh && have.is_empty() {
        return want.iter().rev().cloned().map(Edit::Insert).collect();
    }
    let alike = |(a, b): &(&T, &T)| a.is_alike(b);
    let first = have.iter().zip(want).take_while(alike).count();
    let last = have[first..].iter().rev().zip(want[first..].iter().rev()).take_while(alike).count();
    let (old, new) = (&have[first..have.len() - last], &want[first..want.len() - last]);
    let mut edits = Vec::new();
    for (at, (a, b)) in have.iter().zip(want).take(first).enumerate() {
        if a != b {
            edits.push(Edit::Change(at, b.clone()));
        }
    }
    for (back, (a, b)) in have.iter().rev().zip(want.iter().rev()).take(last).enumerate() {
        if a != b {
            edits.push(Edit::Change(have.len() - 1 - back, b.clone()));
        }
    }
    if let ([_], [new]) = (old, new) {
        // One request is one moment.
        edits.push(Edit::Change(first, new.clone()));
        return edits;
    }
    if let Some(edit) = moved(old, new, first) {
        edits.push(edit);
        return edits;
    }
    let behind = first + old.len();
    for (n, item) in new.iter().enumerate() {
        let place = behind + n;
        if place == 0 {
            edits.push(Edit::Insert(item.clone()));
            continue;
        }
        let off = item.switched(false);
        edits.extend([Edit::Insert(off.clone()), Edit::Move(0, place + 1)]);
        if off != *item {
            edits.push(Edit::Change(place, item.clone()));
        }
    }
    edits.extend((first..behind).rev().map(Edit::Delete));
    edits
}

/// One item that stands elsewhere, and nothing else: one request again.
fn moved<T: Item>(old: &[T], new: &[T], first: usize) -> Option<Edit<T>> {
    let last = old.len().checked_sub(1).filter(|_| old.len() == new.len())?;
    if old.first() == new.last() && old[1..] == new[..last] {
        return Some(Edit::Move(first, first + last + 1));
    }
    (old.last() == new.first() && old[..last] == new[1..]).then_some(Edit::Move(first + last, first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A rule about some of eight packets: it lets them through or not, and may be off.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Toy {
        about: u8,
        passes: bool,
        on: bool,
        comment: u8,
    }

    impl Item for Toy {
        fn is_alike(&self, other: &Toy) -> bool {
            Toy { comment: 0, ..self.clone() } == Toy { comment: 0, ..other.clone() }
        }
        fn switched(&self, on: bool) -> Toy {
            Toy { on, ..self.clone() }
        }
    }

    /// How each packet fares.
    fn fates(list: &[Toy]) -> Vec<bool> {
        let decides = |packet: u8| move |toy: &&Toy| toy.on && toy.about >> packet & 1 == 1;
        (0..8).map(|packet| list.iter().find(decides(packet)).is_some_and(|toy| toy.passes)).collect()
    }

    fn lists() -> impl Strategy<Value = Vec<Toy>> {
        let toy = (any::<u8>(), any::<bool>(), prop::bool::weighted(0.9), 0..2_u8);
        let toy = toy.prop_map(|(about, passes, on, comment)| Toy { about: about & 0b1101, passes, on, comment });
        prop::collection::vec(toy, 0..7)
    }

    proptest! {
        #[test]
        fn at_every_moment_each_packet_fares_as_before_or_as_after(have in lists(), want in lists()) {
            let (before, after) = (fates(&have), fates(&want));
            let mut now = have.clone();
            for step in script(&have, &want, false) {
                edit(&mut now, &step);
                for (packet, fate) in fates(&now).into_iter().enumerate() {
                    prop_assert!(fate == before[packet] || fate == after[packet], "packet {packet} after {step:?}: {now:?}");
                }
            }
            prop_assert_eq!(now, want);
        }

        #[test]
        fn nothing_is_done_to_what_is_right(list in lists()) {
            prop_assert!(script(&list, &list, false).is_empty());
        }

        #[test]
        fn what_stands_at_both_ends_is_not_touched(list in lists(), new in lists(), at in any::<prop::sample::Index>()) {
            let at = at.index(list.len() + 1);
            let mut want = list.clone();
            want.splice(at..at, new.clone());
            let edits = script(&list, &want, false);
            let takes = |edit: &Edit<Toy>| matches!(edit, Edit::Delete(_)) || matches!(edit, Edit::Move(from, _) if *from > 0);
            prop_assert!(!edits.iter().any(takes), "{edits:?}");
            prop_assert!(edits.len() <= 3 * new.len() + list.len(), "{edits:?}");
        }
    }

    fn toy(about: u8) -> Toy {
        Toy { about, passes: true, on: true, comment: 0 }
    }

    #[test]
    fn the_fewest_requests_where_they_are_safe() {
        let [a, b, c, x] = [1, 2, 4, 8].map(toy);
        let list = [a.clone(), b.clone(), c.clone()];
        let fresh = script(&[], &list, true);
        assert_eq!(fresh, [Edit::Insert(c.clone()), Edit::Insert(b.clone()), Edit::Insert(a.clone())]);
        assert_eq!(script(&list, &[a.clone(), x.clone(), c.clone()], false), [Edit::Change(1, x.clone())]);
        assert_eq!(script(&list, &[c.clone(), a.clone(), b.clone()], false), [Edit::Move(2, 0)]);
        assert_eq!(script(&list, &[b.clone(), c.clone(), a.clone()], false), [Edit::Move(0, 3)]);
        assert_eq!(script(&list, &[a.clone(), c.clone()], false), [Edit::Delete(1)]);
        let edits = script(&list, &[a.clone(), b.clone(), c.clone(), x.clone()], false);
        assert_eq!(edits, [Edit::Insert(x.switched(false)), Edit::Move(0, 4), Edit::Change(3, x)]);
        let named = Toy { comment: 1, ..b };
        assert_eq!(script(&list, &[a, named.clone(), c], false), [Edit::Change(1, named)]);
    }
}
