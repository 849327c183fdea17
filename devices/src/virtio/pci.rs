//! Virtio over PCI (virtio 1.2, 4.1): the function that drivers find on the bus.

use super::device::VirtioDevice;
use super::io::Io;
use super::registers::{MODERN_DEVICE, VENDOR, capability, feature, legacy, modern};
use super::transport::{Interfaces, Transport, TransportStateV1};
use crate::device::{Completion, Device, Doorbells};
use crate::network::NetworkCard;
use crate::pci::config_space::{COMMAND_MASTER, ROM_SLOT};
use crate::pci::{Bar, ConfigSpace, ConfigSpaceStateV1, Identity, Msix, MsixStateV1, msix};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{
    BusMaster, GuestTime, IrqLine, MemoryRegion, MsiSink, PciBars, PciFunction, RestoreError, SaveState,
    Timed, Width,
};
use trimotor_net::Frame;

/// Which base address register has the legacy registers.
pub const LEGACY_BAR: u8 = 0;
/// Which one has MSI-X.
pub const MSIX_BAR: u8 = 1;
/// Which one has the structures of virtio 1.
pub const MODERN_BAR: u8 = 4;

/// The number of the expansion ROM's.
const ROM_BAR: u8 = ROM_SLOT as u8;

/// Wires and choices of a virtio card.
pub struct Card {
    /// Its interrupt pin.
    pub intx: IrqLine,
    /// Where its messages go.
    pub msi: Arc<dyn MsiSink>,
    /// Its way to guest memory.
    pub memory: BusMaster,
    /// For which drivers it is. A device without a transitional ID is for those of virtio 1 only.
    pub interfaces: Interfaces,
    /// Whether packed rings are offered.
    pub packed: bool,
    /// MSI-X vectors; 0: none.
    pub vectors: u16,
    /// Its expansion ROM, which vCPUs reach without it.
    pub rom: Option<MemoryRegion>,
    /// Its name in messages.
    pub name: String,
}

/// A virtio device as a PCI function.
pub struct VirtioPci<D> {
    intx: IrqLine,
    rom: Option<MemoryRegion>,
    pub(super) config: ConfigSpace,
    pub(super) msix: Option<Msix>,
    vectors: u16,
    /// Where the capability for access through configuration space is.
    window: Option<u8>,
    pub(super) transport: Transport,
    pub(super) device: D,
}

/// The saved state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VirtioPciStateV1<S> {
    config: ConfigSpaceStateV1,
    msix: Option<MsixStateV1>,
    transport: TransportStateV1,
    device: S,
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// A card with this device.
    pub fn new(card: Card, device: D) -> Self {
        let Card { intx, msi, memory, mut interfaces, packed, vectors, rom, name } = card;
        let kind = device.kind();
        interfaces.legacy &= kind.transitional.is_some();
        let mut config = ConfigSpace::new(identity(&device, interfaces));
        if interfaces.legacy {
            config.add_bar(LEGACY_BAR.into(), Bar::Io { size: legacy::BYTES });
        }
        if let Some(rom) = &rom {
            config.add_bar(ROM_SLOT, Bar::Rom { size: rom.bytes() as u32 });
        }
        let vectors = vectors.min(msix::MAX_VECTORS as u16);
        let msix = (vectors > 0).then(|| {
            config.add_bar(MSIX_BAR.into(), Bar::Memory32 { size: msix::BAR_BYTES, prefetchable: false });
            Msix::new(&mut config, MSIX_BAR, vectors.into(), msi)
        });
        let window = interfaces.modern.then(|| add_capabilities(&mut config));
        let mut offered = device.features() | feature::INDIRECT_DESC | feature::EVENT_IDX;
        if interfaces.legacy {
            offered |= feature::ANY_LAYOUT;
        }
        if interfaces.modern {
            offered |= feature::VERSION_1 | feature::RING_RESET;
            offered |= if packed { feature::RING_PACKED } else { 0 };
        }
        let transport = Transport::new(name, memory, offered, interfaces, &device.queue_sizes());
        Self { intx, rom, config, msix, vectors, window, transport, device }
    }
    /// How many queues it has.
    pub fn queues(&self) -> usize {
        self.transport.queues.len()
    }
    /// The device behind the transport, to be looked at.
    pub fn device(&self) -> &D {
        &self.device
    }
    /// The device behind the transport, for what reaches it from outside the guest.
    pub fn with_device<R>(&mut self, now: GuestTime, act: impl FnOnce(&mut D, &mut Io<'_>) -> R) -> R {
        let answer = act(&mut self.device, &mut Io::new(&mut self.transport));
        self.settle(now);
        answer
    }

    pub(super) fn msix_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(Msix::enabled)
    }
    /// A vector as a register keeps it: one that is not there reads as none.
    pub(super) fn vector(&self, value: u64) -> u16 {
        let value = value as u16;
        if value < self.vectors { value } else { super::registers::NO_VECTOR }
    }
    /// Looks at these queues.
    fn look(&mut self, queues: u64, now: GuestTime) {
        for queue in (0..self.queues()).filter(|queue| queues >> queue & 1 != 0) {
            if self.transport.uses(queue) {
                self.device.look(queue, &mut Io::new(&mut self.transport), now);
            }
        }
        self.settle(now);
    }
    /// The driver is ready. There may be buffers that it made available before.
    pub(super) fn begin(&mut self, now: GuestTime) {
        self.device.ready(&mut Io::new(&mut self.transport));
        self.look(u64::MAX, now);
    }
    /// Tells the driver what happened in a call.
    pub(super) fn settle(&mut self, now: GuestTime) {
        self.transport.called_at(now);
        self.tell();
    }
    fn tell(&mut self) {
        let told = self.transport.take_told();
        match &mut self.msix {
            Some(msix) if msix.enabled() => {
                let queues = self.transport.queues.iter().enumerate();
                for (_, queue) in queues.filter(|(number, _)| told.queues >> number & 1 != 0) {
                    msix.raise(queue.vector.into());
                }
                if told.config {
                    msix.raise(self.transport.config_vector.into());
                }
            }
            _ => self.transport.set_isr(&told),
        }
        self.drive();
    }
    /// INTA# follows the ISR while MSI-X is off.
    fn drive(&mut self) {
        let wanted = self.transport.isr != 0 && !self.msix_enabled();
        let level = self.config.set_interrupt(wanted);
        self.intx.set(level);
    }
    pub(super) fn take_isr(&mut self) -> u8 {
        let isr = std::mem::take(&mut self.transport.isr);
        self.drive();
        isr
    }
    /// The driver resets the device.
    pub(super) fn reset_by_driver(&mut self) {
        self.transport.reset();
        self.device.reset();
        self.drive();
    }
    /// A byte of the device's configuration; behind it zeroes.
    pub(super) fn device_config(&self, offset: u64, width: Width) -> u64 {
        let bytes = self.device.config(self.transport.features);
        let byte = |at: u64| u64::from(bytes.get(at as usize).copied().unwrap_or(0));
        (0..width.bytes() as u64).fold(0, |value, i| value | byte(offset.saturating_add(i)) << (8 * i))
    }
    pub(super) fn write_device_config(&mut self, offset: u64, width: Width, value: u64, now: GuestTime) {
        for i in 0..width.bytes() {
            let mut io = Io::new(&mut self.transport);
            self.device.config_write(offset as usize + i, (value >> (8 * i)) as u8, &mut io, now);
        }
        self.settle(now);
    }

    /// What the window in configuration space points to: BAR, offset and width, if they are good.
    fn window_target(&self, window: u8) -> Option<(u8, u64, Width)> {
        let field = |at: u8| self.config.u32(window + at);
        let width = match field(capability::LENGTH) {
            1 => Width::Byte,
            2 => Width::Word,
            4 => Width::Dword,
            _ => return None,
        };
        let offset = u64::from(field(capability::OFFSET));
        let bar = self.config.read(window + capability::BAR, Width::Byte) as u8;
        offset.is_multiple_of(width.bytes() as u64).then_some((bar, offset, width))
    }
    /// The window, where an access of configuration space touches its data.
    fn touched_window(&self, offset: u8, width: Width) -> Option<u8> {
        let data = usize::from(self.window? + capability::DATA);
        let (first, end) = (usize::from(offset), usize::from(offset) + width.bytes());
        (first < data + 4 && end > data).then_some(self.window?)
    }
}

fn identity(device: &impl VirtioDevice, interfaces: Interfaces) -> Identity {
    let kind = device.kind();
    let transitional = kind.transitional.filter(|_| interfaces.legacy);
    Identity {
        vendor: VENDOR,
        device: transitional.unwrap_or(MODERN_DEVICE + kind.device_type),
        revision: u8::from(transitional.is_none()),
        class: kind.class,
        // A legacy driver finds the type here.
        subsystem: (VENDOR, if transitional.is_some() { kind.device_type } else { 0x1100 }),
        multifunction: false,
        interrupt_pin: 1,
    }
}

/// Adds the capabilities of virtio 1; returns where the one for access through configuration space is.
fn add_capabilities(config: &mut ConfigSpace) -> u8 {
    config.add_bar(MODERN_BAR.into(), Bar::Memory64 { size: modern::BYTES, prefetchable: false });
    let mut add = |kind: u8, bar: u8, offset: u64, length: u64, more: &[u8], writable: bool| {
        let mut body = vec![0; 14];
        body[0] = 16 + more.len() as u8;
        (body[1], body[2]) = (kind, bar);
        body[6..10].copy_from_slice(&(offset as u32).to_le_bytes());
        body[10..14].copy_from_slice(&(length as u32).to_le_bytes());
        body.extend_from_slice(more);
        let mut mask = vec![0; body.len()];
        if writable {
            mask[2] = 0xFF;
            mask[6..14].fill(0xFF);
        }
        config.add_capability(capability::VENDOR_SPECIFIC, &body, &mask)
    };
    let stride = (modern::NOTIFY_STRIDE as u32).to_le_bytes();
    add(capability::COMMON, MODERN_BAR, modern::COMMON, modern::PART, &[], false);
    add(capability::ISR, MODERN_BAR, modern::ISR, modern::PART, &[], false);
    add(capability::DEVICE, MODERN_BAR, modern::DEVICE, modern::PART, &[], false);
    add(capability::NOTIFY, MODERN_BAR, modern::NOTIFY, modern::PART, &stride, false);
    add(capability::PCI, 0, 0, 0, &[0; 4], true)
}

impl<D: VirtioDevice> PciFunction for VirtioPci<D> {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        if let Some(window) = self.touched_window(offset, width)
            && let Some((bar, at, width)) = self.window_target(window)
        {
            let value = self.bar_read(bar, at, width, GuestTime::ZERO) as u32;
            self.config.set(window + capability::DATA, &value.to_le_bytes());
        }
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, now: GuestTime) -> bool {
        if let Some(window) = self.touched_window(offset, width) {
            if let Some((bar, at, width)) = self.window_target(window) {
                self.bar_write(bar, at, width, u64::from(value) & width.mask(), now);
            }
            return false;
        }
        let moved = self.config.write(offset, width, value);
        self.transport.memory.enable(self.config.command(COMMAND_MASTER));
        if let Some(msix) = &mut self.msix {
            msix.config_written(&self.config);
        }
        self.drive();
        moved
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        self.config.decoded_regions()
    }
}

impl<D: VirtioDevice> PciBars for VirtioPci<D> {
    fn bar_read(&mut self, bar: u8, offset: u64, width: Width, _now: GuestTime) -> u64 {
        match (bar, &self.msix) {
            (MSIX_BAR, Some(msix)) => msix.read(offset, width),
            (LEGACY_BAR, _) if self.transport.interfaces.legacy => self.legacy_read(offset, width),
            (MODERN_BAR, _) if self.window.is_some() => self.modern_read(offset, width),
            // Where something else covers a part of a page of it.
            (ROM_BAR, _) => {
                let mut bytes = [0xFF; 8];
                if let Some(rom) = &self.rom {
                    rom.read(offset, &mut bytes);
                }
                u64::from_le_bytes(bytes) & width.mask()
            }
            _ => width.mask(),
        }
    }
    fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, now: GuestTime) {
        let value = value & width.mask();
        match (bar, &mut self.msix) {
            (MSIX_BAR, Some(msix)) => msix.write(offset, width, value),
            (LEGACY_BAR, _) if self.transport.interfaces.legacy => {
                self.legacy_write(offset, width, value, now);
            }
            (MODERN_BAR, _) if self.window.is_some() => self.modern_write(offset, width, value, now),
            _ => {}
        }
    }
}

impl<D: VirtioDevice> Doorbells for VirtioPci<D> {
    fn rung(&mut self, bells: u64, now: GuestTime) {
        self.look(bells, now);
    }
}

impl<D: VirtioDevice> Completion for VirtioPci<D> {
    fn complete(&mut self, token: u64, result: &[u8], now: GuestTime) {
        self.device.complete(token, result, &mut Io::new(&mut self.transport), now);
        self.settle(now);
    }
}

/// For devices that are network cards; of another one the board asks nothing.
impl<D: VirtioDevice> NetworkCard for VirtioPci<D> {
    fn has_room(&mut self) -> bool {
        let io = &mut Io::new(&mut self.transport);
        let has_room = self.device.network().is_some_and(|network| network.has_room(io));
        // A ring may have turned out to be broken.
        self.tell();
        has_room
    }
    fn receive(&mut self, frame: &Frame, now: GuestTime) -> bool {
        let io = &mut Io::new(&mut self.transport);
        let taken = self.device.network().is_some_and(|network| network.receive(frame, io));
        self.settle(now);
        taken
    }
    fn carrier(&mut self, connected: bool, now: GuestTime) {
        let io = &mut Io::new(&mut self.transport);
        if let Some(network) = self.device.network() {
            network.carrier(connected, io);
        }
        self.settle(now);
    }
}

impl<D: VirtioDevice> Timed for VirtioPci<D> {
    fn next_event(&self) -> Option<GuestTime> {
        let own = self.device.next_event();
        [own, self.transport.again_at()].into_iter().flatten().min()
    }
    fn advance(&mut self, now: GuestTime) {
        let again = self.transport.take_again(now);
        if self.device.next_event().is_some_and(|at| at <= now) {
            self.device.advance(&mut Io::new(&mut self.transport), now);
        }
        self.look(again, now);
    }
}

impl<D: VirtioDevice> Device for VirtioPci<D> {
    fn reset(&mut self, _now: GuestTime) {
        self.config.reset();
        if let Some(msix) = &mut self.msix {
            msix.reset();
        }
        self.transport.memory.enable(false);
        self.transport.reset();
        self.device.power_on();
        self.drive();
    }
    fn info(&self) -> String {
        format!("{}: {}", self.transport.status_text(), self.device.info())
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
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
    fn network_card(&mut self) -> Option<&mut dyn NetworkCard> {
        if self.device.network().is_some() { Some(self) } else { None }
    }
}

impl<D: VirtioDevice> SaveState for VirtioPci<D> {
    type State = VirtioPciStateV1<D::State>;
    fn save(&self) -> Self::State {
        let Self { intx: _, rom: _, config, msix, vectors: _, window: _, transport, device } = self;
        VirtioPciStateV1 {
            config: config.save(),
            msix: msix.as_ref().map(Msix::save),
            transport: transport.save(),
            device: device.save(),
        }
    }
    fn restore(&mut self, state: Self::State) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "virtio", field, value });
        let VirtioPciStateV1 { config, msix, transport, device } = state;
        let transport = self.transport.restored(transport)?;
        self.device.check(&device)?;
        let mut new_config = self.config.clone();
        new_config.restore(config)?;
        let new_msix = match (&self.msix, msix) {
            (Some(own), Some(state)) => {
                let mut own = own.clone();
                own.restore(state, &new_config)?;
                Some(own)
            }
            (None, None) => None,
            (_, msix) => return refuse("MSI-X", msix.is_some().to_string()),
        };
        let msix_on = new_msix.as_ref().is_some_and(Msix::enabled);
        if new_config.interrupt_status() != (transport.isr != 0 && !msix_on) {
            return refuse("interrupt status", new_config.interrupt_status().to_string());
        }
        for vector in transport.queues.iter().map(|queue| queue.vector).chain([transport.config_vector]) {
            if self.vector(vector.into()) != vector {
                return refuse("vector", vector.to_string());
            }
        }
        (self.config, self.msix, self.transport) = (new_config, new_msix, transport);
        self.transport.memory.enable(self.config.command(COMMAND_MASTER));
        self.device.restore(device);
        self.drive();
        Ok(())
    }
}
