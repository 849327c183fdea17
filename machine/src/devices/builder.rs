//! Putting devices on a board: what a row of [`KINDS`](super::KINDS) may ask for.

use super::{DeviceError, KINDS, Options, kind};
use crate::address_map::{AddressMap, Chip, MemoryTarget, PortTarget};
use crate::board::BoardRefs;
use crate::completions::Completions;
use crate::config::MachineConfig;
use crate::registry::{DeviceId, DeviceRef, Registry};
use std::sync::Arc;
use trimotor_bus::{BusMaster, GuestMemory, IrqLine, MsiSink, PciAddress, PhysAddr, Port, board};
use trimotor_devices::debug_port::DebugSink;
use trimotor_devices::interrupts::InterruptFabric;
use trimotor_devices::pci::PirqRouter;
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::{Device, OutsideRef};

/// Bytes of the IOAPIC's page.
const IOAPIC_BYTES: u64 = 4096;
/// The first slot that cards without a place of their own get.
const FIRST_FREE_SLOT: u8 = 3;

/// A board while its devices are added.
pub struct Builder<'a> {
    pub(crate) config: &'a MachineConfig,
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) fabric: Arc<InterruptFabric>,
    pub(crate) pirq: Arc<PirqRouter>,
    pub(crate) requests: MachineRequests,
    pub(crate) completions: Arc<Completions>,
    pub(crate) serial: std::vec::IntoIter<Box<dyn SerialBackend>>,
    pub(crate) debug_sink: Option<Box<dyn DebugSink>>,
    pub(crate) devices: Registry,
    pub(crate) map: AddressMap,
    pub(crate) functions: Vec<(PciAddress, DeviceId)>,
    pub(crate) refs: BoardRefs,
}

/// The wires of a PCI card.
pub struct CardWires {
    /// Where the card is.
    pub address: PciAddress,
    /// Its interrupt pin.
    pub intx: IrqLine,
    /// Where its interrupt messages go.
    pub msi: Arc<dyn MsiSink>,
    /// Its way to guest memory.
    pub memory: BusMaster,
    /// Where its requests are carried out. It belongs to the device that is added next.
    pub outside: OutsideRef,
}

impl Builder<'_> {
    /// Adds all devices of the configuration.
    pub(crate) fn add_all(&mut self) -> Result<(), DeviceError> {
        for row in KINDS.iter().filter(|row| row.built_in) {
            let config = super::DeviceConfig::new(row.name);
            (row.add)(self, &Options::new(&config))?;
        }
        for device in &self.config.devices {
            (kind(&device.kind)?.add)(self, &Options::new(device))?;
        }
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &MachineConfig {
        self.config
    }
    /// Guest memory.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }
    /// The interrupt controllers.
    pub fn fabric(&self) -> &Arc<InterruptFabric> {
        &self.fabric
    }
    /// The router of PCI interrupts.
    pub fn pirq(&self) -> &Arc<PirqRouter> {
        &self.pirq
    }
    /// What devices ask of the machine.
    pub fn requests(&self) -> &MachineRequests {
        &self.requests
    }
    /// A wire to an interrupt input, of the device's own: an input is high while any of its wires is.
    pub fn line(&self, irq: u8) -> IrqLine {
        self.fabric.line(irq)
    }
    /// The back end of the next serial port; a port that has none is unplugged.
    pub fn take_serial_backend(&mut self) -> Box<dyn SerialBackend> {
        self.serial.next().unwrap_or_else(|| Box::new(Unplugged))
    }
    /// Where bytes of the debug console go, once.
    pub fn take_debug_sink(&mut self) -> Option<Box<dyn DebugSink>> {
        self.debug_sink.take()
    }

    /// Adds a device. Its registers are placed by the methods below.
    pub fn add<T: Device>(&mut self, name: impl Into<String>, device: T) -> DeviceRef<T> {
        self.devices.add(name, device)
    }
    /// Devices that the board itself talks to.
    pub(crate) fn board_refs(&mut self) -> &mut BoardRefs {
        &mut self.refs
    }
    /// Places ports of a device whose answers depend on the time.
    pub fn timed_ports(&mut self, device: DeviceId, first: Port, count: u16) {
        self.map.place_ports(first, count, PortTarget::Device(Chip { device, timed: true }));
    }
    /// Places ports of a device for which time does not matter.
    pub fn plain_ports(&mut self, device: DeviceId, first: Port, count: u16) {
        self.map.place_ports(first, count, PortTarget::Device(Chip { device, timed: false }));
    }
    /// Whether no device has a port yet.
    pub fn is_free(&self, port: Port) -> bool {
        self.map.port(port) == PortTarget::Nobody
    }
    /// Places memory of a device whose answers depend on the time.
    pub fn timed_memory(&mut self, device: DeviceId, base: PhysAddr, bytes: u64) {
        self.map.place_memory(base, bytes, MemoryTarget::Device(Chip { device, timed: true }));
    }
    /// Places memory of a device for which time does not matter.
    pub fn plain_memory(&mut self, device: DeviceId, base: PhysAddr, bytes: u64) {
        self.map.place_memory(base, bytes, MemoryTarget::Device(Chip { device, timed: false }));
    }
    /// Makes a device the PCI function at `address`.
    ///
    /// # Errors
    /// Another function is there.
    pub fn function(&mut self, device: DeviceId, address: PciAddress) -> Result<(), DeviceError> {
        if let Some((_, other)) = self.functions.iter().find(|(at, _)| *at == address) {
            let reason =
                format!("{} is at {address} already; choose another addr=", self.devices.name(*other));
            return Err(DeviceError::Refused { device: self.devices.name(device).to_owned(), reason });
        }
        self.functions.push((address, device));
        self.functions.sort_unstable_by_key(|(at, _)| *at);
        Ok(())
    }
    /// A place and the wires for a PCI card: where its options say, or in the next free slot.
    ///
    /// # Errors
    /// No such place, or no free slot.
    pub fn card(&mut self, options: &Options<'_>) -> Result<CardWires, DeviceError> {
        let taken = |slot: u8| self.functions.iter().any(|(at, _)| at.device == slot);
        let free = || (FIRST_FREE_SLOT..32).find(|slot| !taken(*slot)).map(|slot| PciAddress::new(slot, 0));
        let place = options.pci_address()?.or_else(free);
        let Some(address) = place else { return Err(options.refuse("all 32 slots of PCI bus 0 are taken")) };
        Ok(CardWires {
            address,
            intx: self.pirq.wire(address.device, address.function % 4 + 1),
            msi: self.fabric.clone(),
            memory: BusMaster::new(self.memory.clone()),
            outside: self.completions.handle(self.devices.end()),
        })
    }

    /// Routes the PIC's ports past the registry: it is asked at each interrupt, and has a lock of its own.
    pub(crate) fn route_pic(&mut self) {
        for pic in [board::PIC_MASTER, board::PIC_SLAVE, board::ELCR] {
            self.map.place_ports(pic, 2, PortTarget::Pic);
        }
    }
    /// Routes the IOAPIC's page past the registry.
    pub(crate) fn route_ioapic(&mut self) {
        self.map.place_memory(board::IOAPIC, IOAPIC_BYTES, MemoryTarget::IoApic);
    }
    /// Routes the ports of PCI configuration mechanism 1 to the board, which knows the functions.
    pub(crate) fn route_pci_config(&mut self) {
        // CF9h, amid the address register, is reset control: the address register takes dwords only.
        for (first, count) in [(board::PCI_CONFIG_ADDRESS.0, 1), (0xCFA, 2), (board::PCI_CONFIG_DATA.0, 4)] {
            self.map.place_ports(Port(first), count, PortTarget::PciConfig);
        }
    }
}

/// A serial port with no cable.
struct Unplugged;
impl SerialBackend for Unplugged {
    fn write(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }
    fn connected(&self) -> bool {
        false
    }
}
