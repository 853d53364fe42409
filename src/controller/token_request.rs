//! Tokens of ServiceAccounts by the API server's TokenRequest, for the exchange with Entra.

use super::api_server::ApiServer;
use crate::vault::{Assertion, AssertionError, Assertions};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use zeroize::Zeroizing;

/// The shortest life that the API server grants: the token is exchanged at once and then of no use.
const LIFE_SECONDS: i64 = 600;

#[derive(Debug)]
pub(super) struct TokenRequests(pub(super) ApiServer);

impl Assertions for TokenRequests {
    fn assertion(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
    ) -> BoxFuture<'static, Result<Assertion, AssertionError>> {
        let server = self.0.clone();
        let (namespace, name) = (namespace.to_owned(), service_account.to_owned());
        let spec = TokenRequestSpec {
            audiences: Some(vec![audience.to_owned()]),
            expiration_seconds: Some(LIFE_SECONDS),
            ..TokenRequestSpec::default()
        };
        async move {
            let accounts: Api<ServiceAccount> = Api::namespaced(server.client().clone(), &namespace);
            let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
            let params = PostParams::default();
            let answer = server.call(accounts.create_token_request(&name, &params, &request)).await;
            match answer {
                Ok(Ok(TokenRequest { status: Some(status), .. })) => status
                    .token
                    .map(|token| Assertion::new(Zeroizing::new(token)))
                    .ok_or(AssertionError::NotMade),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    Err(AssertionError::ServiceAccountNotFound)
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(AssertionError::Forbidden),
                _ => Err(AssertionError::NotMade),
            }
        }
        .boxed()
    }
}
