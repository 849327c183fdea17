//! The DHCP server (RFC 2131, options RFC 2132), which answers BOOTP clients too (RFC 1534).
//!
//! | the client says | and hears |
//! |---|---|
//! | DISCOVER | OFFER of an address: its own from before, the one it wants, or the next |
//! | REQUEST | ACK; NAK where the address is another client's or not of this network; nothing where it means another server |
//! | INFORM | ACK without an address |
//! | RELEASE, DECLINE | nothing |
//!
//! Leases are kept while the network lives. A flood of clients reuses the oldest.

use super::config::{Addresses, UserNetConfig};
use super::link::Link;
use crate::wire::headers::Mac;
use std::net::{Ipv4Addr, SocketAddr};

/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Clients that are known at most.
const MOST_LEASES: usize = 128;
const LEASE_S: u32 = 86_400;

/// The fixed part, up to the options and with their magic number.
const FIXED: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// BOOTP clients want so many bytes at least.
const SHORTEST: usize = 300;
/// An option's value has one byte of length.
const LONGEST_VALUE: usize = 255;

mod option {
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const MESSAGE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const CLIENT: u8 = 61;
    pub const SEARCH: u8 = 119;
    pub const END: u8 = 255;
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;

/// What a client said.
struct Message<'a> {
    fixed: &'a [u8],
    kind: Option<u8>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        // A request, from Ethernet.
        let (fixed, mut options) = bytes.split_at_checked(FIXED)?;
        if fixed[..3] != [1, 1, 6] || fixed[236..] != MAGIC {
            return None;
        }
        let mut message = Self { fixed, kind: None, requested: None, server: None, client: None };
        while let [code, rest @ ..] = options {
            if *code == option::END {
                break;
            }
            let [length, rest @ ..] = rest else { break };
            if *code == 0 {
                options = &options[1..];
                continue;
            }
            let Some((value, rest)) = rest.split_at_checked((*length).into()) else { break };
            let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
            match *code {
                option::MESSAGE => message.kind = value.first().copied(),
                option::REQUESTED_ADDRESS => message.requested = address(),
                option::SERVER => message.server = address(),
                option::CLIENT if !value.is_empty() => message.client = Some(value),
                _ => {}
            }
            options = rest;
        }
        Some(message)
    }
    fn mac(&self) -> Mac {
        let mut mac = Mac::default();
        mac.copy_from_slice(&self.fixed[28..34]);
        mac
    }
    /// The address that the client has already.
    fn own(&self) -> Option<Ipv4Addr> {
        let own = Ipv4Addr::new(self.fixed[12], self.fixed[13], self.fixed[14], self.fixed[15]);
        (!own.is_unspecified()).then_some(own)
    }
    /// What tells clients apart: their identifier, or else their Ethernet address.
    fn identity(&self) -> Vec<u8> {
        self.client.map_or_else(|| self.mac().to_vec(), <[u8]>::to_vec)
    }
}

struct Lease {
    client: Vec<u8>,
    address: Ipv4Addr,
}

/// The server.
pub struct Dhcp {
    addresses: Addresses,
    /// Addresses that are the network's own.
    taken: Vec<Ipv4Addr>,
    /// From the oldest to the newest.
    leases: Vec<Lease>,
    /// Options that all clients get.
    options: Vec<u8>,
    boot_file: Option<String>,
    server_name: Option<String>,
}

impl Dhcp {
    /// A server without clients.
    pub fn new(config: &UserNetConfig, addresses: Addresses) -> Self {
        let mut taken = vec![addresses.host, addresses.dns, addresses.net, addresses.broadcast()];
        taken.extend(config.guest_forwards.iter().filter_map(|forward| match forward.server {
            SocketAddr::V4(server) => Some(*server.ip()),
            SocketAddr::V6(_) => None,
        }));
        Self {
            addresses,
            taken,
            leases: Vec::new(),
            options: options(config, &addresses),
            boot_file: config.bootfile.clone(),
            server_name: config.tftp_server_name.clone(),
        }
    }
    /// A datagram to the server's port.
    pub fn receive(&mut self, bytes: &[u8], link: &mut Link) {
        let Some(message) = Message::read(bytes) else { return };
        let client = message.identity();
        let answer = match message.kind {
            None | Some(DISCOVER) => {
                self.lease(&client, message.requested).map(|address| (message.kind.map(|_| OFFER), address))
            }
            Some(REQUEST) => self.request(&message, &client),
            Some(INFORM) => Some((Some(ACK), Ipv4Addr::UNSPECIFIED)),
            Some(RELEASE) => {
                self.leases.retain(|lease| lease.client != client);
                None
            }
            Some(DECLINE) => {
                // Somebody else has it, the client says: it goes to the declined, which is a client like others.
                self.leases.retain(|lease| lease.client != client);
                message.requested.into_iter().for_each(|address| self.keep(b"declined", address));
                None
            }
            Some(_) => None,
        };
        if let Some((kind, address)) = answer {
            self.answer(&message, kind, address, link);
        }
    }
    fn request(&mut self, message: &Message<'_>, client: &[u8]) -> Option<(Option<u8>, Ipv4Addr)> {
        if message.server.is_some_and(|server| server != self.addresses.host) {
            self.leases.retain(|lease| lease.client != client);
            return None;
        }
        let wanted = message.requested.or(message.own())?;
        let is_others = self.leases.iter().any(|lease| lease.address == wanted && lease.client != client);
        if is_others || !self.may_give(wanted) {
            return Some((Some(NAK), Ipv4Addr::UNSPECIFIED));
        }
        self.keep(client, wanted);
        Some((Some(ACK), wanted))
    }
    /// Whether an address is one for clients: also below the first that is given, where a client had it before.
    fn may_give(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(address.into()) && !self.taken.contains(&address)
    }
    fn keep(&mut self, client: &[u8], address: Ipv4Addr) {
        if client != b"declined" {
            self.leases.retain(|lease| lease.client != client);
        }
        if self.leases.len() >= MOST_LEASES {
            self.leases.remove(0);
        }
        self.leases.push(Lease { client: client.to_vec(), address });
    }
    /// An address for a client.
    fn lease(&mut self, client: &[u8], wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let known = self.leases.iter().find(|lease| lease.client == client).map(|lease| lease.address);
        let is_free = |dhcp: &Self, address: Ipv4Addr| {
            dhcp.may_give(address) && dhcp.leases.iter().all(|lease| lease.address != address)
        };
        let first = u32::from(self.addresses.dhcp_start);
        let last = u32::from(self.addresses.broadcast());
        let address = known
            .or(wanted.filter(|wanted| is_free(self, *wanted)))
            .or_else(|| {
                // One more than there are leases is enough.
                (first..last)
                    .take(MOST_LEASES + self.taken.len() + 1)
                    .map(Ipv4Addr::from)
                    .find(|a| is_free(self, *a))
            })
            .or_else(|| self.leases.first().map(|oldest| oldest.address))?;
        self.leases.retain(|lease| lease.address != address);
        self.keep(client, address);
        Some(address)
    }
    fn answer(&self, message: &Message<'_>, kind: Option<u8>, address: Ipv4Addr, link: &mut Link) {
        let mut bytes = message.fixed.to_vec();
        // A reply: no hops, no seconds; the client's address stays.
        bytes[0] = 2;
        bytes[3] = 0;
        bytes[8..10].fill(0);
        if kind == Some(NAK) {
            bytes[12..16].fill(0);
        }
        bytes[16..20].copy_from_slice(&address.octets());
        bytes[20..24].copy_from_slice(&self.addresses.host.octets());
        bytes[44..236].fill(0);
        if kind != Some(NAK) {
            put(&mut bytes[44..108], self.server_name.as_deref());
            put(&mut bytes[108..236], self.boot_file.as_deref());
        }
        if let Some(kind) = kind {
            bytes.extend_from_slice(&[option::MESSAGE, 1, kind]);
            bytes.extend_from_slice(&[option::SERVER, 4]);
            bytes.extend_from_slice(&self.addresses.host.octets());
            if kind != NAK && !address.is_unspecified() {
                bytes.extend_from_slice(&[option::LEASE, 4]);
                bytes.extend_from_slice(&LEASE_S.to_be_bytes());
            }
        }
        if kind != Some(NAK) {
            bytes.extend_from_slice(&self.options);
        }
        bytes.push(option::END);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        if !address.is_unspecified() {
            link.learn(address.into(), message.mac());
        }
        let to = message.own().filter(|_| kind == Some(ACK)).unwrap_or(Ipv4Addr::BROADCAST);
        if !to.is_broadcast() {
            link.learn(to.into(), message.mac());
        }
        let from = SocketAddr::from((self.addresses.host, SERVER_PORT));
        link.send_udp(from, SocketAddr::from((to, CLIENT_PORT)), &bytes);
    }
}

/// A text with its end into a field of zeros.
fn put(field: &mut [u8], text: Option<&str>) {
    if let Some(text) = text.filter(|text| text.len() < field.len()) {
        field[..text.len()].copy_from_slice(text.as_bytes());
    }
}

/// What all clients are told.
fn options(config: &UserNetConfig, addresses: &Addresses) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |code: u8, value: &[u8]| {
        // A long one is in parts (RFC 3396).
        for part in value.chunks(LONGEST_VALUE) {
            bytes.extend_from_slice(&[code, part.len() as u8]);
            bytes.extend_from_slice(part);
        }
    };
    add(option::MASK, &addresses.mask().octets());
    add(option::BROADCAST, &addresses.broadcast().octets());
    if !config.restrict {
        add(option::ROUTER, &addresses.host.octets());
        add(option::DNS, &addresses.dns.octets());
    }
    if config.mtu != 1500 {
        add(option::MTU, &config.mtu.to_be_bytes());
    }
    let texts = [
        (option::HOST_NAME, &config.hostname),
        (option::DOMAIN, &config.domain),
        (option::TFTP_SERVER, &config.tftp_server_name),
        (option::BOOT_FILE, &config.bootfile),
    ];
    for (code, text) in texts {
        if let Some(text) = text {
            add(code, text.as_bytes());
        }
    }
    add(option::SEARCH, &super::dns::names(&config.dns_search));
    bytes
}
