//! A PCI card to learn from and to test with. It is no card that was ever built.
//!
//! It has one of everything that a card can have: ports behind BAR 0, registers in a 64-bit memory BAR 2, MSI-X behind
//! BAR 1 and INTA# without it, memory of its own behind the 64-bit prefetchable BAR 4 (if it was given some), an expansion
//! ROM, DMA in both directions, and requests that a worker thread carries out, so that they complete
//! out of order.
//!
//! | register | what |
//! |---|---|
//! | 00h ID, 08h scratch | read only; keeps what is written |
//! | 10h source, 18h destination, 20h length | guest-physical addresses, and up to 4096 bytes |
//! | 28h doorbell | a write begins request n (bits 3:0) with the three registers above |
//! | 30h status | bit n: request n is done; bit 16 + n: it was refused. Writing ones clears |
//! | 38h completed, 40h order | counts; which requests completed last |
//! | 50h table | the guest-physical address of a table of requests, 32 bytes each: source, destination, length |
//! | 58h queue | a write begins request n, which the table describes: a doorbell |
//! | 48h dirty | how many pages of the card's memory were written since this was last read |
//!
//! Registers are 64 bits wide; dwords and aligned quadwords reach them. Ports 0 to 7 are the ID, 8 the
//! scratch register's low dword, and 16 the doorbell.
//!
//! A request reads its bytes from the source when the doorbell is written. A worker turns them round (the last byte
//! becomes the first). At completion they go to the destination, bit n of the status is set, and the card interrupts:
//! by vector n modulo 4, or by INTA# for as long as a status bit is set. A request is refused where its number is
//! under way already, or its length is 0 or too large.
//!
//! vCPUs and DMA reach memory and ROM without the card; it is asked only where something else covers a part of a page
//! of theirs.
//!
//! [`registers`] is the numbers, [`requests`] what is under way, [`rom`] the expansion ROM, this file the card.

pub mod registers;
pub mod requests;
pub mod rom;

use crate::device::{Completion, Device, Doorbells, OutsideRef};
use crate::pci::config_space::{COMMAND_MASTER, ROM_SLOT};
use crate::pci::{Bar, ConfigSpace, ConfigSpaceStateV1, Identity, Msix, MsixStateV1, msix};
use crate::saved_state::saved_state;
use registers::*;
use requests::{Request, RequestStateV1};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{
    BusMaster, DmaBus, GuestTime, IrqLine, MemoryRegion, MsiSink, PciBars, PciFunction, PhysAddr,
    RestoreError, SaveState, Width,
};

/// The number of the expansion ROM's base address register.
const ROM_BAR: u8 = ROM_SLOT as u8;

/// What the guest can set, but for configuration space and MSI-X.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Registers {
    scratch: u64,
    source: u64,
    destination: u64,
    length: u64,
    table: u64,
    status: u32,
    completed: u64,
    order: u64,
}

saved_state! {
    /// The saved registers.
    pub struct RegistersStateV1 of Registers {
        scratch: u64,
        source: u64,
        destination: u64,
        length: u64,
        table: u64,
        status: u32,
        completed: u64,
        order: u64,
    }
}

/// The card.
pub struct DemoCard {
    intx: IrqLine,
    memory: BusMaster,
    outside: OutsideRef,
    own: CardMemory,

    config: ConfigSpace,
    msix: Msix,
    registers: Registers,
    /// By number.
    requests: BTreeMap<u8, Request>,
}

/// Memory on the card.
#[derive(Clone, Debug, Default)]
pub struct CardMemory {
    /// What is behind BAR 4: a power of two of bytes.
    pub vram: Option<MemoryRegion>,
    /// The expansion ROM: [`rom::BYTES`].
    pub rom: Option<MemoryRegion>,
}

/// The saved state. The card's memory is saved by the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DemoCardStateV1 {
    config: ConfigSpaceStateV1,
    msix: MsixStateV1,
    registers: RegistersStateV1,
    requests: BTreeMap<u8, RequestStateV1>,
}

impl DemoCard {
    /// A card that interrupts by `intx` or messages to `msi`, reaches memory by `memory`, and has its requests
    /// carried out `outside`. `own` is memory on the card.
    pub fn new(
        intx: IrqLine,
        msi: Arc<dyn MsiSink>,
        memory: BusMaster,
        outside: OutsideRef,
        own: CardMemory,
    ) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: VENDOR,
            device: DEVICE,
            revision: 1,
            class: 0xFF_00_00,
            subsystem: (VENDOR, DEVICE),
            multifunction: false,
            interrupt_pin: 1,
        });
        config.add_bar(IO_BAR.into(), Bar::Io { size: IO_BYTES });
        config.add_bar(REGISTER_BAR.into(), Bar::Memory64 { size: REGISTER_BYTES, prefetchable: false });
        config.add_bar(MSIX_BAR.into(), Bar::Memory32 { size: msix::BAR_BYTES, prefetchable: false });
        if let Some(vram) = &own.vram {
            let bar = Bar::Memory64 { size: vram.bytes(), prefetchable: true };
            config.add_bar(VRAM_BAR.into(), bar);
        }
        if own.rom.is_some() {
            config.add_bar(ROM_SLOT, Bar::Rom { size: rom::BYTES });
        }
        let msix = Msix::new(&mut config, MSIX_BAR, VECTORS, msi);
        Self {
            intx,
            memory,
            outside,
            own,
            config,
            msix,
            registers: Registers::default(),
            requests: BTreeMap::new(),
        }
    }

    /// Begins the request that the registers describe.
    fn begin_by_registers(&mut self, number: u8, now: GuestTime) {
        let Registers { source, destination, length, .. } = self.registers;
        self.begin(number, [source, destination, length], now);
    }
    /// Begins the request that the table describes.
    fn begin_by_table(&mut self, number: u8, now: GuestTime) {
        let mut entry = [0; ENTRY_BYTES as usize];
        let at = self.registers.table.wrapping_add(ENTRY_BYTES * u64::from(number));
        self.memory.dma_read(PhysAddr(at), &mut entry);
        let field = |n: usize| u64::from_le_bytes(std::array::from_fn(|i| entry[8 * n + i]));
        self.begin(number, [field(0), field(1), field(2)], now);
    }
    /// Begins a request, or refuses it.
    fn begin(&mut self, number: u8, [source, destination, length]: [u64; 3], now: GuestTime) {
        if self.requests.contains_key(&number) || length == 0 || length > MAX_BYTES {
            self.registers.status |= 1 << (16 + number);
            self.interrupt(number);
            return;
        }
        let mut bytes = vec![0; length as usize];
        self.memory.dma_read(PhysAddr(source), &mut bytes);
        let request = Request::new(number, PhysAddr(destination), bytes, now);
        request.begin(number, &self.outside);
        self.requests.insert(number, request);
    }
    fn interrupt(&mut self, number: u8) {
        self.msix.raise(usize::from(number) % VECTORS);
        self.drive();
    }
    /// INTA# follows the status while MSI-X is off.
    fn drive(&mut self) {
        let wanted = self.registers.status != 0 && !self.msix.enabled();
        let level = self.config.set_interrupt(wanted);
        self.intx.set(level);
    }

    fn read(&self, register: u64) -> u64 {
        let r = &self.registers;
        match register {
            ID => ID_VALUE,
            SCRATCH => r.scratch,
            SOURCE => r.source,
            DESTINATION => r.destination,
            LENGTH => r.length,
            TABLE => r.table,
            STATUS => r.status.into(),
            COMPLETED => r.completed,
            ORDER => r.order,
            DIRTY => self.take_dirty(),
            _ => 0,
        }
    }
    fn take_dirty(&self) -> u64 {
        let dirty = self.own.vram.as_ref().map(|vram| vram.take_dirty(0..vram.bytes()));
        dirty.unwrap_or_default().iter().map(|range| (range.end - range.start) / PAGE_SIZE).sum()
    }
    /// What of the card's memory is behind a BAR.
    fn memory_behind(&self, bar: u8) -> Option<&MemoryRegion> {
        match bar {
            VRAM_BAR => self.own.vram.as_ref(),
            ROM_BAR => self.own.rom.as_ref(),
            _ => None,
        }
    }
    /// Writes the bits of `mask` of a register.
    fn write(&mut self, register: u64, value: u64, mask: u64, now: GuestTime) {
        let set = |old: &mut u64| *old = *old & !mask | value & mask;
        match register {
            SCRATCH => set(&mut self.registers.scratch),
            SOURCE => set(&mut self.registers.source),
            DESTINATION => set(&mut self.registers.destination),
            LENGTH => set(&mut self.registers.length),
            TABLE => set(&mut self.registers.table),
            STATUS => {
                self.registers.status &= !((value & mask) as u32);
                self.drive();
            }
            DOORBELL if mask & 0xF != 0 => self.begin_by_registers(value as u8 & 0xF, now),
            QUEUE if mask & 0xF != 0 => self.rung(1 << (value & 0xF), now),
            _ => {}
        }
    }
}

impl Doorbells for DemoCard {
    fn rung(&mut self, bells: u64, now: GuestTime) {
        // Only the low four bits of what is written count.
        let bells = (0..4).fold(0, |all, n| all | bells >> (REQUESTS * n)) as u16;
        for number in (0..REQUESTS as u8).filter(|number| bells & 1 << number != 0) {
            self.begin_by_table(number, now);
        }
    }
}

impl Completion for DemoCard {
    fn complete(&mut self, token: u64, result: &[u8], _now: GuestTime) {
        let number = token as u8 & 0xF;
        let Some(request) = self.requests.remove(&number) else { return };
        self.memory.dma_write(request.destination, &result[..result.len().min(request.bytes.len())]);
        let r = &mut self.registers;
        r.completed = r.completed.wrapping_add(1);
        r.order = r.order << 4 | u64::from(number);
        // A worker that died gives no bytes.
        r.status |= if result.len() == request.bytes.len() { 1 << number } else { 1 << (16 + number) };
        self.interrupt(number);
    }
}

impl PciFunction for DemoCard {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
        let moved = self.config.write(offset, width, value);
        self.memory.enable(self.config.command(COMMAND_MASTER));
        self.msix.config_written(&self.config);
        self.drive();
        moved
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        self.config.decoded_regions()
    }
}

impl PciBars for DemoCard {
    fn bar_read(&mut self, bar: u8, offset: u64, width: Width, _now: GuestTime) -> u64 {
        let part = |value: u64| (value >> (8 * (offset & 7))) & width.mask();
        match bar {
            IO_BAR => part(match offset & !7 {
                0 => ID_VALUE,
                8 => self.registers.scratch,
                _ => 0,
            }),
            REGISTER_BAR => part(self.read(offset & !7)),
            MSIX_BAR => self.msix.read(offset, width),
            _ => {
                let mut bytes = [0xFF; 8];
                if let Some(memory) = self.memory_behind(bar) {
                    memory.read(offset, &mut bytes);
                }
                u64::from_le_bytes(bytes) & width.mask()
            }
        }
    }
    fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, now: GuestTime) {
        let shift = 8 * (offset & 7);
        let (value, mask) = (value << shift, width.mask() << shift);
        match bar {
            IO_BAR if offset & !7 == 8 => self.write(SCRATCH, value, mask, now),
            IO_BAR if offset & !7 == 16 => self.write(DOORBELL, value, mask, now),
            REGISTER_BAR => self.write(offset & !7, value, mask, now),
            MSIX_BAR => self.msix.write(offset, width, value >> shift),
            VRAM_BAR => {
                if let Some(vram) = &self.own.vram {
                    vram.write(offset, &(value >> shift).to_le_bytes()[..width.bytes()]);
                }
            }
            _ => {}
        }
    }
}

impl Device for DemoCard {
    fn reset(&mut self, _now: GuestTime) {
        self.config.reset();
        self.msix.reset();
        self.memory.enable(false);
        self.registers = Registers::default();
        self.requests.clear();
        self.drive();
    }
    fn info(&self) -> String {
        let r = &self.registers;
        format!(
            "{} requests under way, {} completed, status {:#x}",
            self.requests.len(),
            r.completed,
            r.status
        )
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn bars(&mut self) -> Option<&mut dyn PciBars> {
        Some(self)
    }
    fn completion(&mut self) -> Option<&mut dyn Completion> {
        Some(self)
    }
    fn doorbells(&mut self) -> Option<&mut dyn Doorbells> {
        Some(self)
    }
}

impl SaveState for DemoCard {
    type State = DemoCardStateV1;
    fn save(&self) -> DemoCardStateV1 {
        let Self { intx: _, memory: _, outside: _, own: _, config, msix, registers, requests } = self;
        DemoCardStateV1 {
            config: config.save(),
            msix: msix.save(),
            registers: registers.clone().into(),
            requests: requests.iter().map(|(number, request)| (*number, request.save())).collect(),
        }
    }
    fn restore(&mut self, state: DemoCardStateV1) -> Result<(), RestoreError> {
        let DemoCardStateV1 { config, msix, registers, requests } = state;
        let registers = Registers::from(registers);
        self.config.check(&config)?;
        self.msix.check(&msix)?;
        let mut restored = BTreeMap::new();
        for (number, request) in requests {
            if usize::from(number) >= REQUESTS {
                let value = number.to_string();
                return Err(RestoreError { part: "demonstration card", field: "request", value });
            }
            restored.insert(number, Request::restored(request)?);
        }
        let (mut new_config, mut new_msix) = (self.config.clone(), self.msix.clone());
        new_config.restore(config)?;
        new_msix.restore(msix, &new_config)?;
        if new_config.interrupt_status() != (registers.status != 0 && !new_msix.enabled()) {
            let value = (registers.status == 0).to_string();
            return Err(RestoreError { part: "demonstration card", field: "interrupt status", value });
        }
        (self.config, self.msix, self.registers) = (new_config, new_msix, registers);
        self.requests = restored;
        self.memory.enable(self.config.command(COMMAND_MASTER));
        self.drive();
        // Workers know nothing of a request that another machine began.
        for (number, request) in &self.requests {
            request.begin(*number, &self.outside);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
