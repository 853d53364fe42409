//! What is kept for each user of a source, in the order of the users.
//!
//! A sorted list and no tree: nearly every source has one user, for whom a tree holds room for eleven, and there may
//! be tens of thousands of sources.

use crate::object_key::ObjectKey;

/// See the module.
#[derive(Debug)]
pub(super) struct ByUser<T>(Vec<(ObjectKey, T)>);

impl<T> ByUser<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, user: &ObjectKey) -> Option<&T> {
        let at = self.find(user).ok()?;
        self.0.get(at).map(|(_, kept)| kept)
    }

    pub(super) fn get_mut(&mut self, user: &ObjectKey) -> Option<&mut T> {
        let at = self.find(user).ok()?;
        self.0.get_mut(at).map(|(_, kept)| kept)
    }

    /// Keeps this for the user, in place of what was kept before.
    pub(super) fn insert(&mut self, user: ObjectKey, kept: T) {
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        match self.find(&user) {
            Ok(at) => {
                if let Some((_, before)) = self.0.get_mut(at) {
                    *before = kept;
                }
            }
            Err(at) => self.0.insert(at, (user, kept)),
        }
    }

    pub(super) fn remove(&mut self, user: &ObjectKey) {
        if let Ok(at) = self.find(user) {
            self.0.remove(at);
        }
    }

    pub(super) fn users(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.iter().map(|(user, _)| user)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, kept)| kept)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, kept)| kept)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &T)> {
        self.0.iter().map(|(user, kept)| (user, kept))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&ObjectKey, &mut T)> {
        self.0.iter_mut().map(|(user, kept)| (&*user, kept))
    }

    fn find(&self, user: &ObjectKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(user))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn user(number: u8) -> ObjectKey {
        ObjectKey::new("shop", format!("object-{number}"))
    }

    proptest! {
        #[test]
        fn it_keeps_what_a_tree_would(steps in prop::collection::vec((any::<bool>(), 0_u8..9, any::<u32>()), 0..60)) {
            let (mut list, mut tree) = (ByUser::new(), BTreeMap::new());
            for (keep, number, value) in steps {
                let user = user(number);
                if keep {
                    list.insert(user.clone(), value);
                    tree.insert(user.clone(), value);
                } else {
                    list.remove(&user);
                    tree.remove(&user);
                }
                prop_assert_eq!(list.get(&user), tree.get(&user));
                prop_assert!(list.iter().eq(tree.iter()));
                prop_assert_eq!(list.is_empty(), tree.is_empty());
            }
        }
    }
}
