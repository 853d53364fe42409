//! Pages of a list, and the token that continues one.
//!
//! The token says after which key to go on, never how many were seen: what is added or removed between two pages
//! moves nothing that is still to come.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The most a page holds, and what it holds when nobody asks.
pub(crate) const MAX_RESULTS: usize = 25;

/// Where a list goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SkipToken {
    /// The last key of the page before.
    pub(crate) after: String,
    /// The page this token asks for follows an empty one.
    #[serde(default)]
    gap: bool,
}

impl SkipToken {
    pub(crate) fn encode(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Refusal> {
        BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| Refusal::bad_parameter("The request URI contains an invalid $skiptoken."))
    }
}

/// Reads `maxresults`: 1 to 25.
pub(crate) fn max_results(text: Option<&str>) -> Result<usize, Refusal> {
    match text.map(str::parse) {
        None => Ok(MAX_RESULTS),
        Some(Ok(count)) if (1..=MAX_RESULTS).contains(&count) => Ok(count),
        Some(_) => Err(Refusal::bad_parameter(
            "Invalid value specified for maxresults: it must be between 1 and 25.",
        )),
    }
}

/// One page of keys sorted in ascending order, and the token of the next one while there is more.
///
/// `sparse` puts an empty page, with a token, before each page but the first, as the service does now and then.
pub(crate) fn page<'a, T>(
    sorted: impl Iterator<Item = (&'a str, T)>,
    from: Option<&SkipToken>,
    count: usize,
    sparse: bool,
) -> (Vec<T>, Option<SkipToken>) {
    if let Some(token) = from.filter(|token| sparse && !token.gap) {
        return (Vec::new(), Some(SkipToken { gap: true, ..token.clone() }));
    }
    let mut rest = sorted.skip_while(|(key, _)| from.is_some_and(|token| *key <= token.after.as_str()));
    let mut last = "";
    let mut items = Vec::new();
    for (key, item) in rest.by_ref().take(count) {
        last = key;
        items.push(item);
    }
    let next = rest.next().map(|_| SkipToken { after: last.to_owned(), gap: false });
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<(String, usize)> {
        (0..count).map(|index| (format!("{index:04}"), index)).collect()
    }

    fn sorted(keys: &[(String, usize)]) -> impl Iterator<Item = (&str, usize)> {
        keys.iter().map(|(key, item)| (key.as_str(), *item))
    }

    fn walk(total: usize, count: usize, sparse: bool) -> Vec<Vec<usize>> {
        let (mut pages, mut from) = (Vec::new(), None);
        loop {
            let (items, next) = page(sorted(&keys(total)), from.as_ref(), count, sparse);
            pages.push(items);
            let Some(next) = next else { return pages };
            from = Some(SkipToken::decode(&next.encode()).unwrap());
        }
    }

    #[test]
    fn every_item_is_listed_once_and_the_last_page_has_no_token() {
        for (total, count) in [(0, 25), (1, 25), (25, 25), (26, 25), (60, 25), (7, 1)] {
            let pages = walk(total, count, false);
            assert_eq!(pages.len(), total.div_ceil(count).max(1), "{total} by {count}");
            assert_eq!(pages.concat(), (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn empty_pages_in_between_lose_nothing() {
        let pages = walk(60, 25, true);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [25, 0, 25, 0, 10]);
        assert_eq!(pages.concat(), (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn an_item_removed_between_two_pages_moves_no_other() {
        let (_, next) = page(sorted(&keys(10)), None, 5, false);
        let mut left = keys(10);
        left.remove(0);
        let (items, _) = page(sorted(&left), next.as_ref(), 5, false);
        assert_eq!(items, [5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_page_size_outside_1_to_25_is_refused() {
        assert_eq!(max_results(None).unwrap(), 25);
        assert_eq!(max_results(Some("1")).unwrap(), 1);
        for text in ["0", "26", "-1", "many", ""] {
            assert!(max_results(Some(text)).is_err(), "{text}");
        }
        assert!(SkipToken::decode("not a token").is_err());
    }
}
