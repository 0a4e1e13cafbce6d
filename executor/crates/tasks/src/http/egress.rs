//! Where calls may go.
//!
//! Invariants: an address is judged as what it reaches, so that one written as IPv6 (mapped, NAT64, 6to4) is judged as the
//! IPv4 address inside; nothing is reached by default but public unicast addresses; networks that configuration names are
//! allowed, whatever they are. What may fail: a network that is none, with [`EgressError`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Not a network.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no network: write an address, or a network such as 10.0.0.0/8 or fd00::/8")]
pub struct EgressError(String);

/// Which addresses may be called.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    allowed: Vec<IpNet>,
    private: bool,
}

impl Egress {
    /// Public addresses, and these networks; `private` adds the private ones (RFC 1918, unique local, shared address space).
    #[must_use]
    pub fn new(allowed: Vec<IpNet>, private: bool) -> Self {
        Self { allowed, private }
    }

    /// Whatever there is: for what the operator names.
    pub(super) fn everything() -> Self {
        Self::new(vec![Ipv4Net::default().into(), Ipv6Net::default().into()], true)
    }

    /// A network as it is written in configuration; an address alone is a network of one.
    ///
    /// # Errors
    /// [`EgressError`]
    pub fn network(text: &str) -> Result<IpNet, EgressError> {
        let alone = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| alone()).map_err(|_| EgressError(text.to_owned()))
    }

    /// Why this address may not be called; `None`: it may.
    #[must_use]
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let inside = inside(address);
        if self.allowed.iter().any(|network| network.contains(&address) || network.contains(&inside)) {
            return None;
        }
        match kind(inside) {
            Kind::Public => None,
            Kind::Private if self.private => None,
            Kind::Private => Some("a private address"),
            Kind::Never(what) => Some(what),
        }
    }
}

enum Kind {
    Public,
    Private,
    Never(&'static str),
}

/// Services that give a machine's keys to whoever asks, beyond link-local addresses.
/// Alibaba Cloud's, and Azure's.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
/// The networks of AWS's (instances and pods), and of Google Cloud's, by how they begin.
const METADATA_V6: [[u16; 2]; 2] = [[0xfd00, 0xec2], [0xfd20, 0xce]];

/// The address that is reached by way of another one.
fn inside(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(mapped) = v6.to_ipv4_mapped() {
        return IpAddr::V4(mapped);
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0] if [g, h] != [0, 0] && [g, h] != [0, 1] => v4(g, h),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        _ if METADATA_V4.contains(&address) => Kind::Never("a metadata service"),
        (169, 254, _) => Kind::Never("a link-local address, where metadata services are"),
        (127, ..) => Kind::Never("an address of this machine"),
        (0, ..) => Kind::Never("an unspecified address"),
        (224..=239, ..) => Kind::Never("a multicast address"),
        (240..=255, ..) | (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (198, 18..=19, _) => {
            Kind::Never("a reserved address")
        }
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let [first, second, ..] = address.segments();
    match first {
        _ if METADATA_V6.contains(&[first, second]) => Kind::Never("a metadata service"),
        _ if address.is_unspecified() => Kind::Never("an unspecified address"),
        _ if address.is_loopback() => Kind::Never("an address of this machine"),
        0xfe80..=0xfebf => Kind::Never("a link-local address, where metadata services are"),
        0xff00.. => Kind::Never("a multicast address"),
        0xfc00..=0xfdff => Kind::Private,
        0x2000..=0x3fff => Kind::Public,
        _ => Kind::Never("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(egress: &Egress, address: &str) -> Option<&'static str> {
        egress.refusal(address.parse().expect("an address"))
    }

    #[test]
    fn public_addresses_are_called_and_no_others() {
        let egress = Egress::default();
        for public in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert_eq!(refusal(&egress, public), None, "{public}");
        }
        for (address, why) in [
            ("169.254.169.254", "link-local"),
            ("169.254.0.23", "link-local"),
            ("fe80::1", "link-local"),
            ("100.100.100.200", "metadata"),
            ("fd00:ec2::254", "metadata"),
            ("fd00:ec2::23", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("168.63.129.16", "metadata"),
            ("::ffff:168.63.129.16", "metadata"),
            ("127.0.0.1", "this machine"),
            ("127.8.8.8", "this machine"),
            ("::1", "this machine"),
            ("0.0.0.0", "unspecified"),
            ("::", "unspecified"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "private"),
            ("fd12::1", "private"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("198.18.0.1", "reserved"),
            ("4000::1", "reserved"),
        ] {
            assert!(refusal(&egress, address).is_some_and(|found| found.contains(why)), "{address}");
        }
    }

    #[test]
    fn an_address_inside_of_another_is_judged_as_itself() {
        let egress = Egress::default();
        for written in [
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "::ffff:127.0.0.1",
        ] {
            assert!(refusal(&egress, written).is_some(), "{written}");
        }
    }

    #[test]
    fn private_addresses_are_called_where_that_is_allowed_but_metadata_services_are_not() {
        let egress = Egress::new(Vec::new(), true);
        for private in ["10.1.2.3", "100.64.0.1", "fd12::1"] {
            assert_eq!(refusal(&egress, private), None, "{private}");
        }
        for never in ["169.254.169.254", "100.100.100.200", "fd00:ec2::23", "fd20:ce::254", "127.0.0.1"] {
            assert!(refusal(&egress, never).is_some(), "{never}");
        }
    }

    #[test]
    fn a_network_that_is_named_is_allowed_whatever_it_is() {
        let named = ["127.0.0.1", "10.2.0.0/16"].map(|text| Egress::network(text).expect("a network"));
        let egress = Egress::new(named.into(), false);
        for allowed in ["127.0.0.1", "10.2.3.4", "::ffff:10.2.3.4"] {
            assert_eq!(refusal(&egress, allowed), None, "{allowed}");
        }
        assert!(refusal(&egress, "127.0.0.2").is_some() && refusal(&egress, "10.3.0.1").is_some());
        for address in ["127.0.0.1", "169.254.169.254", "::1", "10.0.0.1", "1.1.1.1", "ff02::1"] {
            assert_eq!(refusal(&Egress::everything(), address), None, "{address}");
        }
        for wrong in ["", "10.0.0.0/33", "example.org", "10.0.0"] {
            assert!(Egress::network(wrong).is_err(), "{wrong}");
        }
    }
}
