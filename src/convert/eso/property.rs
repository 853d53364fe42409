//! A property of a JSON value: from gjson, as External Secrets Operator reads it, to JSONPath.

/// The path of members and indexes that a gjson path without patterns and modifiers is, or `None`.
pub(super) fn json_path(property: &str) -> Option<String> {
    let mut path = "$".to_owned();
    for part in parts(property)? {
        let mut letters = part.bytes();
        let is_name = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
        let is_index = part.len() <= 6 && part.bytes().all(|letter| letter.is_ascii_digit());
        if part.is_empty() {
            return None;
        } else if is_name {
            path.extend([".", part.as_str()]);
        } else if is_index {
            path.extend(["[", part.as_str(), "]"]);
        } else {
            path.extend(["[\"", part.as_str(), "\"]"]);
        }
    }
    Some(path)
}

/// The parts between the dots; a dot behind a backslash belongs to its part.
fn parts(property: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut letters = property.chars();
    while let Some(letter) = letters.next() {
        let (letter, ends) = match letter {
            '.' => ('.', true),
            '\\' => (letters.next().filter(|letter| *letter == '.')?, false),
            plain if plain.is_ascii_alphanumeric() || "_- :/".contains(plain) => (plain, false),
            _ => return None,
        };
        if ends {
            parts.push(String::new());
        } else {
            parts.last_mut()?.push(letter);
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_becomes_a_path_of_members_and_indexes() {
        for (property, path) in [
            ("token", Some("$.token")),
            ("db.hosts.0", Some("$.db.hosts[0]")),
            ("user-name", Some("$[\"user-name\"]")),
            ("tls\\.crt", Some("$[\"tls.crt\"]")),
            ("a.#", None),
            ("a|@ugly", None),
            ("a..b", None),
            ("a*", None),
        ] {
            assert_eq!(json_path(property).as_deref(), path, "{property}");
        }
    }
}
