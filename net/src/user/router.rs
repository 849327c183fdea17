//! The network's thread: it waits for the guest, for the host's sockets and for time, and gives each its turn.

use super::arp;
use super::command::Command;
use super::config::{LINK_LOCAL, UserNetConfig};
use super::dhcp::{self, Dhcp};
use super::dns::Dns;
use super::fragments::Fragments;
use super::icmp::{Echoes, Trouble, send_trouble};
use super::inbound::Listeners;
use super::link::Link;
use super::ndp::{self, Advertised};
use super::outward::Outward;
use super::poller::{Poller, Token};
use super::resolvers::Resolvers;
use super::shared::{Shared, count};
use super::tcp::TcpTable;
use super::tcp::connection::Flow;
use super::tftp::{self, Tftp};
use super::udp::UdpTable;
use crate::error::NetError;
use crate::frame::Frame;
use crate::wire::headers::{
    BROADCAST, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Mac, Udp, protocol,
};
use crate::wire::ip::Packet;
use rustix::event::epoll::EventFlags;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often things that grow old are looked at.
const TICK: Duration = Duration::from_secs(1);

/// All of the network but its holder's end.
pub struct Router {
    shared: Arc<Shared>,
    poller: Poller,
    link: Link,
    outward: Outward,
    tcp: TcpTable,
    udp: UdpTable,
    echoes: Echoes,
    dns: Dns,
    dhcp: Dhcp,
    tftp: Option<Tftp>,
    fragments: Fragments,
    listeners: Listeners,
    advertised: Advertised,
    next_advertisement: Option<Instant>,
    next_tick: Instant,
}

impl Router {
    /// A network that is about to start.
    ///
    /// # Errors
    /// The configuration contradicts itself, or the host has no more file descriptors.
    pub fn new(config: &UserNetConfig, shared: Arc<Shared>) -> Result<Self, NetError> {
        let addresses = config.addresses()?;
        let poller = Poller::new().map_err(|error| NetError::host("user network", error))?;
        poller
            .add(&shared.bell, Token::Bell, EventFlags::IN)
            .map_err(|error| NetError::host("user network", error))?;
        let link = Link::new(addresses, config.mtu, shared.clone());
        let now = link.now;
        Ok(Self {
            shared,
            poller,
            link,
            outward: Outward {
                addresses,
                restrict: config.restrict,
                loopback: config.loopback,
                resolvers: Resolvers::new(config.resolvers.clone()),
                forwards: config.guest_forwards.clone(),
            },
            tcp: TcpTable::new(now),
            udp: UdpTable::default(),
            echoes: Echoes::default(),
            dns: Dns::default(),
            dhcp: Dhcp::new(config, addresses),
            tftp: config.tftp.as_deref().map(Tftp::new).transpose()?,
            fragments: Fragments::default(),
            listeners: Listeners::default(),
            advertised: Advertised { restrict: config.restrict, search: config.dns_search.clone() },
            next_advertisement: None,
            next_tick: now + TICK,
        })
    }
    /// Works until the holder wants it to end.
    pub fn run(mut self) {
        let mut events = Vec::new();
        loop {
            let may_wait = !self.has_work() && self.shared.may_sleep();
            let timeout = if may_wait { self.timeout() } else { Some(Duration::ZERO) };
            self.poller.wait(timeout, &mut events);
            self.shared.woke();
            self.link.now = Instant::now();
            if !self.turn(&events) {
                return;
            }
        }
    }
    /// One turn without waiting, for who drives a network by hand (fuzzers).
    pub fn step(&mut self) {
        let mut events = Vec::new();
        self.poller.wait(Some(Duration::ZERO), &mut events);
        self.link.now = Instant::now();
        self.turn(&events);
    }
    /// Whether there is something to do at once.
    fn has_work(&self) -> bool {
        let waits = self.tcp.is_hungry() || self.udp.is_waiting();
        self.tcp.has_work() || (waits && self.shared.ask_for_room())
    }
    fn timeout(&self) -> Option<Duration> {
        let tick = self.needs_ticks().then_some(self.next_tick);
        let next = [tick, self.tcp.next_look(), self.next_advertisement].into_iter().flatten().min();
        next.map(|at| at.saturating_duration_since(Instant::now()))
    }
    fn needs_ticks(&self) -> bool {
        let nothing = self.tcp.is_empty()
            && self.udp.is_empty()
            && self.echoes.is_empty()
            && self.dns.is_empty()
            && self.fragments.is_empty()
            && !self.link.is_waiting()
            && !self.listeners.is_waiting()
            && self.tftp.as_ref().is_none_or(Tftp::is_empty);
        !nothing
    }
    /// One turn for all; false at the end.
    fn turn(&mut self, events: &[(Token, EventFlags)]) -> bool {
        for (token, flags) in events {
            self.event(*token, *flags);
        }
        let taken = self.shared.take();
        for frame in taken.frames {
            self.frame(frame);
        }
        for command in taken.commands {
            match command {
                Command::Forward { id, forward, socket } => {
                    self.listeners.add(id, forward, socket, &self.poller)
                }
                Command::EndForward { id } => self.listeners.remove(id, &self.poller),
            }
        }
        self.tcp.late(&mut self.link);
        self.tcp.work(&mut self.link);
        self.udp.work(&mut self.link);
        if self.link.now >= self.next_tick {
            self.tick();
        }
        if self.next_advertisement.is_some_and(|at| at <= self.link.now) {
            self.advertise();
        }
        !taken.stop
    }
    fn event(&mut self, token: Token, flags: EventFlags) {
        let Self { link, outward, poller, tcp, udp, .. } = self;
        match token {
            Token::Bell => self.shared.bell.silence(),
            Token::Tcp(id) => tcp.event(id, flags, link),
            Token::Udp(id) => udp.event(id, link),
            Token::Icmp(id) => self.echoes.event(id, link),
            Token::Dns(id) => self.dns.event(id, link, outward, poller),
            Token::Forward(id) => self.listeners.event(id, link, outward, tcp, udp, poller),
        }
    }
    fn tick(&mut self) {
        self.next_tick = self.link.now + TICK;
        self.link.tick();
        self.tcp.tick(&self.link);
        self.udp.tick(&self.link);
        self.echoes.tick(&self.link);
        self.dns.tick(&mut self.link, &self.outward, &self.poller);
        self.fragments.tick(&self.link);
        self.listeners.tick(&self.poller);
        if let Some(tftp) = &mut self.tftp {
            tftp.tick(&mut self.link);
        }
    }
    fn advertise(&mut self) {
        ndp::advertise(&mut self.link, &self.advertised);
        self.next_advertisement = Some(self.link.now + ndp::ADVERTISE_EVERY);
    }
    /// Whether an address is the network's own, where the network itself answers.
    fn is_own(&self, address: IpAddr) -> bool {
        is_own(&self.outward, address)
    }

    /// A frame from the guest.
    pub fn frame(&mut self, frame: Frame) {
        count(&self.shared.counters.frames_from_guest, 1);
        count(&self.shared.counters.bytes_from_guest, frame.bytes.len());
        let Some((ethernet, _)) = Ethernet::split(&frame.bytes) else { return };
        let (destination, mac) = (ethernet.destination, ethernet.source);
        // What goes to another station of a hub is none of ours. Our own stations' addresses begin with 52:55 and 52:56.
        if destination != BROADCAST
            && destination[0] & 1 == 0
            && !matches!(destination[..2], [0x52, 0x55 | 0x56])
        {
            return;
        }
        match ethernet.kind.get() {
            ETHERTYPE_ARP if self.outward.addresses.ipv4 => {
                let outward = &self.outward;
                arp::receive(&frame.bytes, &mut self.link, |address| is_own(outward, address));
            }
            ETHERTYPE_IPV4 if self.outward.addresses.ipv4 => self.packet(frame, mac),
            ETHERTYPE_IPV6 if self.outward.addresses.ipv6 => {
                if self.next_advertisement.is_none() {
                    self.advertise();
                }
                self.packet(frame, mac);
            }
            _ => {}
        }
    }
    fn packet(&mut self, frame: Frame, mac: Mac) {
        let Some(packet) = Packet::read(&frame) else { return };
        if packet.fragment.is_some() {
            // The whole packet is no fragment: this goes no deeper.
            if let Some(whole) = self.fragments.receive(&packet, &frame, &self.link) {
                self.packet(whole, mac);
            }
            return;
        }
        if !packet.checksum_is_right(&frame) {
            return;
        }
        if self.is_dhcp(&packet, &frame) {
            return;
        }
        if packet.protocol == protocol::ICMPV6 && self.is_discovery(&packet, &frame, mac) {
            return;
        }
        // From here on only stations with an address of the network are served, which is learned from what they send.
        if !self.link.addresses.contains(packet.source) && !is_link_local(packet.source)
            || self.is_own(packet.source)
        {
            return;
        }
        if packet.protocol != protocol::TCP || packet.payload.len() < 64 {
            self.link.learn(packet.source, mac);
        }
        let is_own = self.is_own(packet.destination);
        if packet.ttl <= 1 && !is_own && !packet.destination.is_multicast() {
            let quote = &frame.bytes[packet.payload.start..packet.payload.end.min(packet.payload.start + 28)];
            let (source, destination) = (packet.source, packet.destination);
            return send_trouble(
                &mut self.link,
                Trouble::TimeExceeded,
                None,
                source,
                destination,
                packet.protocol,
                quote,
            );
        }
        match packet.protocol {
            protocol::TCP => self.tcp.receive(frame, &packet, &mut self.link, &self.outward, &self.poller),
            protocol::UDP => self.datagram(&packet, &frame),
            protocol::ICMP | protocol::ICMPV6 => {
                let bytes = &frame.bytes[packet.payload.clone()];
                self.echoes.receive(&packet, bytes, is_own, &mut self.link, &self.outward, &self.poller);
            }
            _ => {}
        }
    }
    fn is_dhcp(&mut self, packet: &Packet, frame: &Frame) -> bool {
        let bytes = &frame.bytes[packet.payload.clone()];
        let IpAddr::V4(destination) = packet.destination else { return false };
        let Some((udp, payload)) = Udp::split(bytes).filter(|_| packet.protocol == protocol::UDP) else {
            return false;
        };
        let is_for_us = destination.is_broadcast()
            || destination == self.link.addresses.broadcast()
            || destination == self.link.addresses.host;
        if udp.destination.get() != dhcp::SERVER_PORT || !is_for_us {
            return false;
        }
        self.dhcp.receive(payload, &mut self.link);
        true
    }
    fn is_discovery(&mut self, packet: &Packet, frame: &Frame, mac: Mac) -> bool {
        let message = &frame.bytes[packet.payload.clone()];
        let outward = &self.outward;
        let is_own = |address| is_own(outward, address);
        ndp::receive(packet, message, mac, &mut self.link, &self.advertised, is_own)
    }
    fn datagram(&mut self, packet: &Packet, frame: &Frame) {
        let Some((udp, rest)) = Udp::split(&frame.bytes[packet.payload.clone()]) else { return };
        let length = usize::from(udp.length.get()).checked_sub(Udp::BYTES);
        let Some(payload) = length.and_then(|length| rest.get(..length)) else { return };
        let guest = SocketAddr::new(packet.source, udp.source.get());
        let remote = SocketAddr::new(packet.destination, udp.destination.get());
        let link = &mut self.link;
        if remote.ip().is_multicast()
            || remote.ip() == IpAddr::V4(link.addresses.broadcast())
            || guest.port() == 0
        {
            return;
        }
        if let Some(tftp) = self.tftp.as_mut().filter(|_| link.addresses.is_router(remote.ip())) {
            if remote.port() == tftp::PORT {
                return tftp.request(guest, remote, payload, link);
            }
            if tftp.receive(guest, remote, payload, link) {
                return;
            }
        }
        if link.addresses.is_dns(remote.ip()) && remote.port() == 53 && !self.outward.restrict {
            return self.dns.receive(guest, remote, payload, link, &self.outward, &self.poller);
        }
        self.udp.receive(Flow { guest, remote }, payload, link, &self.outward, &self.poller);
    }
}

fn is_own(outward: &Outward, address: IpAddr) -> bool {
    outward.addresses.is_router(address)
        || outward.addresses.is_dns(address)
        || outward.forwards.iter().any(|forward| forward.server.ip() == address)
}

/// Stations may speak to the router with such addresses.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xFFC0 == 0xFE80 && address != LINK_LOCAL)
}
