//! The saved state.

use super::access::PACKET_BUFFER_MASK;
use super::eeprom::{Eeprom, Phase};
use super::filter::Filter;
use super::interrupts::{Delay, Interrupts};
use super::offload::Context;
use super::phy::Phy;
use super::registers::*;
use super::ring::{BASE_MASK, INDEX_MASK, LENGTH_MASK, Ring};
use super::statistics::Statistics;
use super::transmit::{Gathered, LONGEST_SEGMENTED};
use super::{COMMAND_MASTER, E1000};
use crate::pci::ConfigSpaceStateV1;
use crate::saved_state::{saved_state, saved_variants};
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, RestoreError, SaveState};

/// The saved card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct E1000StateV1 {
    config: ConfigSpaceStateV1,
    ctrl: u32,
    plain: Vec<u32>,
    packet_buffer: u32,
    io_address: u32,
    eeprom: EepromStateV1,
    phy: PhyStateV1,
    interrupts: InterruptsStateV1,
    addresses: Vec<[u32; 2]>,
    multicast: Vec<u32>,
    vlans: Vec<u32>,
    receive_control: u32,
    receive_ring: RingStateV1,
    transmit_control: u32,
    transmit_ring: RingStateV1,
    context: ContextStateV1,
    segmentation: ContextStateV1,
    gathered: GatheredStateV1,
    statistics: Vec<u32>,
    link: bool,
    phy_interrupt: bool,
    continues: Option<GuestTime>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct EepromStateV1 {
    words: Vec<u16>,
    phase: PhaseStateV1,
    enabled: bool,
    output: bool,
    eecd: u32,
    eerd: u32,
}
saved_variants! {
    enum PhaseStateV1 of Phase {
        Idle,
        Command { bits: u32, value: u32 },
        Read { address: u8, bits: u32 },
        Write { command: u8, bits: u32, value: u32 },
        Armed { command: u8, value: u16 },
    }
}
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PhyStateV1 {
    registers: Vec<u16>,
    negotiates_until: Option<GuestTime>,
    carrier: bool,
    was_down: bool,
    mdic: u32,
}
saved_state! {
    struct InterruptsStateV1 of Interrupts {
        causes: u32,
        mask: u32,
        interval: u32,
        asserted: bool,
        began: Option<GuestTime>,
        receive: DelayStateV1,
        transmit: DelayStateV1,
    }
}
saved_state! {
    struct DelayStateV1 of Delay {
        from_last: Option<GuestTime>,
        from_first: Option<GuestTime>,
    }
}
saved_state! {
    struct ContextStateV1 of Context {
        ip_start: u8,
        ip_offset: u8,
        ip_end: u16,
        tcp_start: u8,
        tcp_offset: u8,
        tcp_end: u16,
        payload: u32,
        header: u8,
        piece: u16,
        tcp: bool,
        ipv4: bool,
    }
}
saved_state! {
    struct GatheredStateV1 of Gathered {
        bytes: Vec<u8>,
        begun: bool,
        options: u8,
        segment: bool,
        too_long: bool,
    }
}
/// The registers of a ring.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct RingStateV1 {
    base: u64,
    length: u32,
    head: u32,
    tail: u32,
}

impl RingStateV1 {
    fn of(ring: &Ring) -> Self {
        Self { base: ring.base, length: ring.length, head: ring.head, tail: ring.tail() }
    }
    fn is_possible(self) -> bool {
        let Self { base, length, head, tail } = self;
        base & !BASE_MASK == 0 && length & !LENGTH_MASK == 0 && (head | tail) & !INDEX_MASK == 0
    }
    /// The register of the tail stays the same one: others write it too.
    fn put_into(self, ring: &mut Ring) {
        let Self { base, length, head, tail } = self;
        (ring.base, ring.length, ring.head) = (base, length, head);
        ring.set_tail(tail);
    }
}

fn refused(field: &'static str, value: impl std::fmt::Debug) -> RestoreError {
    RestoreError { part: "e1000", field, value: format!("{value:?}") }
}
fn check(possible: bool, field: &'static str, value: impl std::fmt::Debug) -> Result<(), RestoreError> {
    if possible { Ok(()) } else { Err(refused(field, value)) }
}
/// So many values as the card has.
fn all<T: Copy + std::fmt::Debug, const N: usize>(
    values: &[T],
    field: &'static str,
) -> Result<[T; N], RestoreError> {
    values.try_into().map_err(|_| refused(field, values.len()))
}

impl EepromStateV1 {
    fn of(eeprom: &Eeprom) -> Self {
        let Eeprom { words, phase, enabled, output, eecd, eerd } = eeprom.clone();
        Self { words: words.to_vec(), phase: phase.into(), enabled, output, eecd, eerd }
    }
    fn restored(self) -> Result<Eeprom, RestoreError> {
        let Self { words, phase, enabled, output, eecd, eerd } = self;
        let words = all(&words, "EEPROM")?;
        let phase = Phase::from(phase);
        check(phase.is_possible(), "EEPROM's phase", phase)?;
        check(eecd & !Eeprom::EECD_WRITABLE == 0, "EECD", eecd)?;
        Ok(Eeprom { words, phase, enabled, output, eecd, eerd })
    }
}
impl PhyStateV1 {
    fn of(phy: &Phy) -> Self {
        let Phy { registers, negotiates_until, carrier, was_down, mdic } = phy.clone();
        Self { registers: registers.to_vec(), negotiates_until, carrier, was_down, mdic }
    }
    fn restored(self) -> Result<Phy, RestoreError> {
        let Self { registers, negotiates_until, carrier, was_down, mdic } = self;
        let phy = Phy { registers: all(&registers, "PHY")?, negotiates_until, carrier, was_down, mdic };
        check(phy.is_possible(), "PHY's registers", phy.registers)?;
        Ok(phy)
    }
}
impl GatheredStateV1 {
    fn is_possible(&self) -> bool {
        let Self { bytes, begun, options, segment, too_long } = self;
        let untouched = bytes.is_empty() && *options == 0 && !segment && !too_long;
        bytes.len() <= LONGEST_SEGMENTED && (*begun || untouched) && (!*too_long || bytes.is_empty())
    }
}
impl InterruptsStateV1 {
    fn is_possible(&self) -> bool {
        let causes = (self.causes | self.mask) & !cause::ALL == 0;
        causes && self.interval <= 0xFFFF && (!self.asserted || self.causes & self.mask != 0)
    }
}

/// Checks registers that have unwritable bits.
fn check_registers(state: &E1000StateV1) -> Result<(), RestoreError> {
    let masks = [
        ("CTRL", state.ctrl, ctrl::WRITABLE),
        ("PBA", state.packet_buffer, PACKET_BUFFER_MASK),
        ("RCTL", state.receive_control, rctl::WRITABLE),
        ("TCTL", state.transmit_control, tctl::WRITABLE),
    ];
    for (field, value, mask) in masks {
        check(value & !mask == 0, field, value)?;
    }
    check(state.plain.len() == plain_reset().len(), "registers", state.plain.len())?;
    let rows = PLAIN.iter().flat_map(|row| std::iter::repeat_n(row.mask, row.count as usize));
    for (value, mask) in state.plain.iter().zip(rows) {
        check(value & !mask == 0, "register", value)?;
    }
    check(state.receive_ring.is_possible(), "receive ring", state.receive_ring)?;
    check(state.transmit_ring.is_possible(), "transmit ring", state.transmit_ring)?;
    for context in [&state.context, &state.segmentation] {
        check(context.payload < 1 << 20, "context", context.payload)?;
    }
    check(state.gathered.is_possible(), "packet", state.gathered.bytes.len())?;
    check(state.interrupts.is_possible(), "interrupts", &state.interrupts)
}

impl SaveState for E1000 {
    type State = E1000StateV1;
    fn save(&self) -> E1000StateV1 {
        let Self {
            intx: _,
            memory: _,
            cable: _,
            rom: _,
            config,
            ctrl,
            plain,
            packet_buffer,
            io_address,
            eeprom,
            phy,
            interrupts,
            filter: Filter { addresses, multicast, vlans },
            receiver,
            transmitter,
            statistics,
            link,
            phy_interrupt,
            continues,
        } = self;
        E1000StateV1 {
            config: config.save(),
            ctrl: *ctrl,
            plain: plain.clone(),
            packet_buffer: *packet_buffer,
            io_address: *io_address,
            eeprom: EepromStateV1::of(eeprom),
            phy: PhyStateV1::of(phy),
            interrupts: interrupts.clone().into(),
            addresses: addresses.to_vec(),
            multicast: multicast.to_vec(),
            vlans: vlans.to_vec(),
            receive_control: receiver.control,
            receive_ring: RingStateV1::of(&receiver.ring),
            transmit_control: transmitter.control,
            transmit_ring: RingStateV1::of(&transmitter.ring),
            context: transmitter.context.into(),
            segmentation: transmitter.segmentation.into(),
            gathered: transmitter.gathered.clone().into(),
            statistics: statistics.values().to_vec(),
            link: *link,
            phy_interrupt: *phy_interrupt,
            continues: *continues,
        }
    }
    fn restore(&mut self, state: E1000StateV1) -> Result<(), RestoreError> {
        check_registers(&state)?;
        let E1000StateV1 {
            config,
            ctrl,
            plain,
            packet_buffer,
            io_address,
            eeprom,
            phy,
            interrupts,
            addresses,
            multicast,
            vlans,
            receive_control,
            receive_ring,
            transmit_control,
            transmit_ring,
            context,
            segmentation,
            gathered,
            statistics,
            link,
            phy_interrupt,
            continues,
        } = state;
        let eeprom = eeprom.restored()?;
        let phy = phy.restored()?;
        let filter = Filter {
            addresses: all(&addresses, "receive addresses")?,
            multicast: all(&multicast, "multicast table")?,
            vlans: all(&vlans, "VLAN table")?,
        };
        check(filter.is_possible(), "receive addresses", filter.addresses)?;
        let statistics = Statistics::new(all(&statistics, "statistics")?);
        check(link == (ctrl & super::ctrl::SLU != 0 && phy.link()), "link", link)?;
        check(phy_interrupt == phy.interrupts(), "PHY's interrupt", phy_interrupt)?;
        let mut new_config = self.config.clone();
        new_config.restore(config)?;
        let interrupts = Interrupts::from(interrupts);
        let status = new_config.interrupt_status();
        check(status == interrupts.asserted, "interrupt status", status)?;
        self.config = new_config;
        (self.ctrl, self.plain, self.packet_buffer, self.io_address) =
            (ctrl, plain, packet_buffer, io_address);
        (self.eeprom, self.phy, self.interrupts, self.filter) = (eeprom, phy, interrupts, filter);
        (self.receiver.control, self.transmitter.control) = (receive_control, transmit_control);
        receive_ring.put_into(&mut self.receiver.ring);
        transmit_ring.put_into(&mut self.transmitter.ring);
        (self.transmitter.context, self.transmitter.segmentation) = (context.into(), segmentation.into());
        (self.transmitter.gathered, self.statistics) = (gathered.into(), statistics);
        (self.link, self.phy_interrupt, self.continues) = (link, phy_interrupt, continues);
        self.memory.enable(self.config.command(COMMAND_MASTER));
        let level = self.config.set_interrupt(self.interrupts.asserted);
        self.intx.set(level);
        Ok(())
    }
}
