//! The objects of a text of YAML or JSON, with any number of documents and lists.

use serde_json::Value;

/// A text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}, line {line}: {what}")]
pub struct NotYaml {
    /// Which document of the text, from 1 on.
    pub document: usize,
    /// The line in the whole text.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// The objects of a text; a `List`, as `kubectl get -o yaml` prints it, gives its items.
///
/// # Errors
/// [`NotYaml`], where the text is no YAML.
pub fn objects(documents: &str) -> Result<Vec<Value>, NotYaml> {
    // Whoever runs this has written the text or has it from a cluster of theirs: it may be as large as it is.
    let options = serde_saphyr::options! { budget: None, with_snippet: false };
    let found: Vec<Value> = serde_saphyr::from_multiple_with_options(documents, options)
        .map_err(|error| not_yaml(documents, &error))?;
    Ok(found.into_iter().flat_map(items).collect())
}

/// The items of a list of objects, or the one object.
fn items(mut object: Value) -> Vec<Value> {
    let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    let items = object.get_mut("items").filter(|_| is_list).map(Value::take);
    match items {
        Some(Value::Array(items)) => items,
        _ => vec![object],
    }
}

fn not_yaml(documents: &str, error: &serde_saphyr::Error) -> NotYaml {
    let line = error.location().map_or(1, |location| location.line());
    let before = documents.lines().take(usize::try_from(line).unwrap_or(usize::MAX));
    let (mut document, mut begun) = (1, false);
    for text in before {
        if text.starts_with("---") {
            document += usize::from(begun);
            begun = false;
        }
        begun |= !text.is_empty() && !text.starts_with('#');
    }
    let said = error.without_snippet().to_string();
    // The line is said already.
    let what = said.split(" at line ").next().unwrap_or_default().trim_start_matches("error: ");
    NotYaml { document, line, what: format!("{what}. Nothing of this input was converted") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_give_their_objects() {
        let text = "kind: A\n---\n# nothing\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n---\n{\"kind\": \"D\"}\n";
        let found = objects(text).unwrap();
        let kinds: Vec<&str> = found.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, ["A", "B", "C", "D"]);
        assert_eq!(objects("").unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn bad_yaml_is_told_by_document_and_line() {
        for text in ["kind: A\n---\nkind: B\nspec: [a\n", "---\nkind: A\n---\nkind: B\nspec: {a: [}\n"] {
            let error = objects(text).unwrap_err();
            assert_eq!(error.document, 2, "{error}");
            assert!(error.line >= 3, "{error}");
            assert!(error.to_string().starts_with("document 2, line "), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
