//! The token of a handle: got once for all who need it, renewed in the background, kept while it is valid.
//!
//! Invariants: at most one attempt is under way; a failed attempt answers everyone who waited for it; a token that
//! is still valid is used even if its renewal fails.

pub(super) mod assertion;
pub(super) mod credentials;
pub(super) mod provider;
pub(super) mod token_identity;

mod client_certificate;
mod credential_file;
mod exchange;
#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;
mod managed_identity;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::{assertion::Claims, token_identity::TokenIdentity};
use crate::vault::{failure::Refused, metrics::VaultMetrics, plane::jitter::Jitter};

/// A token is not sent when it could expire on its way.
const MARGIN: Duration = Duration::from_secs(30);
/// After a failed renewal the next is tried this much later, while the old token still serves.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// A token, and for how long it is good.
pub(super) struct Token {
    secret: Zeroizing<String>,
    lifetime: Duration,
    /// What was exchanged for it, as far as it was an assertion.
    assertion: Claims,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[redacted], good for {:?}", self.lifetime)
    }
}

/// Gets tokens, one attempt a call.
pub(super) trait TokenProvider: Send + Sync {
    fn token<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Token, Refused>>;
}

/// A token in use.
pub(super) type Bearer = Arc<Zeroizing<String>>;

/// The token of one handle.
pub(super) struct Tokens {
    provider: Box<dyn TokenProvider>,
    metrics: VaultMetrics,
    slot: Mutex<Slot>,
    attempt: tokio::sync::Mutex<()>,
}

struct Slot {
    held: Option<Held>,
    /// As whom the last token spoke.
    identity: Option<Arc<TokenIdentity>>,
    renewing: bool,
    /// The last failed attempt, for those who waited for it.
    failed: Option<(Instant, Refused)>,
    jitter: Jitter,
}

struct Held {
    bearer: Bearer,
    renew_at: Instant,
    expires_at: Instant,
}

impl Tokens {
    pub(super) fn new(provider: Box<dyn TokenProvider>, jitter: Jitter, metrics: VaultMetrics) -> Arc<Self> {
        let slot = Slot { held: None, identity: None, renewing: false, failed: None, jitter };
        Arc::new(Self { provider, metrics, slot: Mutex::new(slot), attempt: tokio::sync::Mutex::new(()) })
    }

    /// The token, got anew only if there is none that is valid.
    pub(super) async fn get(self: &Arc<Self>, tenant: &str) -> Result<Bearer, Refused> {
        let asked_at = Instant::now();
        if let Some(bearer) = self.held(tenant) {
            return Ok(bearer);
        }
        let _attempt = self.attempt.lock().await;
        if let Some(bearer) = self.held(tenant) {
            return Ok(bearer);
        }
        if let Some((at, refused)) = &self.slot().failed
            && *at >= asked_at
        {
            return Err(refused.clone());
        }
        self.fetch(tenant).await
    }

    /// As whom the last token spoke; `None` before there was one.
    pub(super) fn identity(&self) -> Option<Arc<TokenIdentity>> {
        self.slot().identity.clone()
    }

    /// The vault rejected `bearer`: it is not used again.
    pub(super) fn reject(&self, bearer: &Bearer) {
        self.slot().held.take_if(|held| Arc::ptr_eq(&held.bearer, bearer));
    }

    /// The valid token, if there is one. Starts its renewal when it has had half to three quarters of its life.
    fn held(self: &Arc<Self>, tenant: &str) -> Option<Bearer> {
        let now = Instant::now();
        let mut slot = self.slot();
        let held = slot.held.as_ref().filter(|held| now + MARGIN < held.expires_at)?;
        let (bearer, renew) = (Arc::clone(&held.bearer), now >= held.renew_at);
        if renew && !slot.renewing {
            slot.renewing = true;
            let (tokens, tenant) = (Arc::clone(self), tenant.to_owned());
            tokio::spawn(async move { tokens.renew(&tenant).await });
        }
        Some(bearer)
    }

    async fn renew(&self, tenant: &str) {
        let _attempt = self.attempt.lock().await;
        let renewed = self.fetch(tenant).await.is_ok();
        let mut slot = self.slot();
        slot.renewing = false;
        if let Some(held) = slot.held.as_mut().filter(|_| !renewed) {
            held.renew_at = Instant::now() + RENEW_AGAIN;
        }
    }

    async fn fetch(&self, tenant: &str) -> Result<Bearer, Refused> {
        let result = self.provider.token(tenant).await;
        self.metrics
            .token(result.as_ref().err().map_or("Success", |refused| refused.failure.reason().as_str()));
        let now = Instant::now();
        let mut slot = self.slot();
        match result {
            Ok(token) => {
                let identity = TokenIdentity::read(&token.secret, token.assertion);
                slot.identity = Some(Arc::new(identity));
                let bearer = Arc::new(token.secret);
                let share = 0.25_f64.mul_add(slot.jitter.fraction(), 0.5);
                slot.held = Some(Held {
                    bearer: Arc::clone(&bearer),
                    renew_at: now + token.lifetime.mul_f64(share),
                    expires_at: now + token.lifetime,
                });
                slot.failed = None;
                Ok(bearer)
            }
            Err(refused) => {
                slot.failed = Some((now, refused.clone()));
                Err(refused)
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::vault::failure::Failure;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Tokens of an hour, numbered; the attempts that `fails` names fail.
    struct Numbered {
        attempts: Arc<AtomicU32>,
        fails: fn(u32) -> bool,
    }

    impl TokenProvider for Numbered {
        fn token<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Token, Refused>> {
            Box::pin(async move {
                let attempt = self.attempts.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                if (self.fails)(attempt) {
                    return Err(
                        Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()).into()
                    );
                }
                let secret = Zeroizing::new(format!("token-{attempt}"));
                Ok(Token { secret, lifetime: HOUR, assertion: Claims::default() })
            })
        }
    }

    fn tokens(fails: fn(u32) -> bool) -> (Arc<Tokens>, Arc<AtomicU32>) {
        let attempts = Arc::new(AtomicU32::new(0));
        let provider = Numbered { attempts: Arc::clone(&attempts), fails };
        let metrics = VaultMetrics::new(&prometheus::Registry::new()).unwrap();
        (Tokens::new(Box::new(provider), Jitter::seeded(1), metrics), attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_readers_cost_one_attempt_whether_it_succeeds_or_fails() {
        for fails in [(|_| false) as fn(u32) -> bool, |_| true] {
            let (tokens, attempts) = tokens(fails);
            let results = futures::future::join_all((0..100).map(|_| tokens.get("tenant"))).await;
            assert!(results.iter().all(|result| result.is_err() == fails(0)));
            assert_eq!(attempts.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_in_the_background_and_nobody_waits_for_it() {
        let (tokens, attempts) = tokens(|_| false);
        assert_eq!(tokens.get("tenant").await.unwrap().as_str(), "token-0");
        tokio::time::advance(HOUR * 4 / 10).await;
        assert_eq!(tokens.get("tenant").await.unwrap().as_str(), "token-0");
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
        tokio::time::advance(HOUR * 4 / 10).await;
        let before = Instant::now();
        assert_eq!(tokens.get("tenant").await.unwrap().as_str(), "token-0");
        assert_eq!(Instant::now(), before);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(tokens.get("tenant").await.unwrap().as_str(), "token-1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_valid_token_outlives_failing_renewals_and_is_not_sent_after_its_end() {
        let (tokens, _) = tokens(|attempt| attempt > 0);
        tokens.get("tenant").await.unwrap();
        tokio::time::advance(HOUR * 9 / 10).await;
        for _ in 0..3 {
            assert_eq!(tokens.get("tenant").await.unwrap().as_str(), "token-0");
            tokio::time::sleep(RENEW_AGAIN).await;
        }
        tokio::time::advance(HOUR).await;
        assert_eq!(
            tokens.get("tenant").await.unwrap_err().failure,
            Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_token_is_replaced_once() {
        let (tokens, attempts) = tokens(|_| false);
        let first = tokens.get("tenant").await.unwrap();
        tokens.reject(&first);
        let second = tokens.get("tenant").await.unwrap();
        tokens.reject(&first);
        assert_eq!(tokens.get("tenant").await.unwrap(), second);
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
    }
}
