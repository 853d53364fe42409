//! Signed tokens: reading them, checking a signature against a key set, and signing our own.
//!
//! Invariant: nothing but the issuer's own keys verifies, with an algorithm that suits the key; `none` and shared keys
//! do not exist here.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, EcdsaKeyPair,
        KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A public key of an issuer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

/// A key set as `/openid/v1/jwks` serves it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<Jwk>,
}

/// A compact JWS, decoded but not trusted.
pub(crate) struct Token<'a> {
    algorithm: String,
    kid: Option<String>,
    header: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
    pub(crate) claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Takes the three parts of a token apart; `None` when it is no JWT.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header: Map<String, Value> = serde_json::from_slice(&decode(header)?).ok()?;
        let field = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            algorithm: field("alg")?,
            kid: field("kid"),
            header: header.clone(),
            signed,
            signature: decode(signature)?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }

    pub(crate) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// A text in the header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// True when this key made the signature, whatever the header says of it.
    pub(crate) fn signed_by<B: AsRef<[u8]>>(&self, key: &UnparsedPublicKey<B>) -> bool {
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }

    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// A `NumericDate`, which may have a fraction: Python's are such.
    pub(crate) fn seconds(&self, claim: &str) -> Option<i64> {
        let date = self.claims.get(claim)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast ends at the largest number, which is no date"
        )]
        date.as_i64().or_else(|| date.as_f64().map(|seconds| seconds as i64))
    }

    /// `aud`, which is a string or a list of them.
    pub(crate) fn audiences(&self) -> Vec<String> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// True when a key of the set made this signature.
    pub(crate) fn verified_by(&self, set: &KeySet) -> bool {
        set.keys
            .iter()
            .filter(|key| key.kid.is_none() || self.kid.is_none() || key.kid == self.kid)
            .any(|key| self.verify(key).is_some())
    }

    fn verify(&self, key: &Jwk) -> Option<()> {
        match self.algorithm.as_str() {
            "RS256" => self.verify_rsa(key, &RSA_PKCS1_2048_8192_SHA256),
            "RS384" => self.verify_rsa(key, &RSA_PKCS1_2048_8192_SHA384),
            "RS512" => self.verify_rsa(key, &RSA_PKCS1_2048_8192_SHA512),
            "PS256" => self.verify_rsa(key, &RSA_PSS_2048_8192_SHA256),
            "ES256" => self.verify_curve(key, &ECDSA_P256_SHA256_FIXED),
            "ES384" => self.verify_curve(key, &ECDSA_P384_SHA384_FIXED),
            _ => None,
        }
    }

    fn verify_rsa(&self, key: &Jwk, parameters: &'static RsaParameters) -> Option<()> {
        let part = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let public = RsaPublicKeyComponents { n: part(&key.n)?, e: part(&key.e)? };
        let verified = public.verify(parameters, self.signed.as_bytes(), &self.signature);
        verified.ok().filter(|()| key.kty == "RSA")
    }

    fn verify_curve(&self, key: &Jwk, algorithm: &'static dyn VerificationAlgorithm) -> Option<()> {
        let part = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let point = [vec![4], part(&key.x)?, part(&key.y)?].concat();
        let verified =
            UnparsedPublicKey::new(algorithm, point).verify(self.signed.as_bytes(), &self.signature);
        verified.ok().filter(|()| key.kty == "EC")
    }
}

/// A key of our own: the emulator's, or that of a cluster that a test plays.
#[derive(Debug)]
pub struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .map_err(|_| ring::error::Unspecified)?;
        Ok(Self { pair, random })
    }

    /// A JWT with these claims.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, claims: &Value) -> Result<String, ring::error::Unspecified> {
        let encode = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let header = encode(serde_json::json!({"typ": "JWT", "alg": "ES256", "kid": "emulator"}).to_string());
        let signed = format!("{header}.{}", encode(claims.to_string()));
        let signature = self.pair.sign(&self.random, signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Our public key as a JWK set, for [`crate::Emulator::trust_issuer`].
    #[must_use]
    pub fn jwks(&self) -> String {
        serde_json::json!(self.key_set()).to_string()
    }

    /// Our public key, as others would fetch it.
    pub(crate) fn key_set(&self) -> KeySet {
        let point = self.pair.public_key().as_ref();
        let coordinate = |range| point.get(range).map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let key = Jwk {
            kty: "EC".to_owned(),
            kid: Some("emulator".to_owned()),
            n: None,
            e: None,
            x: coordinate(1..33),
            y: coordinate(33..65),
        };
        KeySet { keys: vec![key] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signer_s_own_key_verifies_and_only_what_it_signed() {
        let (ours, others) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        let text = ours.sign(&serde_json::json!({"sub": "app", "aud": ["a", "b"]})).unwrap();
        let token = Token::parse(&text).unwrap();
        assert!(token.verified_by(&ours.key_set()));
        assert!(!token.verified_by(&others.key_set()));
        assert_eq!((token.text("sub"), token.audiences()), (Some("app"), vec!["a".into(), "b".into()]));

        let [header, _, signature] = text.split('.').collect::<Vec<_>>().try_into().unwrap();
        let forged = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"root"}"#);
        let forged = format!("{header}.{forged}.{signature}");
        assert!(!Token::parse(&forged).unwrap().verified_by(&ours.key_set()));
    }

    #[test]
    fn a_token_without_a_signature_is_never_verified() {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(r#"{"sub":"root"}"#));
        let signer = Signer::generate().unwrap();
        assert!(!Token::parse(&text).unwrap().verified_by(&signer.key_set()));
        assert!(Token::parse("not a token").is_none());
        assert!(Token::parse("a.b.c").is_none());
    }
}
