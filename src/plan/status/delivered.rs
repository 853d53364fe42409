//! What is in the Secret, beside what a snapshot makes of each source.

use crate::api::{Fingerprint, TargetStatus};
use crate::plan::picture::Picture;
use crate::plan::render::Rendered;
use std::collections::BTreeMap;

/// What is in the Secret, by what status will record.
pub(super) struct Delivered<'a> {
    pub(super) keys: BTreeMap<&'a str, Option<Fingerprint>>,
    objects: &'a [Fingerprint],
}

impl<'a> Delivered<'a> {
    pub(super) fn of(target: Option<&'a TargetStatus>) -> Self {
        let keys = target.into_iter().flat_map(|target| &target.keys);
        Self {
            keys: keys.map(|key| (key.name.as_str(), key.of)).collect(),
            objects: target.map_or(&[], |target| &target.data_from),
        }
    }

    /// Whether every key that the source gives is there as this snapshot wants it, and none that is to go.
    pub(super) fn is_whole(&self, picture: &Picture<'_>, rendered: &Rendered, row: usize) -> bool {
        let mut keys = picture.keys.iter().filter(|key| key.rows.contains(&row));
        let mut objects = picture.objects.iter().filter(|object| object.row == row);
        let has = |key: &Option<String>, of: Option<Fingerprint>| match key {
            Some(key) => of.is_some() && self.keys.get(key.as_str()) == Some(&of),
            None => of.is_some_and(|of| self.objects.contains(&of)),
        };
        keys.all(|key| {
            let goes = rendered.remove.contains(key.recipe.key);
            match self.keys.get(key.recipe.key) {
                Some(of) => !goes && of.is_some() && *of == key.of,
                None => goes,
            }
        }) && (rendered.missing.contains(&row)
            || objects.all(|object| match &object.key {
                Some(key) if !object.item.publish => !self.keys.contains_key(key.as_str()),
                _ => has(&object.key, object.of),
            }))
    }

    /// Whether any key of the source is there, of whatever version; which keys `dataFrom` gave is not recorded by source, but
    /// `data` names all others.
    pub(super) fn has_any(&self, picture: &Picture<'_>, row: usize, keys: &[&str]) -> bool {
        let named = |name: &str| picture.keys.iter().any(|key| key.recipe.key == name);
        let mut objects = picture.objects.iter().filter(|object| object.row == row);
        keys.iter().any(|key| self.keys.contains_key(key))
            || objects.any(|object| match &object.key {
                Some(key) => self.keys.contains_key(key.as_str()),
                None => self.keys.keys().any(|name| !named(name)),
            })
    }
}
