//! What other tools make of what is written here: OpenSSL 3 and Java's keytool.
//!
//! They are not on every machine and slow, so these tests run only where they are asked for:
//! `cargo test certificate::tools -- --ignored`.

use super::Encryption;
use super::fixtures::{Made, ROOT_FIRST, fixture, parameters, parsed, text};
use super::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("certificate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Whether a command ended well, and what it printed.
fn run(command: &[&str]) -> (bool, String) {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    let printed =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), printed)
}

fn succeeds(command: &[&str]) -> String {
    let (success, printed) = run(command);
    assert!(success, "{command:?}\n{printed}");
    printed
}

#[test]
#[ignore = "runs openssl"]
fn openssl_verifies_the_parts_and_finds_the_key_to_be_that_of_the_leaf() {
    let directory = Directory::new("parts");
    let pems: [&[u8]; 15] = [
        ROOT_FIRST.as_bytes(),
        fixture!("modern.pfx"),
        fixture!("P-256.pem"),
        fixture!("P-256-sec1.pem"),
        fixture!("P-256-sec1-private-only.pem"),
        fixture!("P-384.pem"),
        fixture!("P-384-sec1.pem"),
        fixture!("P-384-sec1-private-only.pem"),
        fixture!("P-521.pem"),
        fixture!("P-521-sec1.pem"),
        fixture!("P-521-sec1-private-only.pem"),
        fixture!("secp256k1.pem"),
        fixture!("secp256k1-sec1.pem"),
        fixture!("secp256k1-sec1-private-only.pem"),
        fixture!("ed25519.pem"),
    ];
    for file in pems {
        let certificate = parsed(&text(file));
        let write = |name, part| directory.write(name, &certificate.part(part).unwrap());
        let (leaf, key) = (write("leaf", Part::Leaf), write("key", Part::Key));
        let (ca, combined) = (write("ca", Part::Ca), write("combined", Part::Combined));
        succeeds(&["openssl", "pkey", "-in", &key, "-check", "-noout"]);
        let public = succeeds(&["openssl", "pkey", "-in", &key, "-pubout"]);
        assert_eq!(succeeds(&["openssl", "x509", "-in", &leaf, "-noout", "-pubkey"]), public);
        assert_eq!(succeeds(&["openssl", "x509", "-in", &combined, "-noout", "-pubkey"]), public);
        assert_eq!(succeeds(&["openssl", "pkey", "-in", &combined, "-pubout"]), public);
        succeeds(&["openssl", "verify", "-CAfile", &ca, "-untrusted", &combined, &leaf]);
    }
}

#[test]
#[ignore = "runs openssl and keytool"]
fn java_and_openssl_read_both_stores_in_both_encryptions() {
    let directory = Directory::new("stores");
    let alone = Made::root(parameters("alone", false));
    let alone = [alone.pem.as_str(), &alone.key()].concat();
    let p521 = text(fixture!("P-521.pem"));
    for (value, length) in [(ROOT_FIRST, 3), (&text(fixture!("ten.pfx")), 3), (&alone, 1), (&p521, 1)] {
        let certificate = parsed(value);
        for encryption in [Encryption::Modern, Encryption::Legacy] {
            for (alias, password) in [("Shop", "hunter2 ~\"\\"), ("läden 1", "abc")] {
                let options = Keystore::new(alias, password, encryption).unwrap();
                let keystore = directory.write("keystore", &certificate.keystore(&options).unwrap());
                let trusted = directory.write("trusted", &certificate.trust_store(&options).unwrap());
                let java = |file: &str, password: &str| {
                    // The alias is printed in the encoding of the machine.
                    let options = ["-J-Dsun.stdout.encoding=UTF-8", "-J-Dstdout.encoding=UTF-8"];
                    let list = ["-list", "-v", "-keystore", file, "-storepass", password];
                    run(&[&["keytool"][..], &options, &list].concat())
                };
                let (read, printed) = java(&keystore, password);
                assert!(read, "{printed}");
                assert!(printed.contains("Entry type: PrivateKeyEntry"), "{printed}");
                assert!(printed.contains(&format!("Certificate chain length: {length}")), "{printed}");
                assert!(printed.contains("Your keystore contains 1 entry"), "{printed}");
                assert!(printed.contains(&format!("Alias name: {}", alias.to_lowercase())), "{printed}");
                let (read, printed) = java(&trusted, password);
                assert!(read, "{printed}");
                let issuers = std::cmp::max(length - 1, 1);
                assert_eq!(printed.matches("Entry type: trustedCertEntry").count(), issuers, "{printed}");
                assert!(!java(&trusted, "wrong password").0);

                // Importing decrypts the key too.
                let copy = directory.0.join("copy");
                let copy = copy.to_str().unwrap();
                let _ = std::fs::remove_file(copy);
                succeeds(&[
                    "keytool",
                    "-importkeystore",
                    "-noprompt",
                    "-srckeystore",
                    &keystore,
                    "-srcstorepass",
                    password,
                    "-destkeystore",
                    copy,
                    "-deststorepass",
                    "changeit",
                ]);
                let info = |file: &str| {
                    let legacy: &[&str] = if encryption == Encryption::Legacy { &["-legacy"] } else { &[] };
                    let password = format!("pass:{password}");
                    let info = ["openssl", "pkcs12", "-info", "-nodes", "-in", file, "-passin", &password];
                    succeeds(&[&info[..], legacy].concat())
                };
                let printed = info(&keystore);
                assert_eq!(printed.matches("-----BEGIN CERTIFICATE-----").count(), length, "{printed}");
                let key = String::from_utf8(certificate.part(Part::Key).unwrap().to_vec()).unwrap();
                assert!(printed.contains(&key));
                assert_eq!(info(&trusted).matches("-----BEGIN CERTIFICATE-----").count(), issuers);
            }
        }
    }
}

#[test]
#[ignore = "measures; run it in release"]
fn how_long_parsing_and_writing_take() {
    let time = |name: &str, action: &dyn Fn()| {
        action();
        let begin = std::time::Instant::now();
        (0..20).for_each(|_| action());
        println!("{name}: {:?}", begin.elapsed() / 20);
    };
    let options = Keystore::new("shop", "", Encryption::Modern).unwrap();
    let own = parsed(ROOT_FIRST).keystore(&options).unwrap();
    let files: [(&str, &[u8]); 8] = [
        ("PEM", ROOT_FIRST.as_bytes()),
        ("PFX, default of OpenSSL 3", fixture!("modern.pfx")),
        ("PFX, triple DES, 2,048 rounds", fixture!("triple-des.pfx")),
        ("PFX, triple DES, 100,000 rounds", fixture!("triple-des-100000.pfx")),
        ("PFX, RC2-40", fixture!("rc2-40.pfx")),
        ("PFX, absent password", fixture!("absent-password.pfx")),
        ("PFX, ten certificates", fixture!("ten.pfx")),
        ("PFX, written by this product", &own),
    ];
    for (name, file) in files {
        let value = text(file);
        time(name, &|| drop(parsed(&value)));
    }
    let locked = text(fixture!("password.pfx"));
    time("PFX with a password", &|| assert!(Certificate::parse(&locked).is_err()));
    let certificate = parsed(ROOT_FIRST);
    for encryption in [Encryption::Modern, Encryption::Legacy] {
        let options = Keystore::new("shop", "hunter2", encryption).unwrap();
        time(&format!("keystore, {encryption:?}"), &|| drop(certificate.keystore(&options)));
        time(&format!("trust store, {encryption:?}"), &|| drop(certificate.trust_store(&options)));
    }
    let value = text(fixture!("modern.pfx"));
    time("looks_like_certificate", &|| assert!(looks_like_certificate(&value)));
}
