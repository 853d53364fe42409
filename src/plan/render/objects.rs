//! The keys that `dataFrom` gives: members of a value, or secrets that were found by their names.

use super::Rendered;
use crate::api::Format;
use crate::plan::picture::{Fate, Flaw, Picture, Row, WantedObject};
use crate::plan::target::KeyBytes;
use crate::plan::value::{Renaming, members_of};
use crate::reason::Reason;

/// The keys that a `dataFrom` source gives. Where it gives none that is noted in `rendered`, and the error is what becomes
/// of those it gave.
pub(super) fn render_object(
    picture: &Picture<'_>,
    object: &WantedObject<'_>,
    rendered: &mut Rendered,
) -> Result<Vec<(String, KeyBytes)>, Fate> {
    let Some(reading) = picture.rows.get(object.row).and_then(Row::value) else {
        let reason = picture.trouble_of_object(object);
        if let Some(key) = &object.key {
            return Err(found_without_value(picture, object, key, reason, rendered));
        }
        let Some(reason) = reason else {
            rendered.complete = false;
            return Err(Fate::Stays);
        };
        let fate = object.fate(reason);
        match fate {
            Fate::Goes => {}
            Fate::Needed | Fate::Stays => {
                rendered.complete = false;
                match object.of.and_then(|of| picture.judged.get(&of)) {
                    Some(flaw) if flaw.reason() == reason => rendered.flaw(object.row, flaw, fate),
                    Some(_) | None => rendered.problem(object.row, reason, fate),
                }
            }
        }
        return Err(fate);
    };
    let Some(secret) = &object.item.secret else {
        if let (Some(key), true) = (&object.key, object.clashes) {
            return Err(found_without_value(picture, object, key, Some(Reason::DuplicateKey), rendered));
        }
        return Ok(found_key(object, reading.value.expose(), rendered));
    };
    let members = members_of(secret.format, reading.value.expose());
    let keys = |members| Renaming::of(&object.item.rename)?.keys(members);
    let too_much = Flaw::Value(Reason::InvalidPattern);
    let members = match members.and_then(|members| keys(members).ok_or(too_much)) {
        Ok(members) => members,
        Err(flaw) => {
            let fate = object.fate(flaw.reason());
            rendered.complete = false;
            rendered.flaw(object.row, &flaw, fate);
            rendered.judged.extend(object.of.map(|of| (of, flaw)));
            return Err(fate);
        }
    };
    rendered.objects.extend(object.of);
    let mut keys = Vec::with_capacity(members.len());
    for (name, text) in members {
        if valid_key(&name) {
            keys.push((name, KeyBytes::new(text.as_bytes().to_vec())));
        } else {
            // It may be one that is in the Secret by another name.
            rendered.complete = false;
            rendered.problem(object.row, Reason::InvalidKey, object.fate(Reason::InvalidKey));
            // Only JSON marks for certain what is a name.
            if secret.format == Format::Json {
                rendered.unfit.entry(object.row).or_default().push(name);
            }
        }
    }
    Ok(keys)
}

/// What becomes of the key of a secret that was found by its name, without a value: the key is known all the same.
fn found_without_value(
    picture: &Picture<'_>,
    object: &WantedObject<'_>,
    key: &str,
    reason: Option<Reason>,
    rendered: &mut Rendered,
) -> Fate {
    let fate = reason.map_or(Fate::Stays, |reason| object.fate(reason));
    if !object.item.publish || fate == Fate::Goes {
        // Whatever else is known: of this one it is certain.
        rendered.remove.insert(key.to_owned());
    } else {
        rendered.keep.insert(key.to_owned());
        let record = picture.record.as_ref();
        let has = record.is_none_or(|record| record.target.key_names().any(|name| name == key));
        let was_read = picture.rows.get(object.row).is_some_and(|row| row.version().is_some());
        if !has && was_read {
            // It may be there by another name.
            rendered.complete = false;
        }
    }
    if let Some(reason) = reason.filter(|_| fate != Fate::Goes) {
        rendered.problem(object.row, reason, fate);
    }
    fate
}

/// The key of a secret that was found by its name.
fn found_key(object: &WantedObject<'_>, text: &str, rendered: &mut Rendered) -> Vec<(String, KeyBytes)> {
    match &object.key {
        Some(key) if valid_key(key) => vec![(key.clone(), KeyBytes::new(text.as_bytes().to_vec()))],
        _ => {
            rendered.complete = false;
            rendered.problem(object.row, Reason::InvalidKey, Fate::Stays);
            Vec::new()
        }
    }
}

/// Whether the API server takes this as a key of a Secret.
fn valid_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_the_api_server_takes() {
        for good in ["DATABASE_URL", "tls.crt", ".dockerconfigjson", "a-b"] {
            assert!(valid_key(good), "{good}");
        }
        for bad in ["", ".", "..", "..data", "$patch", "$setElementOrder/data", "a b", "ä", "a/b"] {
            assert!(!valid_key(bad), "{bad}");
        }
    }
}
