//! Whether a certificate on disk is still the one that is wanted.

use std::{collections::BTreeSet, net::IpAddr};

use inquest_shared::clock::UnixNanos;
use rcgen::{KeyPair, PublicKeyData as _, SanType};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    pem::{Pem, parse_x509_pem},
};

use super::AuthorityError;

/// The alternative name for a configured server name.
pub(super) fn san_of(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || AuthorityError::Name { name: name.to_owned() };
    let plausible = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.*_".contains(&b));
    if !plausible {
        return Err(refused());
    }
    name.to_owned().try_into().map(SanType::DnsName).map_err(|_| refused())
}

/// Whether the certificate is for the public half of this key.
pub(super) fn is_for_key(cert_pem: &str, key: &KeyPair) -> bool {
    with_cert(cert_pem, |cert| {
        cert.public_key().subject_public_key.data.as_ref() == key.der_bytes()
    })
}

/// Whether the certificate was issued by this authority for exactly these names and is in the first half of its life.
pub(super) fn still_fits(cert_pem: &str, authority_pem: &str, names: &[SanType], now: UnixNanos) -> bool {
    with_cert(authority_pem, |authority| {
        with_cert(cert_pem, |cert| {
            let validity = cert.validity();
            let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
            let half = from.saturating_add(until.saturating_sub(from) / 2);
            let wanted: BTreeSet<String> = names.iter().map(wanted_name).collect();
            cert.issuer() == authority.subject() && (from..half).contains(&now.as_secs()) && names_in(cert) == wanted
        })
    })
}

fn wanted_name(name: &SanType) -> String {
    match name {
        SanType::IpAddress(address) => address.to_string(),
        SanType::DnsName(name) => name.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

fn names_in(cert: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = cert.subject_alternative_name() else {
        return BTreeSet::new();
    };
    names.value.general_names.iter().map(name_text).collect()
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => IpAddr::from(v4).to_string(),
            (_, Ok(v6)) => IpAddr::from(v6).to_string(),
            _ => "malformed address".to_owned(),
        },
        other => other.to_string(),
    }
}

fn with_cert(pem: &str, test: impl FnOnce(&X509Certificate<'_>) -> bool) -> bool {
    let Ok((_, pem)) = parse_x509_pem(pem.as_bytes()) else {
        return false;
    };
    Pem::parse_x509(&pem).is_ok_and(|cert| test(&cert))
}
