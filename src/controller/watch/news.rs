//! What a watch shows that is news to others: an object came, its work changed, or it went. Its status is none.

use crate::api::fnv1a;
use kube::Resource;
use kube::runtime::watcher::Event;
use std::collections::{HashMap, HashSet};

/// Tells news from the rest. Kept by hashes: names and uids of all objects, once more, would cost ten times as much.
#[derive(Debug)]
pub(in crate::controller) struct News<K> {
    /// The hash of what others go by.
    work: fn(&K) -> u64,
    /// The hash of a uid, and of the object's work when it was last news.
    known: HashMap<u64, u64>,
    /// The uids of a list that is not complete yet.
    listed: HashSet<u64>,
}

impl<K: Resource> News<K> {
    /// Objects are news by what `work` says of them.
    pub(in crate::controller) fn new(work: fn(&K) -> u64) -> Self {
        Self { work, known: HashMap::new(), listed: HashSet::new() }
    }

    /// Whether the event is news.
    pub(in crate::controller) fn is_news(&mut self, event: &Event<K>) -> bool {
        let uid = |object: &K| fnv1a(object.meta().uid.as_deref().unwrap_or_default().as_bytes());
        match event {
            Event::Init => {
                self.listed.clear();
                false
            }
            Event::InitApply(object) => {
                self.listed.insert(uid(object));
                self.changed(uid(object), object)
            }
            Event::InitDone => {
                // What went while the watch was away.
                let listed = std::mem::take(&mut self.listed);
                self.known.retain(|uid, _| listed.contains(uid));
                false
            }
            Event::Apply(object) => self.changed(uid(object), object),
            Event::Delete(object) => {
                self.known.remove(&uid(object));
                true
            }
        }
    }

    fn changed(&mut self, uid: u64, object: &K) -> bool {
        let now = (self.work)(object);
        self.known.insert(uid, now) != Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VaultSecretSync;
    use serde_json::json;

    fn object(uid: &str, generation: i64) -> VaultSecretSync {
        serde_json::from_value(json!({
            "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync",
            "metadata": {"name": "shop", "uid": uid, "generation": generation}, "spec": {"data": []},
        }))
        .unwrap()
    }

    fn news() -> News<VaultSecretSync> {
        News::new(|object| object.metadata.generation.unwrap_or_default().unsigned_abs())
    }

    #[test]
    fn an_object_is_news_when_its_work_changed_or_when_it_is_another_of_the_same_name() {
        let mut news = news();
        assert!(news.is_news(&Event::Apply(object("a", 1))));
        assert!(!news.is_news(&Event::Apply(object("a", 1))));
        assert!(news.is_news(&Event::Apply(object("a", 2))));
        assert!(news.is_news(&Event::Apply(object("b", 2))));
        assert!(news.is_news(&Event::Delete(object("b", 2))));
        assert!(news.is_news(&Event::InitApply(object("b", 2))), "nothing is kept of what is gone");
    }

    #[test]
    fn nothing_is_kept_of_what_went_while_the_watch_was_away() {
        let mut news = news();
        for uid in ["a", "b"] {
            news.is_news(&Event::Apply(object(uid, 1)));
        }
        news.is_news(&Event::Init);
        assert!(!news.is_news(&Event::InitApply(object("a", 1))), "a list that shows the same is no news");
        news.is_news(&Event::InitDone);
        assert_eq!(news.known.len(), 1);
    }
}
