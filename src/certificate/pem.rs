//! PEM, read and written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use zeroize::Zeroizing;

/// A block that matters.
pub(super) enum Block {
    Certificate(Vec<u8>),
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
    Sec1(Zeroizing<Vec<u8>>),
}

/// Whether there is a certificate in a text.
pub(super) fn has_certificate(text: &str) -> bool {
    text.contains("-----BEGIN CERTIFICATE-----")
}

/// Whether there is a private key in a text that no password protects.
pub(super) fn has_key(text: &str) -> bool {
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    labels.iter().any(|label| text.contains(&format!("-----BEGIN {label}-----")))
}

/// Whether there is a private key in a text that a password protects.
pub(super) fn has_encrypted_key(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// The blocks that matter, in their order. What is between them is no part of them.
///
/// Fails where one is broken; the parser's error holds pieces of it and is dropped.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Result<Block, ()>> {
    let blocks = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    blocks.filter_map(|block| match block {
        Ok((SectionKind::Certificate, der)) => Some(Ok(Block::Certificate(der))),
        Ok((SectionKind::PrivateKey, der)) => Some(Ok(Block::Pkcs8(Zeroizing::new(der)))),
        Ok((SectionKind::RsaPrivateKey, der)) => Some(Ok(Block::Pkcs1(Zeroizing::new(der)))),
        Ok((SectionKind::EcPrivateKey, der)) => Some(Ok(Block::Sec1(Zeroizing::new(der)))),
        Ok(_) => None,
        Err(_) => Some(Err(())),
    })
}

/// Blocks of label and content: lines of 64 letters, each with its end.
pub(super) fn written(blocks: &[(&str, &[u8])]) -> Zeroizing<Vec<u8>> {
    let letters: Vec<Zeroizing<String>> =
        blocks.iter().map(|(_, der)| Zeroizing::new(STANDARD.encode(der))).collect();
    let size = |((label, _), letters): (&(&str, &[u8]), &Zeroizing<String>)| {
        letters.len() + letters.len().div_ceil(64) + 2 * label.len() + 32
    };
    // Room for all of it, for a buffer that grows leaves its content behind.
    let mut pem = Zeroizing::new(Vec::with_capacity(blocks.iter().zip(&letters).map(size).sum()));
    for ((label, _), letters) in blocks.iter().zip(&letters) {
        let mut line = |parts: &[&[u8]]| parts.iter().for_each(|part| pem.extend_from_slice(part));
        line(&[b"-----BEGIN ", label.as_bytes(), b"-----\n"]);
        letters.as_bytes().chunks(64).for_each(|letters| line(&[letters, b"\n"]));
        line(&[b"-----END ", label.as_bytes(), b"-----\n"]);
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_64_letters_and_each_block_its_end() {
        let pem =
            |size: usize| String::from_utf8(written(&[("A", &vec![0; size]), ("B", &[])]).to_vec()).unwrap();
        let end = "-----END A-----\n-----BEGIN B-----\n-----END B-----\n";
        let (full, begin) = ("A".repeat(64), "-----BEGIN A-----\n");
        assert_eq!(pem(48), format!("{begin}{full}\n{end}"));
        assert_eq!(pem(49), format!("{begin}{full}\nAA==\n{end}"));
        assert_eq!(pem(0), format!("{begin}{end}"));
        // No buffer grew.
        for size in [0, 1, 47, 48, 49, 1_000] {
            let written = written(&[("PRIVATE KEY", &vec![1; size]), ("CERTIFICATE", &vec![2; size])]);
            let letters = size.div_ceil(3) * 4;
            assert!(written.capacity() <= 2 * (letters + letters / 64 + 70), "{size}");
        }
    }

    #[test]
    fn only_blocks_that_matter_are_found_and_a_broken_one_fails() {
        let text = "x\n-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n\
            -----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n\
            -----BEGIN CERTIFICATE-----\nM===\n-----END CERTIFICATE-----\n";
        let blocks: Vec<_> = blocks(text).collect();
        assert!(matches!(&blocks[..], [Ok(Block::Sec1(_)), Err(())]));
    }
}
