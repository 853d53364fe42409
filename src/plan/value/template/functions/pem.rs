//! Blocks of a PEM text, by their labels, in its order. Nothing in them is read.

use super::super::call::{Call, Function, Text, TypeOfValue};
use super::super::fault::What;
use super::text::filter;
use minijinja::Value;

pub(super) const FILTERS: &[Function] = &[
    filter("pem_key", (0, 0), TypeOfValue::Scalar, pem_key),
    filter("pem_certificates", (0, 0), TypeOfValue::Scalar, pem_certificates),
    filter("pem_leaf", (0, 0), TypeOfValue::Scalar, pem_leaf),
    filter("pem_chain", (0, 0), TypeOfValue::Scalar, pem_chain),
];

/// The blocks of a text: label, and all lines with those of its ends. What is between them is left out.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    // Where the block that is open began, and its label.
    let mut open: Option<(usize, &str)> = None;
    let mut place = 0;
    for line in text.split_inclusive('\n') {
        let label =
            |before: &str| line.trim().strip_prefix(before).and_then(|rest| rest.strip_suffix("-----"));
        let end = place + line.trim_end().len();
        if let Some(label) = label("-----BEGIN ") {
            open = Some((place, label));
        } else if let Some(label) = label("-----END ") {
            let ended = open.take().filter(|(_, begun)| *begun == label);
            blocks.extend(ended.and_then(|(start, label)| Some((label, text.get(start..end)?))));
        }
        place += line.len();
    }
    blocks
}

fn is_key(label: &str) -> bool {
    label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY")
}

fn is_certificate(label: &str) -> bool {
    label == "CERTIFICATE"
}

/// Some of the blocks with such a label, each ended by a line break. None at all is a fault: an empty text is no PEM.
fn pick(call: &Call<'_>, is: fn(&str) -> bool, skip: usize, most: usize) -> Result<Value, What> {
    let text = call.text(0)?;
    let found = blocks(&text);
    let mut picked = Text::default();
    for (_, block) in found.iter().filter(|(label, _)| is(label)).skip(skip).take(most) {
        for line in block.lines() {
            picked.push(line.trim())?;
            picked.push("\n")?;
        }
    }
    if picked.as_str().is_empty() { Err(What::Unreadable(call.name)) } else { Ok(picked.value()) }
}

fn pem_key(call: &Call<'_>) -> Result<Value, What> {
    pick(call, is_key, 0, 1)
}

fn pem_certificates(call: &Call<'_>) -> Result<Value, What> {
    pick(call, is_certificate, 0, usize::MAX)
}

fn pem_leaf(call: &Call<'_>) -> Result<Value, What> {
    pick(call, is_certificate, 0, 1)
}

/// The certificates after the first.
fn pem_chain(call: &Call<'_>) -> Result<Value, What> {
    pick(call, is_certificate, 1, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::fault::What;
    use super::super::tests::through;

    #[test]
    fn blocks_come_whole_and_in_their_order() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let (key, leaf, root) = (
            block("RSA PRIVATE KEY", "a2V5"),
            block("CERTIFICATE", "bGVhZg=="),
            block("CERTIFICATE", "cm9vdA=="),
        );
        let text = format!("Bag Attributes\n{leaf}\n{root}subject=x\n{key}").replace('\n', "\r\n");
        assert_eq!(through("pem_key", &text), Ok(key));
        assert_eq!(through("pem_leaf", &text), Ok(leaf.clone()));
        assert_eq!(through("pem_chain", &text), Ok(root.clone()));
        assert_eq!(through("pem_certificates", text.trim_end()), Ok(leaf.clone() + &root));
        assert_eq!(through("pem_key", &leaf), Err(What::Unreadable("pem_key")));
        assert_eq!(through("pem_chain", &leaf), Err(What::Unreadable("pem_chain")));
        let cut = leaf.replace("-----END CERTIFICATE-----", "-----END X-----");
        assert_eq!(through("pem_leaf", &cut), Err(What::Unreadable("pem_leaf")));
    }
}
