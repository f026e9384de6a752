//! Kinds by what was typed.

use crate::base::diagnostic::nearest;
use crate::cli::exit;
use crate::cli::run::Failure;
use crate::kinds::list;
use crate::resource::kind::AnyKind;

/// A kind by what was typed.
pub fn find_kind(name: &str) -> Result<&'static dyn AnyKind, Failure> {
    list::find(name).ok_or_else(|| {
        let names: Vec<&str> = list::names();
        let near = nearest(name, names.iter().copied());
        let hint = near.map_or_else(|| format!("kinds: {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        Failure::new(exit::USAGE, format!("there is no kind `{name}`")).hint(hint)
    })
}
