//! The chips and their wires.

use crate::alarms::{Alarm, Alarms};
use crate::clock::GuestClock;
use crate::config::MachineConfig;
use crate::machine::HostServices;
use crate::ports::PortMap;
use std::sync::Arc;
use trimotor_bus::{GuestMemory, GuestTime, PhysAddr, Port, Timed, VcpuSignals, board};
use trimotor_devices::acpi_pm::AcpiPm;
use trimotor_devices::debug_exit::DebugExit;
use trimotor_devices::debug_port::DebugPort;
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::fw_cfg::FwCfg;
use trimotor_devices::hpet::Hpet;
use trimotor_devices::i8042::I8042;
use trimotor_devices::interrupts::{InterruptFabric, lines};
use trimotor_devices::pci::{PciBus, Piix4Pm, PirqRouter};
use trimotor_devices::pit::Pit;
use trimotor_devices::post_port::PostPort;
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::reset_control::ResetControl;
use trimotor_devices::rtc::{CmosSizes, Rtc};
use trimotor_devices::serial::{LineSpeed, SerialBackend, SerialPort};
use trimotor_devices::test_device::{PageFlush, TestDevice};
use trimotor_devices::vga_text::VgaText;
use trimotor_devices::x87_error::{COPROCESSOR_IRQ, X87Error};

/// No local APIC page.
pub(crate) const NO_PAGE: u64 = u64::MAX;

/// All chips of the machine, and what the board itself remembers.
pub struct Board {
    /// Guest memory.
    pub memory: Arc<GuestMemory>,
    /// Guest time.
    pub clock: GuestClock,
    /// The pins of the vCPUs.
    pub signals: Vec<Arc<VcpuSignals>>,
    /// Interrupt controllers.
    pub fabric: Arc<InterruptFabric>,
    /// PCI bus 0 with the chipset.
    pub pci: PciBus,
    /// The wires of PCI interrupts, for cards.
    pub pirq: Arc<PirqRouter>,
    /// PIT and port 61h.
    pub pit: Pit,
    /// Real-time clock and CMOS memory.
    pub rtc: Rtc,
    /// HPET.
    pub hpet: Hpet,
    /// ACPI power management.
    pub acpi_pm: AcpiPm,
    /// Keyboard controller.
    pub i8042: I8042,
    /// Serial ports.
    pub serials: Vec<SerialPort>,
    /// Text display.
    pub vga: VgaText,
    /// Port 80h.
    pub post: PostPort,
    /// The coprocessor error.
    pub x87_error: X87Error,
    /// DMA controllers.
    pub dma: Dma8237,
    /// CF9h and port 92h.
    pub reset_control: ResetControl,
    /// fw_cfg.
    pub fw_cfg: FwCfg,
    /// The debug console, if there is one.
    pub debug_port: Option<DebugPort>,
    /// isa-debug-exit, if it is there.
    pub debug_exit: Option<DebugExit>,
    /// The test device, if it is there.
    pub test_device: Option<TestDevice>,
    /// What chips ask of the machine.
    pub requests: MachineRequests,
    pub(crate) ports: PortMap,
    pub(crate) alarms: Alarms,
    /// When the running slice is expected to end; an alarm before it shortens the slice.
    pub(crate) slice_end_ns: u64,
    /// The local APIC's page of each vCPU.
    pub(crate) apic_pages: Vec<u64>,
    random: u64,
}

impl Board {
    /// The board at power-on. `signals` has a set of pins for each vCPU.
    ///
    /// `tsc_hz` is the frequency that the CPU model states.
    pub fn new(
        config: &MachineConfig,
        memory: Arc<GuestMemory>,
        signals: Vec<Arc<VcpuSignals>>,
        tsc_hz: u64,
        services: HostServices,
    ) -> Self {
        let HostServices { clock, serial, debug_console, engine: _, output_waits: _ } = services;
        let requests = MachineRequests::new();
        let fabric = InterruptFabric::new(signals.clone(), tsc_hz);
        let pirq = PirqRouter::new(fabric.clone());
        let sizes = CmosSizes {
            low_ram_bytes: memory.low_ram_bytes(),
            high_ram_bytes: memory.high_ram_bytes(),
            cpus: config.cpus,
        };
        let line = |number| fabric.line(number);
        let mut ports = PortMap::new();
        let mut backends = serial.into_iter();
        let serials: Vec<_> = (0..usize::from(config.serial_ports).min(board::SERIAL.len()))
            .map(|index| {
                ports.place_serial(index);
                let backend = backends.next().unwrap_or_else(|| Box::new(Unplugged));
                let irq = line(board::SERIAL_IRQS[index]);
                SerialPort::new(board::SERIAL[index], irq, LineSpeed::Unlimited, backend)
            })
            .collect();
        let test_device = config.test_device.then(|| {
            ports.place_test_device();
            TestDevice::new(fabric.clone(), Box::new(ForgetPage(memory.clone())))
        });
        let debug_exit = config.debug_exit.map(|port| {
            ports.place(Port(port), 1, crate::ports::PortOwner::DebugExit);
            DebugExit::new(Port(port), requests.clone())
        });
        let mut board = Self {
            pci: PciBus::new(memory.clone(), pirq.clone(), Piix4Pm::default()),
            pit: Pit::new(line(board::PIT_IRQ)),
            rtc: Rtc::new(line(board::RTC_IRQ), line(lines::NMI_MASK), config.rtc_seconds, sizes),
            hpet: Hpet::new(&fabric),
            acpi_pm: AcpiPm::new(line(board::SCI_IRQ), requests.clone()),
            i8042: I8042::new(line(board::KEYBOARD_IRQ), line(board::MOUSE_IRQ), requests.clone()),
            vga: VgaText::new(),
            post: PostPort::new(),
            x87_error: X87Error::new(fabric.line(COPROCESSOR_IRQ)),
            dma: Dma8237::new(),
            reset_control: ResetControl::new(requests.clone()),
            fw_cfg: fw_cfg(&memory, config.cpus),
            debug_port: debug_console.map(DebugPort::new),
            clock: GuestClock::new(clock, config.clock),
            apic_pages: vec![NO_PAGE; signals.len()],
            alarms: Alarms::default(),
            slice_end_ns: u64::MAX,
            random: config.random_seed,
            memory,
            signals,
            fabric,
            pirq,
            serials,
            debug_exit,
            test_device,
            requests,
            ports,
        };
        board.after_reset();
        board
    }

    /// Hardware reset of all chips. RAM keeps its content, the real-time clock its time.
    pub fn reset(&mut self) {
        let now = self.clock.now();
        self.fabric.reset();
        self.pci.reset();
        self.pit.reset(now);
        self.rtc.reset();
        self.hpet.reset();
        self.acpi_pm.reset(now);
        self.i8042.reset();
        self.serials.iter_mut().for_each(SerialPort::reset);
        self.vga.reset();
        self.dma.reset();
        self.x87_error.reset();
        self.reset_control.reset();
        self.fw_cfg.reset();
        _ = self.requests.take();
        self.after_reset();
    }
    fn after_reset(&mut self) {
        self.ports.move_pm(self.pci.pm_base());
        for cpu in 0..self.signals.len() {
            self.note_apic_page(cpu);
        }
        self.refresh_alarms();
    }
    /// Looks where a vCPU's local APIC is.
    pub(crate) fn note_apic_page(&mut self, cpu: usize) {
        self.apic_pages[cpu] = self.fabric.apic_page(cpu).map_or(NO_PAGE, |page| page.0);
    }

    /// Asks every chip for its next event.
    pub fn refresh_alarms(&mut self) {
        for alarm in Alarm::ALL {
            self.refresh(alarm);
        }
    }
    /// Asks one chip for its next event.
    #[inline]
    pub(crate) fn refresh(&mut self, alarm: Alarm) {
        let event = match alarm {
            Alarm::Apic => self.fabric.next_event(),
            Alarm::Pit => self.pit.next_event(),
            Alarm::Rtc => self.rtc.next_event(),
            Alarm::Hpet => self.hpet.next_event(),
            Alarm::AcpiPm => self.acpi_pm.next_event(),
            Alarm::I8042 => self.i8042.next_event(),
            Alarm::Serial0 | Alarm::Serial1 | Alarm::Serial2 | Alarm::Serial3 => {
                self.serials.get(alarm as usize - Alarm::Serial0 as usize).and_then(Timed::next_event)
            }
        };
        self.alarms.set(alarm, event);
    }
    /// Wakes every chip whose event is due.
    pub(crate) fn advance_due(&mut self, now: GuestTime) {
        if self.alarms.earliest_ns() > now.ns() {
            return;
        }
        for alarm in Alarm::ALL {
            if self.alarms.is_due(alarm, now) {
                self.advance(alarm, now);
                self.refresh(alarm);
            }
        }
    }
    fn advance(&mut self, alarm: Alarm, now: GuestTime) {
        match alarm {
            Alarm::Apic => self.fabric.advance(now),
            Alarm::Pit => self.pit.advance(now),
            Alarm::Rtc => self.rtc.advance(now),
            Alarm::Hpet => self.hpet.advance(now),
            Alarm::AcpiPm => self.acpi_pm.advance(now),
            Alarm::I8042 => self.i8042.advance(now),
            Alarm::Serial0 | Alarm::Serial1 | Alarm::Serial2 | Alarm::Serial3 => {
                if let Some(port) = self.serials.get_mut(alarm as usize - Alarm::Serial0 as usize) {
                    port.advance(now);
                }
            }
        }
    }
    /// Talks to the serial ports' back ends: input, output that waits, modem lines.
    pub(crate) fn poll_serials(&mut self, now: GuestTime) {
        for index in 0..self.serials.len() {
            self.serials[index].poll(now);
            self.refresh(Alarm::serial(index));
        }
    }
    /// The next number of a seeded sequence (SplitMix64).
    pub(crate) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// fw_cfg with the sizes that firmware looks for.
fn fw_cfg(memory: &Arc<GuestMemory>, cpus: u8) -> FwCfg {
    const RAM_SIZE: u16 = 0x03;
    const CPUS: u16 = 0x05;
    const MAX_CPUS: u16 = 0x0F;
    let mut device = FwCfg::new(memory.clone());
    let items = [
        (RAM_SIZE, memory.ram_bytes().to_le_bytes().to_vec()),
        (CPUS, u16::from(cpus).to_le_bytes().to_vec()),
        (MAX_CPUS, u16::from(cpus).to_le_bytes().to_vec()),
    ];
    for (key, bytes) in items {
        if let Err(error) = device.add_item(key, bytes) {
            unreachable!("each key is added once: {error}");
        }
    }
    device
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

/// Makes engines forget a page, by noting a write to all of it.
struct ForgetPage(Arc<GuestMemory>);
impl PageFlush for ForgetPage {
    fn flush_page(&mut self, addr: PhysAddr) {
        self.0.note_write(addr.page(), trimotor_bus::address::PAGE_SIZE);
    }
}
