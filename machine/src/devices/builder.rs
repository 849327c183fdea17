//! Putting devices on a board: what a row of [`KINDS`](super::KINDS) may ask for.

use super::{DeviceError, KINDS, Options, kind};
use crate::address_map::{AddressMap, Chip, MemoryTarget, PortTarget};
use crate::board::BoardRefs;
use crate::completions::Completions;
use crate::config::MachineConfig;
use crate::doorbells::{Bell, Doorbells};
use crate::drives::Drives;
use crate::networks::Networks;
use crate::registry::{DeviceId, DeviceRef, Registry};
use crate::serial_line::Unplugged;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, IrqLine, MemoryRegion, MsiSink, PciAddress, PhysAddr, Port, board,
};
use trimotor_devices::debug_port::DebugSink;
use trimotor_devices::dma8237::{Dma8237, DmaChannel};
use trimotor_devices::drive::{Drive, DrivePlace};
use trimotor_devices::interrupts::InterruptFabric;
use trimotor_devices::network::{CableRef, MacAddress, NoCable};
use trimotor_devices::pci::PirqRouter;
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::virtio::rng::Entropy;
use trimotor_devices::{Device, OutsideRef};

/// Bytes of the IOAPIC's page.
const IOAPIC_BYTES: u64 = 4096;
/// The first slot that cards without a place of their own get.
const FIRST_FREE_SLOT: u8 = 3;
/// The Ethernet address of the first card that has none of its own; those of the next ones follow. The host gives each
/// machine others: this is for machines that nobody else is on a network with.
const FIRST_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/// An expansion ROM's base address register counts in so many bytes.
const LEAST_ROM_BYTES: usize = 2048;

/// A board while its devices are added.
pub struct Builder<'a> {
    pub(crate) config: &'a MachineConfig,
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) fabric: Arc<InterruptFabric>,
    pub(crate) pirq: Arc<PirqRouter>,
    pub(crate) requests: MachineRequests,
    pub(crate) completions: Arc<Completions>,
    pub(crate) serial: std::vec::IntoIter<Box<dyn SerialBackend>>,
    /// Cables that are no serial port's, by id, each with its number.
    pub(crate) chardevs: BTreeMap<String, (usize, Box<dyn SerialBackend>)>,
    pub(crate) drives: Drives,
    pub(crate) networks: Networks,
    pub(crate) isa_dma: Vec<DmaChannel>,
    pub(crate) debug_sink: Option<Box<dyn DebugSink>>,
    pub(crate) entropy: Option<Entropy>,
    pub(crate) vga_rom: Vec<u8>,
    pub(crate) firmware_files: Vec<(String, Vec<u8>)>,
    pub(crate) option_roms: BTreeMap<String, Vec<u8>>,
    /// Cards that got an Ethernet address from here.
    pub(crate) default_macs: u8,
    pub(crate) devices: Registry,
    pub(crate) map: AddressMap,
    pub(crate) functions: Vec<(PciAddress, DeviceId)>,
    /// What memory is behind which base address register.
    pub(crate) bar_memory: Vec<(DeviceId, u8, MemoryRegion)>,
    pub(crate) doorbells: Doorbells,
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
        for name in &self.config.without {
            super::removable_kind(name)?;
        }
        let without = &self.config.without;
        for row in KINDS.iter().filter(|row| row.built_in && !without.iter().any(|name| name == row.name)) {
            let plain = super::DeviceConfig::new(row.name);
            let mut given = self.config.devices.iter().filter(|device| device.kind == row.name);
            let options = Options::new(given.next().unwrap_or(&plain));
            (row.add)(self, &options)?;
            if given.next().is_some() {
                return Err(options.refuse("a board has one; give all options at once"));
            }
        }
        for device in &self.config.devices {
            let row = kind(&device.kind)?;
            if !row.built_in {
                (row.add)(self, &Options::new(device))?;
            }
        }
        super::boot_files(self)
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
    /// The cable of this id with its number, for the device that takes it.
    pub(crate) fn take_chardev(&mut self, id: &str) -> Option<(usize, Box<dyn SerialBackend>)> {
        self.chardevs.remove(id)
    }
    /// Where bytes of the debug console go, once.
    pub fn take_debug_sink(&mut self) -> Option<Box<dyn DebugSink>> {
        self.debug_sink.take()
    }

    /// Where random bytes come from: the host, or the configuration's seed.
    pub fn entropy(&self) -> Entropy {
        let seed = self.config.random_seed;
        self.entropy.clone().unwrap_or_else(|| super::virtio::seeded(seed))
    }

    /// All drives, in the order of the configuration.
    pub fn drives(&self) -> impl Iterator<Item = &Drive> + Clone {
        self.drives.all()
    }
    /// The drive at a place, for the controller that is added next: it hears of changes of its medium.
    pub fn take_drive(&mut self, place: DrivePlace) -> Option<Drive> {
        let controller = self.devices.end();
        self.drives.take(controller, |drive| drive.place == place)
    }
    /// The drive of an id, for the controller that is added next, where no other controller has it.
    pub fn take_drive_by_id(&mut self, id: &str) -> Option<Drive> {
        let controller = self.devices.end();
        self.drives.take(controller, |drive| drive.place == DrivePlace::Unattached && drive.id == id)
    }
    /// The cable of the network card that is added next, to the network that its option `netdev` names. Without that option
    /// nothing is at the other end.
    ///
    /// # Errors
    /// There is no such network, or it has a card.
    pub fn network(&mut self, options: &Options<'_>) -> Result<CableRef, DeviceError> {
        let Some(id) = options.text("netdev") else { return Ok(Arc::new(NoCable)) };
        let line = self.networks.connect(id, self.devices.end()).map_err(|reason| options.refuse(&reason))?;
        Ok(Arc::new(line))
    }
    /// The Ethernet address of a card: what its option `mac` says, or one that no other card of this machine has.
    ///
    /// # Errors
    /// No address.
    pub fn mac(&mut self, options: &Options<'_>) -> Result<MacAddress, DeviceError> {
        if let Some(mac) = options.mac()? {
            return Ok(mac);
        }
        let mut mac = FIRST_MAC;
        mac[5] = mac[5].wrapping_add(self.default_macs);
        self.default_macs = self.default_macs.wrapping_add(1);
        Ok(MacAddress(mac))
    }
    /// The expansion ROM that a card's option `romfile` names, if it does. `name` is the device's.
    ///
    /// # Errors
    /// The host did not hand in that file, it is no ROM, or the board has no room for it.
    pub fn option_rom(
        &mut self,
        options: &Options<'_>,
        name: &str,
    ) -> Result<Option<MemoryRegion>, DeviceError> {
        let Some(file) = options.text("romfile").filter(|file| !file.is_empty()) else { return Ok(None) };
        let Some(image) = self.option_roms.get(file).cloned() else {
            return Err(options.refuse(&format!("romfile={file}: the file was not handed in")));
        };
        let bytes = image.len().next_power_of_two().max(LEAST_ROM_BYTES) as u64;
        self.rom(options, format!("{name}.rom"), &image, bytes).map(Some)
    }
    /// The wires of an ISA DMA channel, where the controllers are on the board already.
    pub fn dma_channel(&self, number: u8) -> Option<DmaChannel> {
        self.isa_dma.get(usize::from(number)).cloned()
    }
    /// The ISA DMA controllers, whose channels devices that are added later may have.
    pub(crate) fn set_isa_dma(&mut self, chips: &Dma8237) {
        self.isa_dma = (0..8).map(|number| chips.channel(number)).collect();
    }
    /// Where requests of the device that is added next are carried out.
    pub fn outside(&self) -> OutsideRef {
        self.completions.handle(self.devices.end())
    }

    /// Adds a device. Its registers are placed by the methods below.
    pub fn add<T: Device>(&mut self, name: impl Into<String>, device: T) -> DeviceRef<T> {
        self.devices.add(name, device)
    }
    /// Looks at a device that is on the board already.
    pub fn on_board<T: Device, R>(&self, device: DeviceRef<T>, look: impl FnOnce(&mut T) -> R) -> R {
        self.devices.with(device, look)
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
    /// Places the port of a device that programs call with registers.
    pub fn backdoor(&mut self, device: DeviceId, port: Port) {
        self.map.place_ports(port, 1, PortTarget::Backdoor(device));
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
    /// Memory for a device, of `bytes` bytes: a frame buffer. `name` is the device's, and tells several regions of it apart.
    ///
    /// # Errors
    /// The board has no room for it.
    pub fn device_memory(
        &mut self,
        options: &Options<'_>,
        name: impl Into<String>,
        bytes: u64,
    ) -> Result<MemoryRegion, DeviceError> {
        self.memory.add_device_memory(name, bytes).map_err(|error| options.refuse(&error.to_string()))
    }
    /// An expansion ROM for a device, of `bytes` bytes.
    ///
    /// # Errors
    /// The board has no room for it, or the image is larger.
    pub fn rom(
        &mut self,
        options: &Options<'_>,
        name: impl Into<String>,
        image: &[u8],
        bytes: u64,
    ) -> Result<MemoryRegion, DeviceError> {
        self.memory.add_rom(name, image, bytes).map_err(|error| options.refuse(&error.to_string()))
    }
    /// Puts memory behind a base address register (6: the expansion ROM) of a device: it appears where the guest points
    /// the register, and vCPUs and DMA reach it there without asking the device. The register's size is that of the
    /// memory. Pieces that are no whole pages, because something else is in front, are still the device's to answer.
    pub fn bar_memory(&mut self, device: DeviceId, bar: u8, memory: MemoryRegion) {
        self.bar_memory.push((device, bar, memory));
    }
    /// Makes `bytes` bytes at offset `first` behind a base address register [doorbells](trimotor_devices::Doorbells): where
    /// vCPUs run at the same time, a write of them waits for no lock. Where they run in turn, the device gets the write
    /// as one of a register, and must do the same.
    pub fn doorbells(&mut self, device: DeviceId, bar: u8, first: u64, bytes: u64, bell: Bell) {
        self.doorbells.place(device, bar, first, bytes, bell);
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
