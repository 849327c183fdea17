//! The board: its devices, and what happens between them and the vCPUs.
//!
//! Everything here takes `&self`, so that vCPUs on threads of their own share a board: each device is behind a lock
//! of its own ([`Registry`]), the interrupt controllers behind theirs, and addresses are looked up without one
//! ([`MapCell`]). The order of locks is device, then wires and interrupt controllers, then timers.

use crate::address_map::{AddressMap, MapCell};
use crate::clock::{GuestClock, TimeSource};
use crate::completions::{Completions, Finished};
use crate::config::{ClockSource, MachineConfig};
use crate::control::MachineControl;
use crate::devices::{Builder, DeviceError};
use crate::machine::HostServices;
use crate::registry::{DeviceId, DeviceRef, Locked, Registry, typed};
use crate::slice_timer::SliceEnd;
use crate::timers::Timers;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::{GuestMemory, GuestTime, PciAddress, PciFunction, Port, RestoreError, VcpuSignals, Width};
use trimotor_devices::acpi_pm::PowerManagement;
use trimotor_devices::i8042::I8042;
use trimotor_devices::interrupts::{FabricDevice, InterruptFabric};
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::pci::{ConfigCycles, ConfigMechanism, PirqRouter, mechanism};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::serial::SerialPort;
use trimotor_devices::vga_text::VgaText;
use trimotor_devices::x87_error::X87Error;
use trimotor_devices::{Device, SavedBytes};

/// No local APIC page.
pub(crate) const NO_PAGE: u64 = u64::MAX;

/// The devices that the board itself talks to, beside register accesses.
#[derive(Default)]
pub struct BoardRefs {
    /// The interrupt controllers.
    pub interrupts: Option<DeviceRef<FabricDevice>>,
    /// Where keys go.
    pub keyboard: Option<DeviceRef<I8042>>,
    /// What has a screen.
    pub display: Option<DeviceRef<VgaText>>,
    /// What has the power button.
    pub power: Option<DeviceRef<PowerManagement>>,
    /// What has the FERR# pin.
    pub x87_error: Option<DeviceRef<X87Error>>,
    /// The serial ports, COM1 first.
    pub serials: Vec<DeviceRef<SerialPort>>,
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
    pub(crate) timers: Timers,
    /// Requests that workers carry out; their next event is behind those of the devices.
    pub(crate) completions: Arc<Completions>,
    pub(crate) map: MapCell,
    /// PCI functions in the order of their addresses.
    functions: Vec<(PciAddress, DeviceId)>,
    mechanism: Mutex<ConfigMechanism>,
    /// The local APIC's page of each vCPU.
    apic_pages: Vec<AtomicU64>,
    /// The state of the sequence behind RDRAND.
    random: AtomicU64,
}

impl Board {
    /// The board at power-on. `signals` has a set of pins for each vCPU.
    ///
    /// `lapic` is what the CPU model says of its local APIC; `control` is woken when requests of devices are done.
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
        ends_slice: Option<SliceEnd>,
    ) -> Result<Self, DeviceError> {
        let HostServices { clock, serial, debug_console, engine: _, output_waits: _ } = services;
        let counted = config.clock == ClockSource::Instructions;
        let completions = Completions::new(counted, control.clone(), ends_slice);
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
            serial: serial.into_iter(),
            debug_sink: debug_console,
            devices: Registry::default(),
            map: AddressMap::default(),
            functions: Vec::new(),
            refs: BoardRefs::default(),
        };
        builder.add_all()?;
        let Builder { memory, fabric, requests, completions, devices, map, functions, refs, .. } = builder;
        let board = Self {
            memory,
            clock: GuestClock::new(clock, config.clock),
            apic_pages: signals.iter().map(|_| AtomicU64::new(NO_PAGE)).collect(),
            signals,
            fabric,
            requests,
            timers: Timers::new(devices.len() + 1),
            completions,
            devices,
            refs,
            map: MapCell::new(map),
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
        }
        for id in self.devices.ids() {
            self.refresh(id, &mut self.devices.lock(id));
        }
    }
    /// Looks where a vCPU's local APIC is.
    pub(crate) fn note_apic_page(&self, cpu: usize) {
        let page = self.fabric.apic_page(cpu).map_or(NO_PAGE, |page| page.0);
        self.apic_pages[cpu].store(page, Ordering::Relaxed);
    }
    /// The page of a vCPU's local APIC, or [`NO_PAGE`].
    #[inline]
    pub(crate) fn apic_page(&self, cpu: usize) -> u64 {
        self.apic_pages[cpu].load(Ordering::Relaxed)
    }

    /// Asks a device that was used for its next event.
    #[inline]
    pub(crate) fn refresh(&self, id: DeviceId, device: &mut Locked<'_>) {
        if self.refs.interrupts.is_some_and(|interrupts| interrupts.id() == id) {
            // vCPUs set their timers without this device's lock: an answer that was asked for here could be older than
            // theirs, and would take its place.
            return self.refresh_apic_timers();
        }
        if let Some(timed) = device.timed() {
            self.timers.set(id, timed.next_event());
        }
        if device.completion().is_some() {
            self.timers.set(self.devices.end(), self.completions.next_due());
        }
    }
    /// Asks the local APIC timers for their next event.
    pub(crate) fn refresh_apic_timers(&self) {
        if let Some(interrupts) = self.refs.interrupts {
            self.fabric.publish_next_event(|event| self.timers.set(interrupts.id(), event));
        }
    }
    /// Delivers results of requests that complete now.
    pub(crate) fn deliver_completions(&self, time: &mut TimeSource<'_>) {
        while let Some(Finished { request: (id, token), result }) = self.completions.take(time.now()) {
            let mut device = self.devices.lock(id);
            let now = time.now();
            if let Some(completion) = device.completion() {
                completion.complete(token, &result, now);
            }
            self.refresh(id, &mut device);
        }
    }
    /// Wakes every device whose event is due.
    pub(crate) fn advance_due(&self, time: &mut TimeSource<'_>) {
        let now = time.latest();
        if self.timers.earliest_ns() > now.ns() {
            return;
        }
        let mut from = 0;
        while let Some(index) = self.timers.first_due(from, now) {
            from = index + 1;
            let Some(id) = self.devices.ids().nth(index) else {
                // Behind the last device: requests that are due.
                self.deliver_completions(time);
                self.timers.set(self.devices.end(), self.completions.next_due());
                return;
            };
            let mut device = self.devices.lock(id);
            // The time after locking: another thread may have used the device a moment ago.
            let now = time.now();
            if let Some(timed) = device.timed() {
                timed.advance(now);
            }
            self.refresh(id, &mut device);
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
    /// Talks to the serial ports' back ends: input, output that waits, modem lines.
    pub(crate) fn poll_serials(&self, time: &mut TimeSource<'_>) {
        for serial in &self.refs.serials {
            self.operate(*serial, time, SerialPort::poll);
        }
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
        self.map.change(|map| map.move_regions(id, &regions));
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
