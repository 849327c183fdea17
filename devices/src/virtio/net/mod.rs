//! The virtio network card (virtio 1.2, 5.1).
//!
//! | queue | what |
//! |---|---|
//! | 2n, 2n + 1 | frames of pair n: to the guest, from the guest |
//! | behind the pairs, or 2 without `MQ` | commands ([`control`]) |
//!
//! Each frame has a header ([`header`]) that says which checksum is missing and how a long frame is to be cut: what one side leaves
//! open the other side does, or the network, or nobody where the bytes never leave the host. A frame for the guest may
//! take several of its buffers (`MRG_RXBUF`), which it sees all at once.
//!
//! A frame waits in the network until the guest has buffers for it ([`NetworkCard`](crate::network::NetworkCard)). With several
//! pairs it goes to the pair that the network chose, if it has several queues too, or else to the one by which the guest last sent frames
//! of the same flow ([`flows`]).
//!
//! Which frames the guest wants is said by commands: its address, other addresses, modes ([`filter`]), VLANs. The configuration
//! has the address, whether the cable is connected, how many pairs there are, and the network's MTU.
//!
//! Checksums of frames that the guest sends are filled in where the network does not take them open. Long frames are offered only where
//! the network takes them.
//!
//! Left out: UDP segments, receive-side scaling by a table, hashes, coalescing, and standby.

pub mod control;
pub mod filter;
pub mod flows;
pub mod header;

use super::device::{Kind, VirtioDevice, VirtioNetwork};
use super::io::Io;
use super::queue::{Chain, Segment};
use super::registers::feature::VERSION_1;
use crate::network::{CableRef, MacAddress};
use filter::{Filter, FilterStateV1};
use flows::Flows;
use header::Header;
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, RestoreError};
use trimotor_net::{Frame, Offloads};

/// Pairs of queues at most: as many bits as there are doorbells.
pub const MOST_PAIRS: u16 = 16;
/// The longest frame that a guest may send, in bytes: an IP packet of 64 KiB with its Ethernet header and a VLAN tag.
const MOST_FRAME: u64 = 65_535 + 18;
/// Buffers of a queue of commands.
const CONTROL_SIZE: u16 = 64;

/// Features.
pub mod feature {
    /// The guest leaves checksums open.
    pub const CSUM: u64 = 1 << 0;
    /// It takes frames with open checksums.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// It changes by a command what it takes.
    pub const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    /// The configuration has the MTU.
    pub const MTU: u64 = 1 << 3;
    /// It has the address.
    pub const MAC: u64 = 1 << 5;
    /// The guest takes long frames of TCP over IPv4.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// Over IPv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// With ECN.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// It sends long frames of TCP over IPv4.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// Over IPv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// With ECN.
    pub const HOST_ECN: u64 = 1 << 13;
    /// Frames may take several buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// The configuration says whether the cable is connected.
    pub const STATUS: u64 = 1 << 16;
    /// There is a queue of commands.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// Modes of the receiver.
    pub const CTRL_RX: u64 = 1 << 18;
    /// VLANs.
    pub const CTRL_VLAN: u64 = 1 << 19;
    /// More modes.
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
    /// The guest can be asked to tell the network where it is.
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    /// Several pairs.
    pub const MQ: u64 = 1 << 22;
    /// The address is set by a command.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
    /// What the guest may take beside whole frames.
    pub const GUEST_OFFLOADS: u64 = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;
}

/// Status: the cable is connected.
const LINK_UP: u16 = 1;
/// Status: the guest is to tell the network where it is.
const ANNOUNCE: u16 = 2;

/// A network card.
pub struct Net {
    cable: CableRef,
    burned_in: MacAddress,
    pairs: u16,
    queue_size: u16,

    mac: [u8; 6],
    filter: Filter,
    flows: Flows,
    /// Pairs that the driver uses.
    used_pairs: u16,
    /// Which of [`feature::GUEST_OFFLOADS`] hold now.
    offloads: u64,
    connected: bool,
    announce: bool,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetStateV1 {
    mac: [u8; 6],
    filter: FilterStateV1,
    flows: Vec<u8>,
    used_pairs: u16,
    offloads: u64,
    connected: bool,
    announce: bool,
}

impl Net {
    /// A card at the end of `cable`, with so many pairs of queues of this size.
    pub fn new(cable: CableRef, mac: MacAddress, pairs: u16, queue_size: u16) -> Self {
        Self {
            connected: cable.carrier(),
            cable,
            burned_in: mac,
            pairs,
            queue_size,
            mac: mac.0,
            filter: Filter::default(),
            flows: Flows::default(),
            used_pairs: 1,
            offloads: 0,
            announce: false,
        }
    }
    /// The queue of commands for a driver with these features.
    fn control_queue(&self, io: &Io<'_>) -> usize {
        if io.has(feature::MQ) { 2 * usize::from(self.pairs) } else { 2 }
    }
    /// The pair that a frame goes to.
    fn pair_of(&self, frame: &Frame) -> u16 {
        if self.used_pairs == 1 {
            return 0;
        }
        let is_used = |pair: &u16| *pair < self.used_pairs;
        let of_flow = || u16::from(self.flows.pair_of(&frame.bytes));
        frame.queue.filter(is_used).or_else(|| Some(of_flow()).filter(is_used)).unwrap_or(0)
    }
    fn tell_offloads(&self) {
        let has = |bit| self.offloads & bit != 0;
        let checksum = has(feature::GUEST_CSUM);
        self.cable.card_accepts(Offloads {
            checksum,
            tcp4: checksum && has(feature::GUEST_TSO4),
            tcp6: checksum && has(feature::GUEST_TSO6),
            ecn: checksum && has(feature::GUEST_ECN),
            udp: false,
        });
    }
    fn status(&self) -> u16 {
        (if self.connected { LINK_UP } else { 0 }) | if self.announce { ANNOUNCE } else { 0 }
    }

    /// Frames from the guest.
    fn transmit(&mut self, queue: usize, io: &mut Io<'_>) {
        let bytes = header::bytes(io.features());
        loop {
            while let Some(chain) = io.pop(queue) {
                // What is no frame is lost.
                if (bytes + 14..=bytes + MOST_FRAME).contains(&chain.readable())
                    && self.send(queue, &chain, bytes, io).is_none()
                {
                    return;
                }
                io.push(queue, chain, 0);
            }
            if !io.arm(queue) {
                return;
            }
        }
    }
    fn send(&mut self, queue: usize, chain: &Chain, header_bytes: u64, io: &mut Io<'_>) -> Option<()> {
        let mut header = [0; header::MOST_BYTES];
        let header = &mut header[..header_bytes as usize];
        io.read(chain.readable_segments(), 0, header)?;
        let mut frame = vec![0; (chain.readable() - header_bytes) as usize];
        io.read(chain.readable_segments(), header_bytes, &mut frame)?;
        if self.used_pairs > 1 {
            self.flows.sent(&frame, (queue / 2) as u8);
        }
        if let Some(mut frame) = Header::of(header).frame(frame, io.features(), self.cable.accepts()) {
            frame.queue = (self.used_pairs > 1).then_some((queue / 2) as u16);
            self.cable.send(frame);
        }
        Some(())
    }
    /// Gives a frame to the guest. Returns whether it is dealt with: `false` where the guest has too few buffers.
    fn give(&mut self, queue: usize, frame: &Frame, io: &mut Io<'_>) -> bool {
        let (mut header, filled) = Header::for_guest(frame, self.offloads, io.features());
        let bytes = filled.as_deref().unwrap_or(&frame.bytes);
        let total = header.len() as u64 + bytes.len() as u64;
        let Some(before) = io.progress(queue) else { return true };
        let mut chains: Vec<(Chain, u32)> = Vec::new();
        let (mut room, merges) = (0, io.has(feature::MRG_RXBUF));
        while room < total {
            // A frame that is larger than one buffer, or than all there can be, will never fit.
            if !chains.is_empty() && (!merges || chains.len() >= io.size(queue)) {
                io.rewind(queue, before);
                return true;
            }
            let Some(chain) = io.pop(queue) else {
                // The driver is to tell of what comes behind all that there is, so before these are put back.
                if io.arm(queue) {
                    continue;
                }
                io.rewind(queue, before);
                return false;
            };
            let part = chain.writable().min(total - room);
            room += part;
            chains.push((chain, part as u32));
        }
        header::set_buffers(&mut header, chains.len() as u16);
        let mut source = Source { header: &header, frame: bytes };
        for (chain, part) in &chains {
            if source.write_to(chain.writable_segments(), u64::from(*part), io).is_none() {
                return true;
            }
        }
        io.push_all(queue, &chains);
        true
    }
}

/// Header and frame, one behind the other.
struct Source<'a> {
    header: &'a [u8],
    frame: &'a [u8],
}
impl Source<'_> {
    /// Writes the next `bytes` bytes to a buffer.
    fn write_to(&mut self, to: &[Segment], bytes: u64, io: &mut Io<'_>) -> Option<()> {
        let (first, header) = self.header.split_at(self.header.len().min(bytes as usize));
        io.write(to, 0, first)?;
        let (second, frame) = self.frame.split_at(self.frame.len().min(bytes as usize - first.len()));
        io.write(to, first.len() as u64, second)?;
        (self.header, self.frame) = (header, frame);
        Some(())
    }
}

impl VirtioNetwork for Net {
    fn has_room(&mut self, io: &mut Io<'_>) -> bool {
        // Without a driver frames are thrown away.
        let mut pairs = (0..usize::from(self.used_pairs)).map(|pair| 2 * pair);
        // A driver notices that it was asked to tell, so that is done only where there is no room.
        !io.uses(0) || pairs.clone().any(|queue| io.has_more(queue)) || pairs.any(|queue| io.arm(queue))
    }
    fn receive(&mut self, frame: &Frame, io: &mut Io<'_>) -> bool {
        if !io.uses(0) || !self.filter.wants(&frame.bytes, self.mac, io.has(feature::CTRL_VLAN)) {
            return true;
        }
        let queue = 2 * usize::from(self.pair_of(frame));
        if !io.uses(queue) {
            return true;
        }
        self.give(queue, frame, io)
    }
    fn carrier(&mut self, connected: bool, io: &mut Io<'_>) {
        if self.connected == connected {
            return;
        }
        self.connected = connected;
        self.announce |= connected && io.has(feature::GUEST_ANNOUNCE | feature::CTRL_VQ);
        io.config_changed();
    }
}

impl VirtioDevice for Net {
    type State = NetStateV1;

    fn kind(&self) -> Kind {
        Kind { name: "virtio network card", device_type: 1, transitional: Some(0x1000), class: 0x02_00_00 }
    }
    fn features(&self) -> u64 {
        let accepts = self.cable.accepts();
        let mut features = feature::CSUM
            | feature::GUEST_OFFLOADS
            | feature::CTRL_GUEST_OFFLOADS
            | feature::MTU
            | feature::MAC
            | feature::MRG_RXBUF
            | feature::STATUS
            | feature::CTRL_VQ
            | feature::CTRL_RX
            | feature::CTRL_VLAN
            | feature::CTRL_RX_EXTRA
            | feature::GUEST_ANNOUNCE
            | feature::CTRL_MAC_ADDR;
        for (wanted, bit) in [
            (self.pairs > 1, feature::MQ),
            (accepts.checksum && accepts.tcp4, feature::HOST_TSO4),
            (accepts.checksum && accepts.tcp6, feature::HOST_TSO6),
            (accepts.checksum && accepts.ecn, feature::HOST_ECN),
        ] {
            features |= if wanted { bit } else { 0 };
        }
        features
    }
    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![self.queue_size; 2 * usize::from(self.pairs)];
        // Without `MQ` queue 2 has the commands: the driver may make any of them smaller.
        sizes.push(CONTROL_SIZE);
        sizes
    }
    fn config(&self, _features: u64) -> Vec<u8> {
        let [status, pairs, mtu] = [self.status(), self.pairs, self.cable.mtu()].map(u16::to_le_bytes);
        [self.mac.as_slice(), &status, &pairs, &mtu].concat()
    }
    fn config_write(&mut self, offset: usize, byte: u8, io: &mut Io<'_>, _now: GuestTime) {
        // Drivers from before virtio 1 set the address so.
        if let Some(place) = self.mac.get_mut(offset)
            && !io.has(VERSION_1)
        {
            *place = byte;
        }
    }
    fn ready(&mut self, io: &mut Io<'_>) {
        self.offloads = io.features() & feature::GUEST_OFFLOADS;
        self.tell_offloads();
        self.cable.room();
    }
    fn look(&mut self, queue: usize, io: &mut Io<'_>, _now: GuestTime) {
        if queue == self.control_queue(io) {
            self.take_commands(queue, io);
        } else if queue % 2 == 1 {
            self.transmit(queue, io);
        } else {
            self.cable.room();
        }
    }
    fn queue_reset(&mut self, _queue: usize) {
        self.cable.room();
    }
    fn reset(&mut self) {
        self.mac = self.burned_in.0;
        self.filter = Filter::default();
        self.flows = Flows::default();
        (self.used_pairs, self.offloads, self.announce) = (1, 0, false);
        self.tell_offloads();
        self.cable.room();
    }
    fn network(&mut self) -> Option<&mut dyn VirtioNetwork> {
        Some(self)
    }

    fn info(&self) -> String {
        let link = if self.connected { "connected" } else { "no cable" };
        format!("{}, {link}, {} of {} pairs of queues", MacAddress(self.mac), self.used_pairs, self.pairs)
    }
    fn save(&self) -> NetStateV1 {
        let Self {
            cable: _,
            burned_in: _,
            pairs: _,
            queue_size: _,
            mac,
            filter,
            flows,
            used_pairs,
            offloads,
            connected,
            announce,
        } = self;
        NetStateV1 {
            mac: *mac,
            filter: filter.save(),
            flows: flows.save(),
            used_pairs: *used_pairs,
            offloads: *offloads,
            connected: *connected,
            announce: *announce,
        }
    }
    fn check(&self, state: &NetStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "virtio network card", field, value });
        if !(1..=self.pairs).contains(&state.used_pairs) {
            return refuse("pairs", state.used_pairs.to_string());
        }
        if state.offloads & !feature::GUEST_OFFLOADS != 0 {
            return refuse("offloads", format!("{:#x}", state.offloads));
        }
        if Filter::restored(&state.filter).is_none() || Flows::restored(&state.flows).is_none() {
            return refuse("filter", format!("{:?}", state.filter));
        }
        Ok(())
    }
    fn restore(&mut self, state: NetStateV1) {
        let NetStateV1 { mac, filter, flows, used_pairs, offloads, connected, announce } = state;
        self.filter = Filter::restored(&filter).unwrap_or_default();
        self.flows = Flows::restored(&flows).unwrap_or_default();
        (self.mac, self.used_pairs, self.offloads) = (mac, used_pairs, offloads);
        (self.connected, self.announce) = (connected, announce);
        self.tell_offloads();
        self.cable.room();
    }
}
