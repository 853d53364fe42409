//! Lists of objects, of their versions, and of deleted objects, in pages.

use std::iter;

use serde_json::{Map, Value, json};

use super::{VaultRequest, address, deletion, metadata, origin};
use crate::{
    answer::Answer,
    call::{Call, ObjectKind, Operation},
    objects::Certificate,
    paging::{self, SkipToken},
    refusal::Refusal,
    rest::certificates::thumbprint,
    state::VaultState,
    store::{Object, Store, Version},
};

/// What a list says of a version besides metadata and address.
type Extra<P> = fn(&Version<P>) -> Option<(&'static str, Value)>;

/// Which page of which list.
struct Asked<'a> {
    host: &'a str,
    call: &'a Call,
    from: Option<SkipToken>,
    count: usize,
    sparse: bool,
}

/// The items of a page, and where the list goes on.
type Page = (Vec<Map<String, Value>>, Option<SkipToken>);

/// Answers a list.
pub(super) fn answer(vault: &mut VaultState, request: &VaultRequest, call: &Call) -> Result<Answer, Refusal> {
    let asked = |name: &str| request.query.get(name).map(String::as_str);
    let count = paging::max_results(asked("maxresults"))?;
    let from = asked("$skiptoken").map(SkipToken::decode).transpose()?;
    let with_pending = asked("includePending").is_some_and(|wanted| wanted.eq_ignore_ascii_case("true"));
    let VaultState { name: host, objects, sparse, foreign_links, .. } = vault;
    let page = Asked { host, call, from, count, sparse: *sparse };
    let (items, next) = match call.kind {
        ObjectKind::Secret => page.of(&mut objects.secrets, |_| None, |_| true),
        ObjectKind::Key => page.of(&mut objects.keys, |_| None, |_| true),
        ObjectKind::Certificate => {
            // One without a version that was made is hidden, unless it is asked for.
            let shows = |version: &Version<Certificate>| with_pending || !version.held.der.is_empty();
            page.of(&mut objects.certificates, thumbprint, shows)
        }
    }?;
    let own = format!("{}:443", origin(host));
    let links_to = foreign_links.as_deref().unwrap_or(&own);
    let link = next.map(|token| {
        let (path, version) = (request.path.as_str(), asked("api-version").unwrap_or_default());
        let pending = if with_pending { "&includePending=true" } else { "" };
        // The port is explicit and the dollar bare, as the service writes them.
        format!(
            "{links_to}{path}?api-version={version}&$skiptoken={}&maxresults={count}{pending}",
            token.encode()
        )
    });
    Ok(Answer::ok(&json!({"value": items, "nextLink": link})))
}

impl Asked<'_> {
    fn of<P>(
        &self,
        store: &mut Store<P>,
        extra: Extra<P>,
        shows: impl Fn(&Version<P>) -> bool,
    ) -> Result<Page, Refusal> {
        let after = self.from.as_ref().map(|token| token.after.as_str());
        let item =
            |object: &Object<P>| object.current().map(|version| self.item(object, version, extra, None));
        let is_listed = |object: &Object<P>| object.current().is_some_and(&shows);
        let (found, next): (Vec<Option<_>>, _) = match self.call.operation {
            Operation::ListDeleted => {
                let (found, next) = self.page(store.absent(after).filter(|(_, object)| is_listed(object)));
                let with_deletion = |object: &Object<P>| {
                    let mut item = item(object)?;
                    item.extend(deletion(self.host, self.call.kind, object));
                    Some(item)
                };
                (found.into_iter().map(with_deletion).collect(), next)
            }
            Operation::ListVersions => {
                let object = &*store.find(&self.call.name)?;
                let mut versions: Vec<_> = object.versions.iter().filter(|version| shows(version)).collect();
                // By version id, which is random: never the order they were made in.
                versions.sort_by_key(|version| &version.id);
                let (found, next) =
                    self.page(versions.into_iter().map(|version| (version.id.as_str(), version)));
                let of_version =
                    |version: &Version<P>| Some(self.item(object, version, extra, Some(&version.id)));
                (found.into_iter().map(of_version).collect(), next)
            }
            _ => {
                let (found, next) = self.page(store.present(after).filter(|(_, object)| is_listed(object)));
                (found.into_iter().map(item).collect(), next)
            }
        };
        Ok((found.into_iter().flatten().collect(), next))
    }

    fn page<'a, T>(&self, sorted: impl Iterator<Item = (&'a str, T)>) -> (Vec<T>, Option<SkipToken>) {
        paging::page(sorted, self.from.as_ref(), self.count, self.sparse)
    }

    fn item<P>(
        &self,
        object: &Object<P>,
        version: &Version<P>,
        extra: Extra<P>,
        id: Option<&str>,
    ) -> Map<String, Value> {
        let kind = self.call.kind;
        let name = if kind == ObjectKind::Key { "kid" } else { "id" };
        let address = (name, Value::from(address(self.host, kind, &object.name, id)));
        let more = iter::once(address).chain(extra(version));
        metadata(version).into_iter().chain(more.map(|(name, value)| (name.to_owned(), value))).collect()
    }
}
