//! Why no connection came about, in words that say what to look at.
//!
//! Owns the classes. The errors' own texts are never used: they hold addresses, which may hold tokens.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// The class of a failure to connect.
pub(super) fn of_connecting(error: &(dyn Error + 'static)) -> &'static str {
    if let Some(tls) = tls_below(error) {
        return of_tls(tls);
    }
    // The resolver's error has no type that can be asked for, only these words (hyper-util, connect/http.rs).
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.to_string() == "dns error" {
            return "cannot resolve the name";
        }
        cause = inner.source();
    }
    "cannot connect"
}

/// An `io::Error` hides the error that it was made of: its `source` is that error's own.
fn tls_below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let hidden = || error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error
        .downcast_ref()
        .or_else(|| hidden().and_then(|hidden| tls_below(hidden)))
        .or_else(|| error.source().and_then(tls_below))
}

fn of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the certificate is for another name",
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired"
        }
        rustls::Error::InvalidCertificate(_) => "the certificate is not trusted",
        _ => "no TLS connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_what_is_wrong_with_it_and_never_for_whom_it_is() {
        let name = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        assert_eq!(of_connecting(&name), "the certificate is for another name");
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, unknown));
        assert_eq!(of_connecting(&wrapped), "the certificate is not trusted");
        assert_eq!(
            of_connecting(&io::Error::from(io::ErrorKind::ConnectionRefused)),
            "cannot connect"
        );
    }
}
