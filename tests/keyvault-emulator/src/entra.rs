//! Entra ID's side of a token request: who is registered, and why a request is refused.
//!
//! Invariant: a token is issued only for a secret or assertion that matches in every part; the first part that does
//! not match decides the `AADSTS` number, which is what clients act on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use hyper::StatusCode;
use serde::Deserialize;

use crate::{
    certificate::{self, ClientCertificate},
    fault::Faults,
    jws::{KeySet, Token},
    login::HOST,
    token::AUDIENCE,
};

/// Trust of an application in the tokens of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FederatedCredential {
    /// Tenant id.
    pub(crate) tenant: String,
    /// Client id of the application or user-assigned identity.
    pub(crate) client_id: String,
    /// `iss`, compared exactly.
    pub(crate) issuer: String,
    /// `sub`, compared exactly: `system:serviceaccount:{namespace}:{name}` for a ServiceAccount.
    pub(crate) subject: String,
    /// `aud`, compared exactly: `api://AzureADTokenExchange` for Azure's public cloud.
    pub(crate) audience: String,
}

/// A refusal of the token endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Aadsts {
    pub(crate) number: u32,
    pub(crate) text: String,
}

impl Aadsts {
    pub(crate) fn new(number: u32, text: impl Into<String>) -> Self {
        Self { number, text: text.into() }
    }

    /// The HTTP status and OAuth error that go with the number.
    pub(crate) fn class(&self) -> (StatusCode, &'static str) {
        match self.number {
            90_002 | 90_014 | 900_144 | 50_027 => (StatusCode::BAD_REQUEST, "invalid_request"),
            700_016 => (StatusCode::BAD_REQUEST, "unauthorized_client"),
            70_003 => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            70_011 | 1_002_012 => (StatusCode::BAD_REQUEST, "invalid_scope"),
            500_011 => (StatusCode::BAD_REQUEST, "invalid_resource"),
            50_005 | 50_076 | 53_003 => (StatusCode::BAD_REQUEST, "interaction_required"),
            90_033 | 50_196 => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            _ => (StatusCode::UNAUTHORIZED, "invalid_client"),
        }
    }
}

/// The form of a token request. It holds a secret or an assertion: no `Debug` but this one.
#[derive(Default)]
pub(crate) struct TokenForm {
    pub(crate) grant_type: String,
    pub(crate) client_id: String,
    pub(crate) scope: String,
    pub(crate) client_secret: Option<String>,
    pub(crate) assertion_type: Option<String>,
    pub(crate) assertion: Option<String>,
}

impl fmt::Debug for TokenForm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenForm").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl TokenForm {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let value = value.into_owned();
            match name.as_ref() {
                "grant_type" => form.grant_type = value,
                "client_id" => form.client_id = value,
                "scope" => form.scope = value,
                "client_secret" => form.client_secret = Some(value),
                "client_assertion_type" => form.assertion_type = Some(value),
                "client_assertion" => form.assertion = Some(value),
                _ => {}
            }
        }
        form
    }
}

struct ClientSecret {
    secret: String,
    expired: bool,
}

#[derive(Default)]
pub(crate) struct Entra {
    tenants: BTreeSet<String>,
    federated: Vec<FederatedCredential>,
    secrets: BTreeMap<(String, String), ClientSecret>,
    certificates: BTreeMap<(String, String), Vec<ClientCertificate>>,
    issuers: BTreeMap<String, KeySet>,
    /// Token services beside the public cloud's, with the resource each issues tokens for.
    authorities: BTreeMap<String, String>,
    pub(crate) faults: Faults,
}

impl Entra {
    pub(crate) fn add_tenant(&mut self, tenant: &str) {
        self.tenants.insert(tenant.to_lowercase());
    }

    pub(crate) fn knows_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains(&tenant.to_lowercase())
    }

    pub(crate) fn register_secret(&mut self, tenant: &str, client: &str, secret: &str) {
        self.add_tenant(tenant);
        let secret = ClientSecret { secret: secret.to_owned(), expired: false };
        self.secrets.insert((tenant.to_lowercase(), client.to_lowercase()), secret);
    }

    pub(crate) fn expire_secret(&mut self, tenant: &str, client: &str) {
        if let Some(secret) = self.secrets.get_mut(&(tenant.to_lowercase(), client.to_lowercase())) {
            secret.expired = true;
        }
    }

    /// The certificates of an application, replacing older ones.
    pub(crate) fn register_certificates(
        &mut self,
        tenant: &str,
        client: &str,
        certificates: Vec<ClientCertificate>,
    ) {
        self.add_tenant(tenant);
        self.certificates.insert((tenant.to_lowercase(), client.to_lowercase()), certificates);
    }

    /// A token service of its own, which issues tokens for `resource`.
    pub(crate) fn add_authority(&mut self, host: &str, resource: &str) {
        self.authorities.insert(host.to_lowercase(), resource.to_owned());
    }

    pub(crate) fn is_authority(&self, host: &str) -> bool {
        host == HOST || self.authorities.contains_key(host)
    }

    /// What the token service at `host` issues tokens for.
    fn resource<'a>(&'a self, host: &str) -> &'a str {
        self.authorities.get(host).map_or(AUDIENCE, String::as_str)
    }

    pub(crate) fn trust_issuer(&mut self, issuer: &str, keys: KeySet) {
        self.issuers.insert(issuer.to_owned(), keys);
    }

    pub(crate) fn federate(&mut self, credential: FederatedCredential) {
        self.add_tenant(&credential.tenant);
        if !self.federated.contains(&credential) {
            self.federated.push(credential);
        }
    }

    pub(crate) fn unfederate(&mut self, credential: &FederatedCredential) {
        self.federated.retain(|known| known != credential);
    }

    fn federated<'a>(
        &'a self,
        tenant: &'a str,
        client: &'a str,
    ) -> impl Iterator<Item = &'a FederatedCredential> {
        self.federated.iter().filter(move |credential| {
            credential.tenant.eq_ignore_ascii_case(tenant)
                && credential.client_id.eq_ignore_ascii_case(client)
        })
    }

    /// Judges a token request at a tenant's endpoint; the resource that the token is for.
    pub(crate) fn authenticate(
        &self,
        host: &str,
        tenant: &str,
        form: &TokenForm,
        now: i64,
    ) -> Result<&str, Aadsts> {
        if !self.knows_tenant(tenant) {
            return Err(unknown_tenant(tenant));
        }
        if form.grant_type != "client_credentials" {
            return Err(Aadsts::new(70_003, "The app requested an unsupported grant type."));
        }
        if form.client_id.is_empty() {
            return Err(Aadsts::new(
                900_144,
                "The request body must contain the following parameter: 'client_id'.",
            ));
        }
        let client = form.client_id.as_str();
        let key = (tenant.to_lowercase(), client.to_lowercase());
        let (secret, certificates) = (self.secrets.get(&key), self.certificates.get(&key));
        if secret.is_none() && certificates.is_none() && self.federated(tenant, client).next().is_none() {
            return Err(Aadsts::new(
                700_016,
                format!(
                    "Application with identifier '{client}' was not found in the directory '{tenant}'. This can \
                     happen if the application has not been installed by the administrator of the tenant or \
                     consented to by any user in the tenant. You may have sent your authentication request to the \
                     wrong tenant."
                ),
            ));
        }
        let resource = self.resource(host);
        valid_scope(&form.scope, resource, tenant)?;
        match (&form.client_secret, &form.assertion) {
            (Some(sent), None) if secret.is_some_and(|known| known.secret == *sent) => {
                if secret.is_some_and(|known| known.expired) {
                    return Err(Aadsts::new(
                        7_000_222,
                        format!(
                            "The provided client secret keys for app '{client}' are expired. Visit the Azure portal to \
                             create new keys for your app, or consider using certificate credentials for added \
                             security."
                        ),
                    ));
                }
                Ok(resource)
            }
            (Some(_), None) => Err(Aadsts::new(
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client \
                     secret value, not the client secret ID, for a secret added to app '{client}'."
                ),
            )),
            (None, Some(assertion)) => {
                let expected = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                if form.assertion_type.as_deref() != Some(expected) {
                    return Err(Aadsts::new(
                        900_144,
                        format!("The parameter 'client_assertion_type' must be '{expected}'."),
                    ));
                }
                let own = certificate::thumbprint(assertion).map(|thumbprint| {
                    let known = certificates.map(Vec::as_slice).unwrap_or_default();
                    certificate::judge(known, &thumbprint, assertion, (host, tenant, client), now)
                });
                own.unwrap_or_else(|| self.judge(tenant, client, assertion, now)).map(|()| resource)
            }
            _ => Err(Aadsts::new(
                7_000_218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )),
        }
    }

    fn judge(&self, tenant: &str, client: &str, assertion: &str, now: i64) -> Result<(), Aadsts> {
        let token = Token::parse(assertion)
            .ok_or_else(|| Aadsts::new(50_027, "JWT token is invalid or malformed."))?;
        let issuer = token.text("iss").unwrap_or_default();
        let subject = token.text("sub").unwrap_or_default();
        let audiences = token.audiences();
        let no_match = |number, part: &str, value: &str| {
            Aadsts::new(
                number,
                format!(
                    "No matching federated identity record found for presented assertion {part} '{value}'. Please \
                     note that the matching is done using a case-sensitive comparison. Check your federated identity \
                     credential Subject, Audience and Issuer against the presented assertion. \
                     https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
                ),
            )
        };
        let mut records: Vec<_> = self.federated(tenant, client).collect();
        records.retain(|record| record.issuer == issuer);
        if records.is_empty() {
            return Err(no_match(700_211, "issuer", issuer));
        }
        records.retain(|record| record.subject == subject);
        if records.is_empty() {
            return Err(no_match(700_213, "subject", subject));
        }
        if !records.iter().any(|record| audiences.contains(&record.audience)) {
            return Err(no_match(700_212, "audience", &audiences.join(",")));
        }
        let ended = token.seconds("exp").is_none_or(|end| end <= now);
        // The five minutes of clock skew that Entra bears.
        let early = token.seconds("nbf").is_some_and(|start| start > now + 300);
        if ended || early {
            return Err(Aadsts::new(700_024, "Client assertion is not within its valid time range."));
        }
        let keys = self.issuers.get(issuer).ok_or_else(|| {
            Aadsts::new(
                90_061,
                "Request to External OIDC endpoint failed: the issuer's keys cannot be fetched.",
            )
        })?;
        if token.verified_by(keys) {
            Ok(())
        } else {
            Err(Aadsts::new(
                700_027,
                "The certificate or key used to sign the client assertion is not registered.",
            ))
        }
    }
}

pub(crate) fn unknown_tenant(tenant: &str) -> Aadsts {
    Aadsts::new(
        90_002,
        format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud. Check with your subscription administrator, this may happen if there are no active \
             subscriptions for the tenant."
        ),
    )
}

/// The vault resource with `/.default`, and nothing else.
fn valid_scope(scope: &str, expected: &str, tenant: &str) -> Result<(), Aadsts> {
    match scope.strip_suffix("/.default") {
        Some(resource) if resource == expected => Ok(()),
        Some(resource) => Err(Aadsts::new(
            500_011,
            format!(
                "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen \
                 if the application has not been installed by the administrator of the tenant or consented to by any \
                 user in the tenant."
            ),
        )),
        None => Err(Aadsts::new(
            1_002_012,
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value \
                 with /.default suffixed to the resource identifier (application ID URI)."
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::Signer;
    use serde_json::{Value, json};

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://kubernetes.default.svc";

    fn claims() -> Value {
        json!({"iss": ISSUER, "sub": "system:serviceaccount:shop:shop",
               "aud": ["api://AzureADTokenExchange"], "exp": NOW + 600, "nbf": NOW})
    }

    fn entra(signer: &Signer) -> Entra {
        let mut entra = Entra::default();
        entra.trust_issuer(ISSUER, signer.key_set());
        entra.register_secret("t1", "with-secret", "hush");
        entra.federate(FederatedCredential {
            tenant: "t1".into(),
            client_id: "app".into(),
            issuer: ISSUER.into(),
            subject: "system:serviceaccount:shop:shop".into(),
            audience: "api://AzureADTokenExchange".into(),
        });
        entra
    }

    fn form(client: &str) -> TokenForm {
        TokenForm {
            grant_type: "client_credentials".into(),
            client_id: client.into(),
            scope: "https://vault.azure.net/.default".into(),
            ..TokenForm::default()
        }
    }

    fn with_assertion(signer: &Signer, claims: &Value) -> TokenForm {
        TokenForm {
            assertion: Some(signer.sign(claims).unwrap()),
            assertion_type: Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()),
            ..form("app")
        }
    }

    fn number(entra: &Entra, form: &TokenForm) -> Option<u32> {
        entra.authenticate(HOST, "t1", form, NOW).err().map(|refusal| refusal.number)
    }

    #[test]
    fn each_mismatch_of_an_assertion_has_its_own_number() {
        let signer = Signer::generate().unwrap();
        let entra = entra(&signer);
        assert_eq!(number(&entra, &with_assertion(&signer, &claims())), None);
        for (claim, value, expected) in [
            ("iss", json!("https://other"), 700_211),
            ("sub", json!("system:serviceaccount:shop:Shop"), 700_213),
            ("aud", json!("https://kubernetes.default.svc"), 700_212),
            ("exp", json!(NOW), 700_024),
            ("exp", json!("tomorrow"), 700_024),
            ("nbf", json!(NOW + 301), 700_024),
        ] {
            let mut changed = claims();
            changed[claim] = value;
            assert_eq!(number(&entra, &with_assertion(&signer, &changed)), Some(expected), "{claim}");
        }
        let stranger = Signer::generate().unwrap();
        assert_eq!(number(&entra, &with_assertion(&stranger, &claims())), Some(700_027));
    }

    #[test]
    fn a_secret_counts_only_for_its_own_application_and_tenant() {
        let signer = Signer::generate().unwrap();
        let entra = entra(&signer);
        let secret =
            |client: &str, secret: &str| TokenForm { client_secret: Some(secret.into()), ..form(client) };
        assert_eq!(number(&entra, &secret("with-secret", "hush")), None);
        assert_eq!(number(&entra, &secret("with-secret", "guess")), Some(7_000_215));
        assert_eq!(number(&entra, &secret("app", "hush")), Some(7_000_215));
        assert_eq!(number(&entra, &secret("stranger", "hush")), Some(700_016));
        assert_eq!(number(&entra, &form("app")), Some(7_000_218));
        let elsewhere = entra.authenticate(HOST, "t9", &secret("with-secret", "hush"), NOW);
        assert_eq!(elsewhere.unwrap_err().number, 90_002);
    }

    #[test]
    fn only_the_default_scope_of_the_vault_is_granted() {
        let signer = Signer::generate().unwrap();
        let entra = entra(&signer);
        let scoped = |scope: &str| {
            let form = TokenForm { scope: scope.into(), ..with_assertion(&signer, &claims()) };
            number(&entra, &form)
        };
        assert_eq!(scoped("https://vault.azure.net"), Some(1_002_012));
        assert_eq!(scoped(""), Some(1_002_012));
        assert_eq!(scoped("https://management.azure.com/.default"), Some(500_011));
    }
}
