//! The board: its devices, and what happens between them and the vCPUs.
//!
//! Everything here takes `&self`, so that vCPUs on threads of their own share a board: each device is behind a lock
//! of its own ([`Registry`]), the interrupt controllers behind theirs, and addresses are looked up without one
//! ([`MapCell`]). The order of locks is device, then wires with PIC and IOAPIC, then a local APIC, then timers; that of the
//! memory behind base address registers comes after a device's. A device may write guest memory, and the board change its map,
//! under any of them but those of interrupt controllers and timers: both wait for vCPUs that run guest code, and never for one
//! that waits for a lock here ([`trimotor_bus::peers`]).

use crate::address_map::{AddressMap, MapCell};
use crate::clock::{GuestClock, TimeSource};
use crate::completions::{Completions, Finished};
use crate::config::{ClockSource, MachineConfig};
use crate::control::MachineControl;
use crate::device_memory::DeviceMemory;
use crate::devices::{Builder, DeviceError};
use crate::doorbells::Doorbells;
use crate::drives::Drives;
use crate::events::{Intake, PowerOn};
use crate::machine::HostServices;
use crate::networks::Networks;
use crate::registry::{DeviceId, DeviceRef, Locked, Registry, typed};
use crate::timers::{EventSource, Timers};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::{GuestMemory, GuestTime, PciAddress, PciFunction, Port, RestoreError, VcpuSignals, Width};
use trimotor_devices::acpi_pm::PowerManagement;
use trimotor_devices::fw_cfg::FwCfg;
use trimotor_devices::i8042::I8042;
use trimotor_devices::interrupts::InterruptFabric;
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::pci::{ConfigCycles, ConfigMechanism, PirqRouter, mechanism};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::rtc::Rtc;
use trimotor_devices::serial::SerialPort;
use trimotor_devices::vga::Vga;
use trimotor_devices::virtio::VirtioPci;
use trimotor_devices::virtio::balloon::Balloon;
use trimotor_devices::virtio::console::Console;
use trimotor_devices::vmgenid::VmGenId;
use trimotor_devices::vmmouse::VmMouse;
use trimotor_devices::x87_error::X87Error;
use trimotor_devices::{Device, SavedBytes};

/// No local APIC page.
pub(crate) const NO_PAGE: u64 = u64::MAX;

/// The devices that the board itself talks to, beside register accesses.
#[derive(Default)]
pub struct BoardRefs {
    /// Where keys go.
    pub keyboard: Option<DeviceRef<I8042>>,
    /// What takes positions of the pointer.
    pub vmmouse: Option<DeviceRef<VmMouse>>,
    /// What has a screen.
    pub display: Option<DeviceRef<Vga>>,
    /// What firmware is told of the machine.
    pub fw_cfg: Option<DeviceRef<FwCfg>>,
    /// Drives that are virtio disks, by id, and where their cards are.
    pub virtio_disks: Vec<(String, PciAddress)>,
    /// What has the power button.
    pub power: Option<DeviceRef<PowerManagement>>,
    /// What tells the guest that it is another machine.
    pub vmgenid: Option<DeviceRef<VmGenId>>,
    /// The clock with CMOS memory.
    pub rtc: Option<DeviceRef<Rtc>>,
    /// What has the FERR# pin.
    pub x87_error: Option<DeviceRef<X87Error>>,
    /// The serial ports, COM1 first.
    pub serials: Vec<DeviceRef<SerialPort>>,
    /// Consoles with a cable, by its number behind those of the serial ports.
    pub consoles: Vec<(usize, DeviceRef<VirtioPci<Console>>)>,
    /// The memory balloon.
    pub balloon: Option<DeviceRef<VirtioPci<Balloon>>>,
}

/// All devices of the machine, and what the board itself remembers.
pub struct Board {
    /// Guest memory.
    pub memory: Arc<GuestMemory>,
    /// Guest time.
    pub clock: GuestClock,
    /// The pins of the vCPUs.
    pub signals: Vec<Arc<VcpuSignals>>,
    /// Interrupt controllers.
    pub fabric: Arc<InterruptFabric>,
    /// What devices ask of the machine.
    pub requests: MachineRequests,
    /// The devices.
    pub devices: Registry,
    /// Those that are known by type.
    pub refs: BoardRefs,
    /// The drives.
    pub(crate) drives: Drives,
    /// The networks.
    pub(crate) networks: Networks,
    pub(crate) timers: Timers,
    /// Requests that workers carry out; their next event is behind those of the devices.
    pub(crate) completions: Arc<Completions>,
    pub(crate) map: MapCell,
    pub(crate) doorbells: Doorbells,
    /// Locked while what is shown of it is found and published.
    pub(crate) device_memory: Mutex<DeviceMemory>,
    /// PCI functions in the order of their addresses.
    functions: Vec<(PciAddress, DeviceId)>,
    mechanism: Mutex<ConfigMechanism>,
    /// The local APIC's page of each vCPU.
    pub(crate) apic_pages: Vec<AtomicU64>,
    /// The state of the sequence behind RDRAND.
    random: AtomicU64,
}

impl Board {
    /// The board at power-on. `signals` has a set of pins for each vCPU.
    ///
    /// `lapic` is what the CPU model says of its local APIC; `control` is woken when requests of devices are done, and by
    /// networks. `power_on` is what a log begins with, where the machine replays one.
    ///
    /// # Errors
    /// The configuration has a device that the board cannot have.
    pub(crate) fn new(
        config: &MachineConfig,
        memory: Arc<GuestMemory>,
        signals: Vec<Arc<VcpuSignals>>,
        lapic: LapicModel,
        services: HostServices,
        control: &MachineControl,
        power_on: Option<&PowerOn>,
    ) -> Result<Self, DeviceError> {
        let HostServices {
            clock,
            serial,
            chardevs,
            debug_console,
            vga_rom,
            firmware_files,
            drives,
            networks,
            option_roms,
            entropy,
            engine: _,
            output_waits: _,
            host_state: _,
        } = services;
        let drives = Drives::new(&config.drives, drives)?;
        let waker = control.clone();
        let networks = Networks::new(networks, power_on, Arc::new(move || waker.wake()));
        let counted = config.clock == ClockSource::Instructions;
        let completions = Completions::new(counted, control.clone());
        let requests = MachineRequests::new();
        let fabric = InterruptFabric::new(signals.clone(), lapic);
        let pirq = PirqRouter::new(fabric.holder());
        let mut builder = Builder {
            config,
            memory,
            fabric,
            pirq,
            requests,
            completions,
            chardevs: (serial.len()..).zip(chardevs).map(|(line, (id, end))| (id, (line, end))).collect(),
            serial: serial.into_iter(),
            drives,
            networks,
            isa_dma: Vec::new(),
            debug_sink: debug_console,
            entropy,
            vga_rom,
            firmware_files,
            option_roms,
            default_macs: 0,
            devices: Registry::default(),
            map: AddressMap::default(),
            functions: Vec::new(),
            bar_memory: Vec::new(),
            doorbells: Doorbells::default(),
            refs: BoardRefs::default(),
        };
        builder.add_all()?;
        let Builder {
            memory,
            fabric,
            requests,
            completions,
            devices,
            map,
            functions,
            bar_memory,
            doorbells,
            refs,
            drives,
            networks,
            ..
        } = builder;
        for id in networks.unused() {
            log::warn!("no card is connected to the network {id}; --device e1000,netdev={id} is one");
        }
        let board = Self {
            memory,
            clock: GuestClock::new(clock, config.clock),
            apic_pages: signals.iter().map(|_| AtomicU64::new(NO_PAGE)).collect(),
            timers: Timers::new(devices.len(), signals.len()),
            signals,
            fabric,
            requests,
            completions,
            devices,
            refs,
            drives,
            networks,
            map: MapCell::new(map),
            device_memory: Mutex::new(DeviceMemory { bars: bar_memory, fixed: Vec::new() }),
            doorbells,
            functions,
            mechanism: Mutex::default(),
            random: AtomicU64::new(config.random_seed),
        };
        board.after_change();
        Ok(board)
    }

    /// Hardware reset of all devices. RAM keeps its content, the real-time clock its time.
    pub fn reset(&self) {
        let now = self.clock.now();
        self.completions.forget();
        self.doorbells.take(|_, _| {});
        self.mechanism().reset();
        for id in self.devices.ids() {
            self.devices.lock(id).reset(now);
        }
        _ = self.requests.take();
        self.after_change();
    }
    /// Finds anew all that is derived from the devices' states: decoded regions, APIC pages, events.
    pub(crate) fn after_change(&self) {
        for (_, id) in &self.functions {
            self.move_regions(*id);
        }
        for cpu in 0..self.signals.len() {
            self.note_apic_page(cpu);
            self.refresh_apic_timer(cpu);
        }
        for id in self.devices.ids() {
            self.refresh(id, &mut self.devices.lock(id));
        }
    }
    /// Looks where a vCPU's local APIC is.
    pub(crate) fn note_apic_page(&self, cpu: usize) {
        let page = self.fabric.apic_page(cpu).map_or(NO_PAGE, |page| page.0);
        if self.apic_pages[cpu].swap(page, Ordering::Relaxed) != page {
            self.show_memory();
        }
    }
    /// The page of a vCPU's local APIC, or [`NO_PAGE`].
    #[inline]
    pub(crate) fn apic_page(&self, cpu: usize) -> u64 {
        self.apic_pages[cpu].load(Ordering::Relaxed)
    }

    /// Asks a device that was used for its next event.
    #[inline]
    pub(crate) fn refresh(&self, id: DeviceId, device: &mut Locked<'_>) {
        if let Some(timed) = device.timed() {
            self.timers.set(EventSource::Device(id), timed.next_event());
        }
        // With the host's clock whoever delivers results knows: what another thread found may be old.
        if self.completions.is_counted() && device.completion().is_some() {
            self.timers.set(EventSource::Completions, self.completions.next_due());
        }
        self.show_fixed(id, device);
    }
    /// Asks the local APIC timer of a vCPU for its next event.
    pub(crate) fn refresh_apic_timer(&self, cpu: usize) {
        // Under the local APIC's lock: an answer that was asked for before must not take the place of a later one.
        self.fabric.publish_next_event(cpu, |event| self.timers.set(EventSource::ApicTimer(cpu), event));
    }
    /// Lets time pass for the local APIC timer of a vCPU that the machine's thread waits for.
    fn advance_apic_timer(&self, cpu: usize, now: GuestTime) {
        self.fabric.advance_timer(cpu, now);
        self.refresh_apic_timer(cpu);
    }
    /// Delivers results of requests that complete now.
    pub(crate) fn deliver_completions(&self, time: &mut TimeSource<'_>, intake: &mut Intake) {
        while let Some(Finished { request: (id, token), result }) = self.completions.take(time.now()) {
            let result = intake.completion(self.devices.name(id), token, result, time.latest());
            let mut device = self.devices.lock(id);
            let now = time.now();
            if let Some(completion) = device.completion() {
                completion.complete(token, &result, now);
            }
            self.refresh(id, &mut device);
        }
        self.timers.set(EventSource::Completions, self.completions.next_due());
    }
    /// Tells devices of their doorbells that rang.
    pub(crate) fn answer_doorbells(&self, time: &mut TimeSource<'_>) {
        self.doorbells.take(|id, bells| {
            let mut device = self.devices.lock(id);
            let now = time.now();
            if let Some(doorbells) = device.doorbells() {
                doorbells.rung(bells, now);
            }
            self.refresh(id, &mut device);
        });
    }
    /// Wakes every device whose event is due.
    pub(crate) fn advance_due(&self, time: &mut TimeSource<'_>, intake: &mut Intake) {
        let now = time.latest();
        if self.timers.earliest_ns() > now.ns() {
            return;
        }
        let mut from = 0;
        while let Some((index, source)) = self.timers.first_due(from, now, self.devices.ids()) {
            from = index + 1;
            match source {
                EventSource::Device(id) => {
                    let mut device = self.devices.lock(id);
                    // The time after locking: another thread may have used the device a moment ago.
                    let now = time.now();
                    if let Some(timed) = device.timed() {
                        timed.advance(now);
                    }
                    self.refresh(id, &mut device);
                }
                EventSource::Completions => {
                    self.deliver_completions(time, intake);
                }
                EventSource::ApicTimer(cpu) => self.advance_apic_timer(cpu, time.now()),
            }
        }
    }
    /// Uses a device of a known type, as something outside of the guest does.
    pub(crate) fn operate<T: Device, R>(
        &self,
        device: DeviceRef<T>,
        time: &mut TimeSource<'_>,
        action: impl FnOnce(&mut T, GuestTime) -> R,
    ) -> R {
        let mut locked = self.devices.lock(device.id());
        let now = time.now();
        let answer = action(typed(&mut locked), now);
        self.refresh(device.id(), &mut locked);
        answer
    }
    /// The next number of a seeded sequence (SplitMix64).
    pub(crate) fn next_random(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.random.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// What is saved with the board, beside its devices.
impl Board {
    pub(crate) fn random_state(&self) -> u64 {
        self.random.load(Ordering::Relaxed)
    }
    pub(crate) fn set_random_state(&self, state: u64) {
        self.random.store(state, Ordering::Relaxed);
    }
    pub(crate) fn save_mechanism(&self) -> Result<Vec<u8>, RestoreError> {
        self.mechanism().save_bytes()
    }
    pub(crate) fn restore_mechanism(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.mechanism().restore_bytes(bytes)
    }
}

/// PCI.
impl Board {
    fn mechanism(&self) -> MutexGuard<'_, ConfigMechanism> {
        self.mechanism.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The functions on the bus with their devices, in the order of their addresses.
    pub fn functions(&self) -> &[(PciAddress, DeviceId)] {
        &self.functions
    }
    fn function_at(&self, at: PciAddress) -> Option<DeviceId> {
        self.functions.iter().find(|(address, _)| *address == at).map(|(_, id)| *id)
    }
    /// Reads ports CF8h to CFFh.
    pub(crate) fn pci_read(&self, port: Port, width: Width) -> u32 {
        self.mechanism().port_read(port, width, &mut Functions(self))
    }
    /// Writes ports CF8h to CFFh.
    pub(crate) fn pci_write(&self, port: Port, width: Width, value: u32, now: GuestTime) {
        let moved = self.mechanism().port_write(port, width, value, now, &mut Functions(self));
        if let Some(id) = moved.and_then(|at| self.function_at(at)) {
            self.move_regions(id);
        }
    }
    /// Writes `bytes` bytes of a function's configuration space, as firmware does.
    pub fn config_write(&self, at: PciAddress, offset: u8, bytes: usize, value: u32) {
        let now = self.clock.now();
        let changed =
            Functions(self).function(at, |function| mechanism::write(function, offset, bytes, value, now));
        if let (Some(true), Some(id)) = (changed, self.function_at(at)) {
            self.move_regions(id);
        }
    }
    fn move_regions(&self, id: DeviceId) {
        // Under the device's lock, so that of two changes at once the last one stays.
        let mut device = self.devices.lock(id);
        let Some(function) = device.pci() else { return };
        let regions = function.decoded_regions();
        if self.map.change(|map| map.move_regions(id, &regions)) {
            self.show_memory();
        }
    }
}

/// The board's functions, as the configuration mechanism reaches them.
struct Functions<'a>(&'a Board);
impl ConfigCycles for Functions<'_> {
    fn function<R>(&mut self, at: PciAddress, access: impl FnOnce(&mut dyn PciFunction) -> R) -> Option<R> {
        let mut device = self.0.devices.lock(self.0.function_at(at)?);
        Some(access(device.pci()?))
    }
}
