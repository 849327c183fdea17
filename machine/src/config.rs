//! What a person configures.

use crate::devices::DeviceConfig;
use crate::engines::Engine;
use crate::generation::VMGENID;
use serde::{Deserialize, Serialize};
use trimotor_bus::board;
use trimotor_bus::memory::LOW_RAM_LIMIT;
use trimotor_devices::drive::DriveConfig;
use trimotor_devices::i8042::TimedKey;
use trimotor_firmware::tables::{MemoryMap, Platform};

/// Everything that makes one machine differ from another. What the host provides (clock, serial
/// back ends) is handed in beside it: [`HostServices`](crate::HostServices).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MachineConfig {
    /// RAM in bytes, 1 MiB to 64 GiB, whole pages.
    pub memory_bytes: u64,
    /// vCPUs, 1 to 8.
    pub cpus: u8,
    /// The engine; `None` is the fastest one that can be used.
    pub engine: Option<Engine>,
    /// Where guest time comes from.
    pub clock: ClockSource,
    /// What the real-time clock shows at power-on, in seconds since 1970.
    pub rtc_seconds: i64,
    /// What a reset by the guest does.
    pub on_reset: OnReset,
    /// The devices beside those that every board has.
    pub devices: Vec<DeviceConfig>,
    /// Devices of every board that this one is without: see [`crate::devices::removable_kind`].
    pub without: Vec<String>,
    /// The drives. What is in them is handed in by id: [`HostServices::drives`](crate::HostServices).
    pub drives: Vec<DriveConfig>,
    /// What firmware boots, where no kernel is handed in.
    pub boot: BootConfig,
    /// What a panic that the guest reports through pvpanic does.
    pub on_panic: OnPanic,
    /// Whether the engine holds each translation it has kept against a walk of the guest's page tables: slow.
    pub check_tlb: bool,
    /// Whether translations stay until the guest flushes them, where they go with their page-table entry otherwise; uses
    /// of those that it should have flushed are logged.
    pub keep_tlb: bool,
    /// The seed of RDRAND and RDSEED.
    pub random_seed: u64,
    /// Keys that a script presses, with their instants of guest time, in the order of these.
    pub typing: Vec<TimedKey>,
}

impl Default for MachineConfig {
    /// 256 MiB, one vCPU, guest time from the host, one serial port.
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            cpus: 1,
            engine: None,
            clock: ClockSource::Host,
            rtc_seconds: 0,
            on_reset: OnReset::Reset,
            devices: vec![DeviceConfig::new("isa-serial")],
            without: Vec::new(),
            drives: Vec::new(),
            boot: BootConfig::default(),
            on_panic: OnPanic::Exit,
            check_tlb: false,
            keep_tlb: false,
            random_seed: 0,
            typing: Vec::new(),
        }
    }
}

impl MachineConfig {
    /// How many devices of a kind there are.
    pub fn count(&self, kind: &str) -> usize {
        self.devices.iter().filter(|device| device.kind == kind).count()
    }
    /// What firmware tables say of such a machine.
    pub fn platform(&self) -> Platform {
        let low = self.memory_bytes.min(LOW_RAM_LIMIT);
        Platform {
            memory: MemoryMap::new(low, self.memory_bytes - low),
            vcpus: self.cpus,
            hpet: true,
            serial_ports: u8::try_from(self.count("isa-serial")).unwrap_or(u8::MAX),
            pvpanic: self.count("pvpanic") > 0,
            vmgenid: self.count(VMGENID) > 0,
            pm_base: board::PM_BASE,
        }
    }
}

/// What firmware tries to boot, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BootConfig {
    /// What is tried, in order.
    pub order: Vec<BootDevice>,
    /// What is tried instead at power-on: after a reset `order` counts.
    pub once: Option<Vec<BootDevice>>,
    /// Whether firmware offers a menu.
    pub menu: bool,
    /// How long the menu waits for a key, in milliseconds; firmware chooses unless given.
    pub splash_ms: Option<u32>,
}

impl Default for BootConfig {
    /// Hard disk, then CD-ROM, then floppy; no menu.
    fn default() -> Self {
        let order = vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Floppy];
        Self { order, once: None, menu: false, splash_ms: None }
    }
}

/// A kind of device to boot from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BootDevice {
    /// A floppy disk.
    Floppy,
    /// A hard disk.
    Disk,
    /// A CD-ROM.
    Cdrom,
    /// A network card.
    Network,
}

/// Where guest time comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClockSource {
    /// The host's monotonic clock.
    Host,
    /// A count of instructions: one instruction takes a nanosecond, and time skips to the next
    /// event while all vCPUs halt. Two runs with the same inputs are the same.
    Instructions,
}

/// What a reset by the guest does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OnReset {
    /// The machine starts over.
    Reset,
    /// The run ends with [`ExitReason::Reset`](crate::ExitReason::Reset).
    Exit,
}

/// What a panic that the guest reports does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OnPanic {
    /// Nothing: the guest goes on as it sees fit.
    Ignore,
    /// The machine pauses, so that it can be looked at.
    Pause,
    /// The machine starts over, whatever [`OnReset`] says of resets by the guest.
    Reset,
    /// The run ends with [`ExitReason::Panic`](crate::ExitReason::Panic).
    Exit,
}
