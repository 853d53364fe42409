//! Names that are found by a regular expression there, by `*` here.

/// So many `*` a name of ours takes.
const MOST: usize = 4;

/// The name with `*` that finds exactly what a regular expression finds, but for case; or `None`.
pub(super) fn glob(expression: &str) -> Option<String> {
    let (from_start, rest) = expression.strip_prefix('^').map_or((false, expression), |rest| (true, rest));
    let (to_end, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    let mut name = if from_start { String::new() } else { "*".to_owned() };
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '.' if letters.next() == Some('*') => any(&mut name),
            '\\' if letters.next() == Some('-') => name.push('-'),
            plain if plain.is_ascii_alphanumeric() || plain == '-' => name.push(plain),
            _ => return None,
        }
    }
    if !to_end {
        any(&mut name);
    }
    (!name.is_empty() && name.matches('*').count() <= MOST).then_some(name)
}

/// Any characters; twice is once.
fn any(name: &mut String) {
    if !name.ends_with('*') {
        name.push('*');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_becomes_a_name_only_where_both_find_the_same() {
        for (expression, name) in [
            ("^shop-.*$", Some("shop-*")),
            ("^shop-", Some("shop-*")),
            ("shop", Some("*shop*")),
            ("^shop$", Some("shop")),
            (".*", Some("*")),
            ("-token$", Some("*-token")),
            ("^a.*b.*", Some("a*b*")),
            ("^a\\-b$", Some("a-b")),
            ("^shop-.+", None),
            ("^shop-?", None),
            ("^shop*", None),
            ("^(a|b)$", None),
            ("[a-z]+", None),
            ("^a.b$", None),
            ("a.*b.*c.*d.*e", None),
            ("^$", None),
            ("^(?i)shop", None),
        ] {
            assert_eq!(glob(expression).as_deref(), name, "{expression}");
        }
    }
}
