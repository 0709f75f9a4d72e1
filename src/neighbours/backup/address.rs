//! Which addresses an asset's bytes may be fetched from. The URL comes from outside: a person who can make the provider name
//! one must not make the worker read what only machines in its own network can reach.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Why an address is not asked. Names no address: that would tell who asked what a name resolves to in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedAddress {
    /// None of the host's addresses is public.
    NotPublic,
    /// It is not `https`, and `backup.allow_http` is not set; or neither that nor `http`.
    Scheme,
    /// A redirect leads to another scheme.
    RedirectScheme,
    /// One redirect after the other.
    Redirects,
}

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublic => "its host has no public address (backup.allow_hosts)",
            Self::Scheme => "it is no https address (backup.allow_http)",
            Self::RedirectScheme => "it redirects to another scheme",
            Self::Redirects => "it redirects again and again",
        })
    }
}

impl Error for RefusedAddress {}

/// What the operator allows beyond public addresses.
#[derive(Debug)]
pub(super) struct AddressRules {
    pub(super) allow_http: bool,
    pub(super) allow_hosts: Vec<String>,
}

impl AddressRules {
    /// Whether this URL may be asked at all. A host's name is checked when it is resolved.
    pub(super) fn check(&self, url: &Url) -> Result<(), RefusedAddress> {
        if !(url.scheme() == "https" || self.allow_http && url.scheme() == "http") {
            return Err(RefusedAddress::Scheme);
        }
        match url.host() {
            Some(Host::Ipv4(ip)) => self.connected(url, ip.into()),
            Some(Host::Ipv6(ip)) => self.connected(url, ip.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => Err(RefusedAddress::NotPublic),
        }
    }

    /// Whether the bytes may come from this address.
    pub(super) fn connected(&self, url: &Url, ip: IpAddr) -> Result<(), RefusedAddress> {
        let allowed = url.host_str().is_some_and(|host| self.allows(host)) || is_public(ip);
        if allowed { Ok(()) } else { Err(RefusedAddress::NotPublic) }
    }

    fn allows(&self, host: &str) -> bool {
        self.allow_hosts.iter().any(|allowed| allowed == host)
    }
}

/// Resolves names to public addresses only: those that are then connected to, so that a name cannot be checked as one
/// address and asked as another.
#[derive(Debug)]
pub(super) struct PublicOnly(pub(super) Arc<AddressRules>);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let any = self.0.allows(name.as_str());
        Box::pin(async move {
            // The caller sets the port.
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.filter(|at| any || is_public(at.ip())).collect();
            if found.is_empty() {
                return Err(RefusedAddress::NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the open Internet, by IANA's registries of special-purpose addresses (RFC 6890). The
/// standard library's own `is_global` is not stable.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        // "This network", carrier-grade NAT, benchmarks, and what is reserved, the broadcast address with it.
        [0 | 240..=255, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => true,
        // Protocol assignments, and the 6to4 relay.
        octets if octets.starts_with(&[192, 0, 0]) || octets.starts_with(&[192, 88, 99]) => true,
        _ => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast() || ip.is_documentation(),
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    match ip.segments() {
        // An IPv4 address behind a translator (NAT64).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments (Teredo is one), documentation, and 6to4, behind which any IPv4 address may be.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Nothing else was given out yet.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_open_internet_are_public() {
        for ip in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255"]
            .into_iter()
            .chain(["2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2001:200::1"])
        {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["127.0.0.1", "127.255.255.255", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"]
            .into_iter()
            .chain(["169.254.169.254", "100.64.0.1", "100.127.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1"])
            .chain(["198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"])
            .chain(["::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::1"])
            .chain(["fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::"])
            .chain(["100::1", "::127.0.0.1", "3fff::1", "4000::1"])
        {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_url_is_checked_however_its_address_is_written() {
        let rules = AddressRules { allow_http: false, allow_hosts: vec!["10.1.2.3".into(), "[fd00::1]".into()] };
        let check = |url: &str| rules.check(&url.parse().unwrap());
        for url in ["https://a.example/x", "https://1.1.1.1/", "https://10.1.2.3/", "https://[fd00::1]:8443/"] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in
            ["https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://[::1]/"]
                .into_iter()
                .chain(["https://[::ffff:127.0.0.1]/", "https://10.1.2.4/", "https://0/"])
        {
            assert_eq!(check(url), Err(RefusedAddress::NotPublic), "{url}");
        }
        for url in ["http://a.example/", "ftp://a.example/", "file:///etc/passwd", "data:text/plain,x"] {
            assert_eq!(check(url), Err(RefusedAddress::Scheme), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_resolved() {
        let resolve = async |name: &str, allow_hosts: Vec<String>| {
            let rules = Arc::new(AddressRules { allow_http: true, allow_hosts });
            PublicOnly(rules).resolve(name.parse().unwrap()).await.map(Iterator::count)
        };
        let refused = resolve("localhost", vec![]).await.unwrap_err();
        assert_eq!(refused.downcast_ref(), Some(&RefusedAddress::NotPublic));
        assert!(resolve("localhost", vec!["localhost".into()]).await.unwrap() > 0);
    }
}
