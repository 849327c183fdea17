//! How a user-mode network is described: the options of `--netdev user`, with QEMU's names, and a few more.

use super::forward::{GuestForward, HostForward};
use crate::error::NetError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// The options, with what they are for. `hostfwd`, `guestfwd` and `dnssearch` may be given more than once.
pub const OPTIONS: &[(&str, &str)] = &[
    ("ipv4", "on|off: IPv4 (on)"),
    ("ipv6", "on|off: IPv6 (on)"),
    ("net", "ADDRESS[/BITS or /MASK]: the network's addresses (10.0.2.0/24)"),
    (
        "host",
        "ADDRESS: the router, where the guest reaches the host's loopback (the network's second address)",
    ),
    ("dns", "ADDRESS: the name server (the network's third address)"),
    ("dhcpstart", "ADDRESS: the first address that DHCP gives (the network's 15th)"),
    ("ipv6-net", "ADDRESS[/64]: the network's IPv6 prefix (fec0::/64)"),
    ("ipv6-host", "ADDRESS: the router's IPv6 address (the prefix with ::2)"),
    ("ipv6-dns", "ADDRESS: the name server's IPv6 address (the prefix with ::3)"),
    ("restrict", "on|off: the guest reaches nothing beyond this network but what forwards allow (off)"),
    ("loopback", "on|off: the router's address leads to the host's loopback (on)"),
    ("hostname", "NAME: the guest's name, told by DHCP"),
    ("domainname", "NAME: the guest's domain, told by DHCP"),
    ("dnssearch", "NAME: a domain in which names are looked up, told by DHCP"),
    ("tftp", "FOLDER: files that the guest can read by TFTP"),
    ("tftp-server-name", "NAME: the TFTP server's name, told by DHCP (option 66)"),
    ("bootfile", "NAME: the file to boot, told by DHCP"),
    ("mtu", "BYTES: the largest packet, 576 to 65535 (1500)"),
    (
        "hostfwd",
        "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT: a port of the host that leads to the guest",
    ),
    (
        "guestfwd",
        "[tcp]:ADDRESS:PORT-unix:PATH|tcp:HOST:PORT|cmd:COMMAND: an address of this network that leads out",
    ),
];

/// A user-mode network, as it is to be made. [`Default`] is QEMU's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNetConfig {
    /// Whether there is IPv4.
    pub ipv4: bool,
    /// Whether there is IPv6.
    pub ipv6: bool,
    /// The network's IPv4 addresses.
    pub net: (Ipv4Addr, u8),
    /// The router, if not the network's second address.
    pub host: Option<Ipv4Addr>,
    /// The name server, if not the network's third address.
    pub dns: Option<Ipv4Addr>,
    /// The first address that is given by DHCP, if not the network's 15th.
    pub dhcp_start: Option<Ipv4Addr>,
    /// The network's IPv6 prefix, of 64 bits.
    pub net6: Ipv6Addr,
    /// The router, if not the prefix with `::2`.
    pub host6: Option<Ipv6Addr>,
    /// The name server, if not the prefix with `::3`.
    pub dns6: Option<Ipv6Addr>,
    /// The guest reaches nothing beyond this network but by forwards.
    pub restrict: bool,
    /// The router's address leads to the host's loopback.
    pub loopback: bool,
    /// The guest's name.
    pub hostname: Option<String>,
    /// The guest's domain.
    pub domain: Option<String>,
    /// Domains in which names are looked up.
    pub dns_search: Vec<String>,
    /// The folder of the TFTP server.
    pub tftp: Option<PathBuf>,
    /// The TFTP server's name.
    pub tftp_server_name: Option<String>,
    /// The file to boot.
    pub bootfile: Option<String>,
    /// The largest IP packet in bytes.
    pub mtu: u16,
    /// Ports of the host that lead to the guest.
    pub host_forwards: Vec<HostForward>,
    /// Addresses of this network that lead out.
    pub guest_forwards: Vec<GuestForward>,
    /// Name servers to ask in the place of the host's, for hosts (and tests) without `/etc/resolv.conf`.
    pub resolvers: Vec<std::net::SocketAddr>,
}

impl Default for UserNetConfig {
    fn default() -> Self {
        Self {
            ipv4: true,
            ipv6: true,
            net: (Ipv4Addr::new(10, 0, 2, 0), 24),
            host: None,
            dns: None,
            dhcp_start: None,
            net6: Ipv6Addr::new(0xFEC0, 0, 0, 0, 0, 0, 0, 0),
            host6: None,
            dns6: None,
            restrict: false,
            loopback: true,
            hostname: None,
            domain: None,
            dns_search: Vec::new(),
            tftp: None,
            tftp_server_name: None,
            bootfile: None,
            mtu: 1500,
            host_forwards: Vec::new(),
            guest_forwards: Vec::new(),
            resolvers: Vec::new(),
        }
    }
}

impl UserNetConfig {
    /// A network from options and their values.
    ///
    /// # Errors
    /// An option is unknown, a value is not one, or they contradict each other.
    pub fn from_options<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NetError> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        config.addresses()?;
        Ok(config)
    }
    /// Sets one option.
    ///
    /// # Errors
    /// It is unknown, or the value is not one.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), NetError> {
        let wrong = |problem: &str| NetError::value(option, value, problem);
        match option {
            "ipv4" => self.ipv4 = switch(option, value)?,
            "ipv6" => self.ipv6 = switch(option, value)?,
            "net" => self.net = net4(option, value)?,
            "host" => self.host = Some(address4(option, value)?),
            "dns" => self.dns = Some(address4(option, value)?),
            "dhcpstart" => self.dhcp_start = Some(address4(option, value)?),
            "ipv6-net" => self.net6 = net6(option, value)?,
            "ipv6-host" => self.host6 = Some(address6(option, value)?),
            "ipv6-dns" => self.dns6 = Some(address6(option, value)?),
            "restrict" => self.restrict = switch(option, value)?,
            "loopback" => self.loopback = switch(option, value)?,
            "hostname" => self.hostname = Some(name(option, value)?),
            "domainname" => self.domain = Some(name(option, value)?),
            "dnssearch" => self.dns_search.push(name(option, value)?),
            "tftp" => self.tftp = Some(PathBuf::from(value)),
            "tftp-server-name" => self.tftp_server_name = Some(name(option, value)?),
            "bootfile" if value.is_empty() || value.len() > 127 => {
                return Err(wrong("a file name has 1 to 127 bytes"));
            }
            "bootfile" => self.bootfile = Some(value.into()),
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| *mtu >= 576);
                self.mtu = mtu.ok_or_else(|| wrong("expected 576 to 65535 bytes"))?;
            }
            "hostfwd" => self.host_forwards.push(value.parse()?),
            "guestfwd" => self.guest_forwards.push(value.parse()?),
            _ => {
                let known = OPTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                return Err(NetError::Option { network: "user", option: option.into(), known });
            }
        }
        Ok(())
    }
    /// All addresses, with those that were left open.
    ///
    /// # Errors
    /// One is not in the network, or two are the same.
    pub fn addresses(&self) -> Result<Addresses, NetError> {
        let (net, bits) = self.net;
        // As QEMU has it: in a network of 16 bits or less, the router is x.x.2.2.
        let nth = |n: u32| Ipv4Addr::from(u32::from(net) | n & !u32::from(mask(bits)));
        let addresses = Addresses {
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            net,
            bits,
            host: self.host.unwrap_or_else(|| nth(0x202)),
            dns: self.dns.unwrap_or_else(|| nth(0x203)),
            dhcp_start: self.dhcp_start.unwrap_or_else(|| nth(0x20F)),
            net6: self.net6,
            host6: self.host6.unwrap_or_else(|| with_low(self.net6, 2)),
            dns6: self.dns6.unwrap_or_else(|| with_low(self.net6, 3)),
        };
        let in_net = [("host", addresses.host), ("dns", addresses.dns), ("dhcpstart", addresses.dhcp_start)];
        for (n, (option, address)) in in_net.iter().enumerate() {
            let value = address.to_string();
            if !addresses.contains((*address).into()) || *address == net || *address == addresses.broadcast()
            {
                let problem = format!("not an address for a station in the network {net}/{bits}");
                return Err(NetError::value(option, &value, problem));
            }
            if let Some((other, _)) = in_net[..n].iter().find(|(_, other)| other == address) {
                return Err(NetError::value(option, &value, format!("{other} has this address")));
            }
        }
        for (option, address) in [("ipv6-host", addresses.host6), ("ipv6-dns", addresses.dns6)] {
            if !addresses.contains(address.into()) {
                let problem = format!("not in the network {}/64", self.net6);
                return Err(NetError::value(option, &address.to_string(), problem));
            }
        }
        for forward in &self.guest_forwards {
            if !addresses.contains(forward.server.ip()) {
                let problem = format!("the address must be in the network {net}/{bits}");
                return Err(NetError::value("guestfwd", &forward.server.to_string(), problem));
            }
        }
        Ok(addresses)
    }
}

/// The addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Whether there is IPv4.
    pub ipv4: bool,
    /// Whether there is IPv6.
    pub ipv6: bool,
    /// The network.
    pub net: Ipv4Addr,
    /// Bits of the network's mask.
    pub bits: u8,
    /// The router.
    pub host: Ipv4Addr,
    /// The name server.
    pub dns: Ipv4Addr,
    /// The first address that DHCP gives.
    pub dhcp_start: Ipv4Addr,
    /// The prefix, of 64 bits.
    pub net6: Ipv6Addr,
    /// The router.
    pub host6: Ipv6Addr,
    /// The name server.
    pub dns6: Ipv6Addr,
}

/// The router's link-local address, which its advertisements come from.
pub const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 2);

impl Addresses {
    /// The mask.
    pub fn mask(&self) -> Ipv4Addr {
        mask(self.bits)
    }
    /// The address of all stations.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.net) | !u32::from(self.mask()))
    }
    /// Whether an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => u32::from(address) & u32::from(self.mask()) == u32::from(self.net),
            IpAddr::V6(address) => address.octets()[..8] == self.net6.octets()[..8],
        }
    }
    /// Whether it is the router's.
    pub fn is_router(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.host,
            IpAddr::V6(address) => address == self.host6 || address == LINK_LOCAL,
        }
    }
    /// Whether it is the name server's.
    pub fn is_dns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.dns,
            IpAddr::V6(address) => address == self.dns6,
        }
    }
    /// The router's address of the same version.
    pub fn router_for(&self, address: IpAddr) -> IpAddr {
        if address.is_ipv4() { self.host.into() } else { self.host6.into() }
    }
}

fn mask(bits: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0))
}

fn with_low(net: Ipv6Addr, low: u16) -> Ipv6Addr {
    let mut segments = net.segments();
    segments[7] = low;
    segments.into()
}

fn switch(option: &str, value: &str) -> Result<bool, NetError> {
    match value {
        "on" | "yes" | "y" | "true" | "" => Ok(true),
        "off" | "no" | "n" | "false" => Ok(false),
        _ => Err(NetError::value(option, value, "expected on or off")),
    }
}

fn address4(option: &str, value: &str) -> Result<Ipv4Addr, NetError> {
    value.parse().map_err(|_| NetError::value(option, value, "expected an IPv4 address, like 10.0.2.2"))
}

fn address6(option: &str, value: &str) -> Result<Ipv6Addr, NetError> {
    value.parse().map_err(|_| NetError::value(option, value, "expected an IPv6 address, like fec0::2"))
}

/// `net=`: without a mask, that of the address's class, as QEMU does for 10.x (which becomes /8 there; here too).
fn net4(option: &str, value: &str) -> Result<(Ipv4Addr, u8), NetError> {
    let wrong = |problem: &str| NetError::value(option, value, problem);
    let (address, bits) = match value.split_once('/') {
        None => {
            let address = address4(option, value)?;
            let bits = match address.octets()[0] {
                0..=127 => 8,
                128..=191 => 16,
                _ => 24,
            };
            (address, bits)
        }
        Some((address, bits)) => {
            let bits = match (bits.parse::<u8>(), bits.parse::<Ipv4Addr>()) {
                (Ok(bits), _) => Some(bits),
                (_, Ok(mask)) if u32::from(mask).leading_ones() + u32::from(mask).trailing_zeros() == 32 => {
                    Some(u32::from(mask).leading_ones() as u8)
                }
                _ => None,
            };
            let bits = bits.ok_or_else(|| wrong("expected a number of bits or a mask behind the /"))?;
            let address = address.parse().map_err(|_| wrong("expected an IPv4 address before the /"))?;
            (address, bits)
        }
    };
    if !(8..=27).contains(&bits) {
        return Err(wrong("a network has 8 to 27 bits, so that there are addresses for stations"));
    }
    let net = Ipv4Addr::from(u32::from(address) & u32::from(mask(bits)));
    if net.is_loopback() || net.is_multicast() || net.octets()[0] == 0 {
        return Err(wrong("no station can have such addresses"));
    }
    Ok((net, bits))
}

fn net6(option: &str, value: &str) -> Result<Ipv6Addr, NetError> {
    let (address, bits) = value.split_once('/').unwrap_or((value, "64"));
    if bits != "64" {
        return Err(NetError::value(
            option,
            value,
            "the prefix must have 64 bits, as stations make their own addresses",
        ));
    }
    let mut octets = address6(option, address)?.octets();
    octets[8..].fill(0);
    if octets[0] == 0xFF || octets[..2] == [0xFE, 0x80] || octets[..8] == [0; 8] {
        return Err(NetError::value(option, value, "no station can have such addresses"));
    }
    Ok(octets.into())
}

/// A name or domain: letters, digits, hyphens and dots.
fn name(option: &str, value: &str) -> Result<String, NetError> {
    let is_right = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match value.len() <= 253 && value.trim_end_matches('.').split('.').all(is_right) {
        true => Ok(value.into()),
        false => Err(NetError::value(option, value, "expected a name of letters, digits, hyphens and dots")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_qemus_network() {
        let addresses = UserNetConfig::default().addresses().unwrap();
        assert_eq!(addresses.host, Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!(addresses.dns, Ipv4Addr::new(10, 0, 2, 3));
        assert_eq!(addresses.dhcp_start, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(addresses.broadcast(), Ipv4Addr::new(10, 0, 2, 255));
        assert_eq!(addresses.host6.to_string(), "fec0::2");
    }

    #[test]
    fn a_net_may_have_bits_or_a_mask() {
        for (value, expected) in [
            ("192.168.76.0/24", ("192.168.76.0", 24)),
            ("192.168.76.9/255.255.255.0", ("192.168.76.0", 24)),
            ("192.168.76.9", ("192.168.76.0", 24)),
            ("172.20.0.0/16", ("172.20.0.0", 16)),
        ] {
            let config = UserNetConfig::from_options([("net", value)]).unwrap();
            assert_eq!(config.net, (expected.0.parse().unwrap(), expected.1), "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (option, value, expected) in [
            ("net", "10.0.2.0/30", "8 to 27 bits"),
            ("net", "10.0.2.0/255.0.255.0", "bits or a mask"),
            ("net", "127.0.0.0/8", "no station"),
            ("host", "192.168.0.1", "not an address for a station in the network 10.0.2.0/24"),
            ("dns", "10.0.2.2", "host has this address"),
            ("dhcpstart", "10.0.2.255", "not an address"),
            ("ipv6-net", "fec0::/48", "64 bits"),
            ("mtu", "100", "576"),
            ("restrict", "maybe", "on or off"),
            ("hostname", "a b", "letters"),
            ("hostname", "", "letters"),
            ("smb", "/x", "has no option smb; it has ipv4"),
            ("guestfwd", "tcp:192.168.0.1:80-tcp:localhost:80", "must be in the network"),
        ] {
            let error = UserNetConfig::from_options([(option, value)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{option}={value}: {error}");
        }
    }
}
