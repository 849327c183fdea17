//! What a person configures.

use crate::engines::Engine;
use serde::{Deserialize, Serialize};

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
    /// Serial ports, 0 to 4.
    pub serial_ports: u8,
    /// Whether the device that CPU test suites expect is there.
    pub test_device: bool,
    /// The port at which a write ends the program, if any.
    pub debug_exit: Option<u16>,
    /// Whether the engine holds each translation it has kept against a walk of the guest's page tables: slow.
    pub check_tlb: bool,
    /// Whether translations stay until the guest flushes them, where they go with their page-table entry otherwise; uses
    /// of those that it should have flushed are logged.
    pub keep_tlb: bool,
    /// The seed of RDRAND and RDSEED.
    pub random_seed: u64,
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
            serial_ports: 1,
            test_device: false,
            debug_exit: None,
            check_tlb: false,
            keep_tlb: false,
            random_seed: 0,
        }
    }
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
