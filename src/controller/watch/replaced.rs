//! Whether the watch is behind what we wrote ourselves.

/// The resourceVersions of one object that our writes took the place of, until the watch shows another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::controller) struct Replaced(Vec<String>);

impl Replaced {
    /// We wrote the object over `before`, and it is `after` since; the same, where that changed nothing.
    pub(in crate::controller) fn write(&mut self, before: Option<&str>, after: Option<&str>) {
        if before != after {
            self.0.extend(before.map(str::to_owned));
        }
    }

    /// Whether a watch that shows this is behind.
    pub(in crate::controller) fn is_ahead_of(&self, shown: Option<&str>) -> bool {
        shown.is_some_and(|shown| self.0.iter().any(|replaced| replaced == shown))
    }

    /// Whether the watch has nothing to catch up with.
    pub(in crate::controller) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_is_behind_while_it_shows_what_any_of_our_writes_replaced() {
        let mut replaced = Replaced::default();
        assert!(replaced.is_empty() && !replaced.is_ahead_of(Some("1")));
        for (before, after) in [("1", "2"), ("2", "3"), ("3", "3"), ("3", "3")] {
            replaced.write(Some(before), Some(after));
        }
        assert_eq!(replaced.0, ["1", "2"], "a write that changes nothing replaces nothing");
        assert!(replaced.is_ahead_of(Some("1")) && replaced.is_ahead_of(Some("2")));
        assert!(!replaced.is_ahead_of(Some("3")) && !replaced.is_ahead_of(None));
    }
}
