//! Certificates of authorities to trust, in PEM, as users give them in a file or a spec.

use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// Why certificates cannot be trusted as authorities.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidAuthorities {
    /// No certificate, or something else between them.
    #[error("write one or more certificates as PEM, each from BEGIN CERTIFICATE to END CERTIFICATE")]
    NotPem,
    /// Certificates of hosts.
    #[error(
        "the certificates are those of hosts, which issue no others; write that of the authority that issued them"
    )]
    NoAuthority,
}

/// Whether all of `pem` can be trusted, and something of it as an authority.
///
/// # Errors
/// [`InvalidAuthorities`] says what to write instead.
pub(super) fn check(pem: &[u8]) -> Result<(), InvalidAuthorities> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| InvalidAuthorities::NotPem)?;
    if certificates.iter().all(is_readable) { check_any(pem) } else { Err(InvalidAuthorities::NotPem) }
}

/// Whether something of `pem` can be trusted as an authority: in a large collection some certificate is always odd, and
/// passed over.
///
/// # Errors
/// [`InvalidAuthorities`] says what to write instead.
pub(super) fn check_any(pem: &[u8]) -> Result<(), InvalidAuthorities> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).filter(is_readable);
    let certificates: Vec<_> = certificates.collect();
    match certificates.as_slice() {
        [] => Err(InvalidAuthorities::NotPem),
        some if some.iter().any(may_issue) => Ok(()),
        _ => Err(InvalidAuthorities::NoAuthority),
    }
}

fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// An authority's, or one that stands for itself: a host's own, or a root of the days before extensions.
fn may_issue(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.is_ca() || parsed.subject() == parsed.issuer())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELF_SIGNED: &str = include_str!("../../tests/credentials/first.pem");
    const AUTHORITY: &str = include_str!("../../tests/credentials/authority.pem");
    const HOST: &str = include_str!("../../tests/credentials/host.pem");

    #[test]
    fn a_hosts_certificate_is_no_authority_unless_it_stands_for_itself() {
        for good in [AUTHORITY.to_owned(), SELF_SIGNED.to_owned(), format!("{HOST}{AUTHORITY}")] {
            assert_eq!(check(good.as_bytes()), Ok(()));
        }
        assert_eq!(check(HOST.as_bytes()), Err(InvalidAuthorities::NoAuthority));
        for bad in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(check(bad.as_bytes()), Err(InvalidAuthorities::NotPem), "{bad}");
            assert_eq!(check_any(bad.as_bytes()), Err(InvalidAuthorities::NotPem), "{bad}");
        }
        let odd = format!("{AUTHORITY}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(check(odd.as_bytes()), Err(InvalidAuthorities::NotPem));
        assert_eq!(check_any(odd.as_bytes()), Ok(()));
        assert_eq!(check_any(HOST.as_bytes()), Err(InvalidAuthorities::NoAuthority));
    }
}
