//! The members of a YAML mapping: a scalar as it is written, anything else as compact JSON.

use super::Members;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// The members of a mapping; `None` for anything else, for aliases, and for what takes more to read than any configuration
/// does. What is empty, `~` or `null` is not there.
pub(super) fn members(text: &str) -> Option<Members> {
    // Whoever asks for a text gets a scalar as it is written, and whoever asks for anything gets what YAML takes it for: so
    // what each member is has to be known first. The errors are dropped: they show pieces of the text.
    let options = || {
        // An alias stands for a text of any length: a thousand of them would be as many copies of it.
        serde_saphyr::options! { budget: serde_saphyr::budget! { max_aliases: 0 } }
    };
    let shapes: BTreeMap<String, Shape> = serde_saphyr::from_str_with_options(text, options()).ok()?;
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        ByShape(&shapes).deserialize(deserializer)
    })
    .ok()
}

/// What a member is.
#[derive(Clone, Copy)]
enum Shape {
    Nothing,
    Scalar,
    Nested,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape::Nothing)
            }

            fn visit_none<E>(self) -> Result<Shape, E> {
                Ok(Shape::Nothing)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_i128<E>(self, _: i128) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_u128<E>(self, _: u128) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
                Ok(Shape::Scalar)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Shape, A::Error> {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Shape::Nested)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Shape, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Shape::Nested)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

/// The members of a mapping of which it is known what each is.
struct ByShape<'a>(&'a BTreeMap<String, Shape>);

impl<'de> DeserializeSeed<'de> for ByShape<'_> {
    type Value = Members;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ByShape<'_> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members, A::Error> {
        let mut members = Members::new();
        while let Some(name) = from.next_key::<String>()? {
            let text = match self.0.get(&name).copied().unwrap_or(Shape::Nothing) {
                Shape::Scalar => from.next_value::<String>()?,
                Shape::Nested => from.next_value::<serde_json::Value>()?.to_string(),
                Shape::Nothing => {
                    from.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            members.insert(name, Zeroizing::new(text));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(text: &str, name: &str) -> Option<String> {
        Some(members(text)?.remove(name)?.to_string())
    }

    #[test]
    fn a_scalar_stays_as_it_is_written() {
        let text = "plain: text\nquoted: \"a\\nb\"\nport: 5432\nbig: 123456789012345678901234567890\nprice: 1.10\non: yes\ntrue: false\nempty: \"\"\n";
        for (name, expected) in [
            ("plain", "text"),
            ("quoted", "a\nb"),
            ("port", "5432"),
            ("big", "123456789012345678901234567890"),
            ("price", "1.10"),
            ("on", "yes"),
            ("true", "false"),
            ("empty", ""),
        ] {
            assert_eq!(member(text, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn blocks_keep_their_lines_and_what_is_nested_is_compact_json() {
        let text = "key: |\n  one\n  two\nhosts: [a, b]\nall: {x: 1, y: [true]}\n";
        assert_eq!(member(text, "key").as_deref(), Some("one\ntwo\n"));
        assert_eq!(member(text, "hosts").as_deref(), Some(r#"["a","b"]"#));
        assert_eq!(member(text, "all").as_deref(), Some(r#"{"x":1,"y":[true]}"#));
    }

    #[test]
    fn what_is_nothing_is_not_there_and_what_is_no_mapping_has_no_members() {
        assert_eq!(members("a:\nb: ~\nc: null\nd: 1\n").unwrap().into_keys().collect::<Vec<_>>(), ["d"]);
        for wrong in ["text", "- a\n- b\n", "a: [", "a: 1\na: 2\n", "a: 1\n---\nb: 2\n", ""] {
            assert!(members(wrong).is_none_or(|members| members.is_empty()), "{wrong}");
        }
    }

    #[test]
    fn a_text_that_grows_when_it_is_read_is_refused() {
        for growing in ["a: &a text\nb: *a\n", "a: &a [x, x]\nb: [*a, *a]\n", "a: &a {x: 1}\nb: {<<: *a}\n"] {
            assert!(members(growing).is_none(), "{growing}");
        }
        let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(members(&deep).is_none());
    }
}
