//! Which identities are let in.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{
    super::ClientIdentity,
    super::digest::{self, Digest},
};

/// One thing that a certificate may have to say.
///
/// As text: `cn=NAME`, `ou=NAME`, `dns=NAME`, `ip=ADDRESS`, `uri=URI`, `spki=SHA256` (64 hexadecimal digits). Compared exactly; DNS names
/// in any case; no wildcards.
///
/// ```
/// use portcullis_layers::tls::IdentityRule;
///
/// let rule: IdentityRule = "uri=spiffe://example.org/billing".parse()?;
/// assert_eq!(rule.to_string(), "uri=spiffe://example.org/billing");
/// assert!("billing".parse::<IdentityRule>().unwrap_err().to_string().contains("cn="));
/// # Ok::<(), portcullis_layers::tls::ParseIdentityRuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityRule {
    /// A common name (CN) of the subject.
    CommonName(String),
    /// An organizational unit (OU) of the subject.
    OrganizationalUnit(String),
    /// A DNS name among the alternative names.
    Dns(String),
    /// An IP address among them.
    Ip(IpAddr),
    /// A URI among them, such as a SPIFFE ID.
    Uri(String),
    /// The public key, by the SHA-256 of its SubjectPublicKeyInfo:
    /// `openssl x509 -in CERT -pubkey -noout | openssl pkey -pubin -outform der | sha256sum`.
    Spki([u8; 32]),
}

/// Which identities are let in: those that satisfy any, or all, of the rules.
///
/// Without a rule nobody is: an empty list is a mistake that must not open a door.
///
/// ```
/// use portcullis_layers::tls::{IdentityRule, IdentityRules};
///
/// // One of the two services; and one that shows two things at once.
/// let services = IdentityRules::any([
///     "uri=spiffe://example.org/billing".parse()?,
///     "uri=spiffe://example.org/orders".parse()?,
/// ]);
/// let operators = IdentityRules::all([
///     IdentityRule::OrganizationalUnit("Operations".to_owned()),
///     IdentityRule::Dns("console.example.org".to_owned()),
/// ]);
/// assert_eq!(operators.to_string(), "all of ou=Operations dns=console.example.org");
/// # let _ = services;
/// # Ok::<(), portcullis_layers::tls::ParseIdentityRuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    all: bool,
    rules: Vec<IdentityRule>,
}

/// A text that is no [`IdentityRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no identity rule: {problem}; write cn=NAME, ou=NAME, dns=NAME, ip=ADDRESS, uri=URI or spki=SHA256"
)]
pub struct ParseIdentityRuleError {
    text: String,
    problem: &'static str,
}

impl IdentityRules {
    /// Lets in who satisfies one of these.
    pub fn any(rules: impl IntoIterator<Item = IdentityRule>) -> Self {
        Self { all: false, rules: rules.into_iter().collect() }
    }

    /// Lets in who satisfies every one of these.
    pub fn all(rules: impl IntoIterator<Item = IdentityRule>) -> Self {
        Self { all: true, rules: rules.into_iter().collect() }
    }

    pub(in super::super) fn digest(&self, digest: &mut Digest) {
        digest.add("rules", if self.all { b"all" } else { b"any" });
        self.rules.iter().for_each(|rule| digest.add("rule", rule.to_string().as_bytes()));
    }

    /// Whether this identity is let in.
    #[must_use]
    pub fn allow(&self, identity: &ClientIdentity) -> bool {
        let mut satisfied = self.rules.iter().map(|rule| rule.holds(identity));
        if self.all {
            !self.rules.is_empty() && satisfied.all(|holds| holds)
        } else {
            satisfied.any(|holds| holds)
        }
    }
}

impl IdentityRule {
    fn holds(&self, identity: &ClientIdentity) -> bool {
        match self {
            Self::CommonName(name) => identity.common_names.contains(name),
            Self::OrganizationalUnit(name) => identity.organizational_units.contains(name),
            Self::Dns(name) => identity.dns_names.iter().any(|found| found.eq_ignore_ascii_case(name)),
            Self::Ip(address) => identity.ip_addresses.contains(address),
            Self::Uri(uri) => identity.uris.contains(uri),
            Self::Spki(hash) => identity.spki_sha256 == *hash,
        }
    }
}

impl FromStr for IdentityRule {
    type Err = ParseIdentityRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |problem| ParseIdentityRuleError { text: text.to_owned(), problem };
        let (kind, value) = text.split_once('=').ok_or_else(|| wrong("it does not say what it is about"))?;
        if value.is_empty() {
            return Err(wrong("it names nobody"));
        }
        Ok(match kind.trim().to_ascii_lowercase().as_str() {
            "cn" => Self::CommonName(value.to_owned()),
            "ou" => Self::OrganizationalUnit(value.to_owned()),
            "dns" => Self::Dns(value.to_ascii_lowercase()),
            "ip" => Self::Ip(value.parse().map_err(|_| wrong("that is no IP address"))?),
            "uri" => Self::Uri(value.to_owned()),
            "spki" => Self::Spki(
                digest::from_hex(value).ok_or_else(|| wrong("that is no SHA-256 in hexadecimal digits"))?,
            ),
            _ => return Err(wrong("nothing is known about such a name")),
        })
    }
}

impl fmt::Display for IdentityRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(name) => write!(f, "cn={name}"),
            Self::OrganizationalUnit(name) => write!(f, "ou={name}"),
            Self::Dns(name) => write!(f, "dns={name}"),
            Self::Ip(address) => write!(f, "ip={address}"),
            Self::Uri(uri) => write!(f, "uri={uri}"),
            Self::Spki(hash) => {
                f.write_str("spki=")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Display for IdentityRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.all { "all of" } else { "any of" })?;
        self.rules.iter().try_for_each(|rule| write!(f, " {rule}"))
    }
}
