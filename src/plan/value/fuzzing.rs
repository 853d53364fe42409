//! What a value and a template may be made of, as `make fuzz` tries it.

use super::{Members, Renaming, Template, check_steps, members_of, of_public_key, of_secret};
use crate::api::{Case, Characters, Decode, Format, KeyFormat, RenameStep, SecretRef};
use crate::certificate::{Certificate, Part, UnreadableCertificate};
use crate::fuzzing::fuzzed::{CANARY, Fuzzed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use zeroize::Zeroizing;

const PARTS: [Part; 8] =
    [Part::Leaf, Part::Chain, Part::Full, Part::FullWithRoot, Part::Ca, Part::Key, Part::Combined, Part::Pfx];

/// The bytes of a PFX.
pub(crate) fn pfx(input: &[u8], found: &mut Fuzzed) {
    certificate(&STANDARD.encode(input), found);
}

/// A text with PEM in it.
pub(crate) fn pem(input: &[u8], found: &mut Fuzzed) {
    if let Ok(text) = std::str::from_utf8(input) {
        certificate(text, found);
    }
}

fn certificate(text: &str, found: &mut Fuzzed) {
    // Lines may be as long as a tool likes, but ours have an end each; a block has its labels, and a key its frame.
    let most = text.len() / 64 * 65 + 65 * 64 + 1024;
    match Certificate::parse(text) {
        Err(error) => found.said(&error),
        Ok(certificate) => {
            found.said(&certificate);
            found.said(&certificate.is_complete());
            for part in PARTS {
                match certificate.part(part) {
                    Err(absent) => found.said(&absent),
                    Ok(bytes) => found.made(&bytes, most),
                }
            }
            read_again(&certificate);
        }
    }
}

/// Who reads what is written, finds the same certificate and key in it.
fn read_again(certificate: &Certificate) {
    let Ok(combined) = certificate.part(Part::Combined) else { return };
    let text = std::str::from_utf8(&combined).unwrap_or_default();
    let same = |again: &Certificate| {
        [Part::Leaf, Part::Full, Part::Key].iter().all(|part| again.part(*part) == certificate.part(*part))
    };
    let again = Certificate::parse(text);
    // The Base64 of a PFX is shorter than the lines of PEM, and so may be what they are too long for.
    let too_long = again.as_ref().is_err_and(|error| *error == UnreadableCertificate::TooCostly);
    assert!(too_long || again.is_ok_and(|again| same(&again)), "what is written is read as something else");
}

/// A path in the first line, and a JSON text behind it.
pub(crate) fn json(input: &[u8], found: &mut Fuzzed) {
    let Some((property, text)) = std::str::from_utf8(input).ok().and_then(|text| text.split_once('\n'))
    else {
        return;
    };
    // As long as the schema lets it be.
    let property = property.chars().take(256).collect::<String>();
    members(Format::Json, text, text.len(), found);
    for property in [None, Some(property)] {
        for decode in [Decode::None, Decode::Base64, Decode::Base64Url, Decode::Hex, Decode::Auto] {
            let (name, version, property) = (String::new(), None, property.clone());
            match of_secret(&SecretRef { name, version, property, decode }, None, text) {
                Err(reason) => found.said(&reason),
                Ok(bytes) => found.made(bytes.expose(), text.len()),
            }
        }
    }
}

/// A YAML text.
pub(crate) fn yaml(input: &[u8], found: &mut Fuzzed) {
    if let Ok(text) = std::str::from_utf8(input) {
        // A control character takes six letters in JSON.
        members(Format::Yaml, text, 6 * text.len(), found);
    }
}

/// A dotenv text.
pub(crate) fn dotenv(input: &[u8], found: &mut Fuzzed) {
    if let Ok(text) = std::str::from_utf8(input) {
        members(Format::Dotenv, text, text.len(), found);
    }
}

fn members(format: Format, text: &str, most: usize, found: &mut Fuzzed) {
    match members_of(format, text) {
        Err(flaw) => found.said(&flaw),
        Ok(members) => {
            let parts = members.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
            found.made(&parts.collect::<Vec<_>>().concat(), most);
        }
    }
}

/// What `match` and `to` are in a line each, and names in the others.
pub(crate) fn rename(input: &[u8], found: &mut Fuzzed) {
    // As long as the schema lets them be.
    const LONGEST_PATTERN: usize = 256;
    const LONGEST_TO: usize = 253;
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let (Some(pattern), Some(to)) = (lines.next(), lines.next()) else { return };
    if pattern.chars().count() > LONGEST_PATTERN || to.chars().count() > LONGEST_TO {
        return;
    }
    let no = RenameStep { match_: None, to: None, case: None, characters: None };
    let replace = RenameStep { match_: Some(pattern.to_owned()), to: Some(to.to_owned()), ..no };
    let case = |case| RenameStep { case: Some(case), ..no.clone() };
    let characters = |characters| RenameStep { characters: Some(characters), ..no.clone() };
    let members: Members = lines.map(|name| (name.to_owned(), Zeroizing::default())).collect();
    let longest = members.keys().map(String::len).max().unwrap_or_default();
    for steps in [
        vec![replace.clone()],
        vec![case(Case::Upper), replace.clone(), characters(Characters::Key)],
        vec![replace.clone(), case(Case::Lower), replace, characters(Characters::EnvironmentVariable)],
    ] {
        let refused = check_steps(&steps).err();
        let renaming = Renaming::of(&steps);
        found.said(&refused);
        // A reference to no group is said to whoever wrote it, and stands for nothing.
        assert!(renaming.is_some() || refused.is_some(), "steps that are right cannot be taken");
        let Some(keys) = renaming.and_then(|renaming| renaming.keys(members.clone())) else { continue };
        assert_eq!(keys.len(), members.len(), "each name has a key");
        for (key, _) in keys {
            // The name before a match, and in place of that as many groups of 512 letters as `to` can name, and once more
            // each of its letters in another case.
            found.made(key.as_bytes(), longest.max(512 * (LONGEST_TO / 2 + 2) + 3 * LONGEST_TO));
        }
    }
}

/// A template, rendered with values of each kind.
pub(crate) fn template(input: &[u8], found: &mut Fuzzed) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // What is written in a template may be said.
    if text.contains(CANARY) {
        return;
    }
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(fault) => {
            found.said(&fault);
            return found.told(&fault.to_string());
        }
    };
    found.said(&template);
    let json = format!(r#"{{"a":{{"b":[1,1.10,true,null,"{CANARY}"]}},"{CANARY}":"x"}}"#);
    let pem = include_str!("../../../tests/certificates/root-first.pem");
    let all: [(&str, &[u8]); 8] = [
        ("A", CANARY.as_bytes()),
        ("B", b"a,b, c\n\td\n\n'\"$\\{{%"),
        ("JSON", json.as_bytes()),
        ("N", b"5432"),
        ("EMPTY", b""),
        ("BYTES", &[0xff, 0, 0x80]),
        ("PEM", pem.as_bytes()),
        ("LONG", &[b'a'; 4096]),
    ];
    for data in [all.as_slice(), &[]] {
        let data: BTreeMap<String, Zeroizing<Vec<u8>>> =
            data.iter().map(|(name, bytes)| ((*name).to_owned(), Zeroizing::new(bytes.to_vec()))).collect();
        match template.render(&data) {
            Ok(bytes) => found.made(&bytes, 256 * 1024),
            Err(fault) => {
                found.said(&fault);
                found.told(&fault.to_string());
            }
        }
    }
}

/// A JSON Web Key.
pub(crate) fn public_key(input: &[u8], found: &mut Fuzzed) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for format in [KeyFormat::Pem, KeyFormat::Jwk] {
        match of_public_key(format, text) {
            Err(reason) => found.said(&reason),
            // The frame of a point is longer than a point of few digits.
            Ok(bytes) => {
                found.made(bytes.expose(), text.len() / 64 * 65 + 512);
                assert!(
                    format == KeyFormat::Jwk || is_spki(bytes.expose()),
                    "what is written is no public key"
                );
            }
        }
    }
}

fn is_spki(pem: &[u8]) -> bool {
    SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .is_ok_and(|spki| SubjectPublicKeyInfo::from_der(&spki).is_ok_and(|(left, _)| left.is_empty()))
}
