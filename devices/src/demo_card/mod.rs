//! A PCI card to learn from and to test with. It is no card that was ever built.
//!
//! It has one of everything that a card can have: ports behind BAR 0, registers in a 64-bit memory BAR 2, MSI-X behind
//! BAR 4 and INTA# without it, DMA in both directions, and requests that a worker thread carries out, so that they complete
//! out of order.
//!
//! | register | what |
//! |---|---|
//! | 00h ID, 08h scratch | read only; keeps what is written |
//! | 10h source, 18h destination, 20h length | guest-physical addresses, and up to 4096 bytes |
//! | 28h doorbell | a write begins request n (bits 3:0) with the three registers above |
//! | 30h status | bit n: request n is done; bit 16 + n: it was refused. Writing ones clears |
//! | 38h completed, 40h order | counts; which requests completed last |
//!
//! Registers are 64 bits wide; dwords and aligned quadwords reach them. Ports 0 to 7 are the ID, 8 the
//! scratch register's low dword, and 16 the doorbell.
//!
//! A request reads its bytes from the source when the doorbell is written. A worker turns them round (the last byte
//! becomes the first). At completion they go to the destination, bit n of the status is set, and the card interrupts:
//! by vector n modulo 4, or by INTA# for as long as a status bit is set. A request is refused where its number is
//! under way already, or its length is 0 or too large.
//!
//! [`registers`] is the numbers, [`requests`] what is under way, this file the card.

pub mod registers;
pub mod requests;

use crate::device::{Completion, Device, OutsideRef};
use crate::pci::config_space::{COMMAND_MASTER, ROM_SLOT};
use crate::pci::{Bar, ConfigSpace, ConfigSpaceStateV1, Identity, Msix, MsixStateV1, msix};
use registers::*;
use requests::{Request, RequestStateV1};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{
    BusMaster, DmaBus, GuestTime, IrqLine, MsiSink, PciBars, PciFunction, PhysAddr, RestoreError, SaveState,
    Width,
};

/// What the guest can set, but for configuration space and MSI-X.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    scratch: u64,
    source: u64,
    destination: u64,
    length: u64,
    status: u32,
    completed: u64,
    order: u64,
}

/// The card.
pub struct DemoCard {
    intx: IrqLine,
    memory: BusMaster,
    outside: OutsideRef,

    config: ConfigSpace,
    msix: Msix,
    registers: Registers,
    /// By number.
    requests: BTreeMap<u8, Request>,
}

/// The saved state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DemoCardStateV1 {
    config: ConfigSpaceStateV1,
    msix: MsixStateV1,
    registers: Registers,
    requests: BTreeMap<u8, RequestStateV1>,
}

impl DemoCard {
    /// A card that interrupts by `intx` or messages to `msi`, reaches memory by `memory`, and has its requests
    /// carried out `outside`.
    pub fn new(intx: IrqLine, msi: Arc<dyn MsiSink>, memory: BusMaster, outside: OutsideRef) -> Self {
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
        config.add_bar(ROM_SLOT, Bar::Rom { size: 2048 });
        let msix = Msix::new(&mut config, MSIX_BAR, VECTORS, msi);
        Self {
            intx,
            memory,
            outside,
            config,
            msix,
            registers: Registers::default(),
            requests: BTreeMap::new(),
        }
    }

    /// A doorbell: begins a request, or refuses it.
    fn begin(&mut self, number: u8, now: GuestTime) {
        let Registers { source, destination, length, .. } = self.registers;
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
            STATUS => r.status.into(),
            COMPLETED => r.completed,
            ORDER => r.order,
            _ => 0,
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
            STATUS => {
                self.registers.status &= !((value & mask) as u32);
                self.drive();
            }
            DOORBELL if mask & 0xF != 0 => self.begin(value as u8 & 0xF, now),
            _ => {}
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
            _ => ROM[offset as usize % ROM.len()..]
                .iter()
                .take(width.bytes())
                .rev()
                .fold(0, |v, b| v << 8 | u64::from(*b)),
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
            _ => {}
        }
    }
}

/// The expansion ROM: a signature and no code (PCI Local Bus Specification 3.0, section 6.3.1).
const ROM: [u8; 8] = [0x55, 0xAA, 4, 0xCB, 0, 0, 0, 0];

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
}

impl SaveState for DemoCard {
    type State = DemoCardStateV1;
    fn save(&self) -> DemoCardStateV1 {
        let Self { intx: _, memory: _, outside: _, config, msix, registers, requests } = self;
        DemoCardStateV1 {
            config: config.save(),
            msix: msix.save(),
            registers: registers.clone(),
            requests: requests.iter().map(|(number, request)| (*number, request.save())).collect(),
        }
    }
    fn restore(&mut self, state: DemoCardStateV1) -> Result<(), RestoreError> {
        let DemoCardStateV1 { config, msix, registers, requests } = state;
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
