//! The PIIX4's ACPI power-management block.
//!
//! 64 ports from PM base on ([`trimotor_bus::board::PM_BASE`]): PM1 status and enable (power
//! button, timer overflow, ...), PM1 control (SCI_EN, and SLP_TYP with SLP_EN to sleep or power
//! off), the PM timer (3.579545 MHz), and general-purpose event block 0. An event whose enable
//! bit is set drives the SCI while SCI_EN is set. Two more ports, B2h (SMI_CMD) and B3h, are the
//! handshake between an operating system and the firmware's SMM handler: there is none here, so
//! the chip itself sets and clears SCI_EN when ACPI_ENABLE and ACPI_DISABLE are written.
//!
//! Left out: processor power states (P_BLK reads 0), throttling, device monitors, SMBus; the
//! sleep button and RTC wake-up.
//!
//! Source: ACPI 6.4, 4.8 "ACPI Hardware Specification"; 82371AB (PIIX4) data sheet.

mod function;

pub use function::{PowerManagement, PowerManagementStateV1};

use crate::requests::{MachineRequest, MachineRequests};
use serde::{Deserialize, Serialize};
use trimotor_bus::board::{
    ACPI_DISABLE, ACPI_ENABLE, PM_BASE, PM_TIMER_32_BIT, SLP_TYP_S3, SLP_TYP_S5, SMI_COMMAND,
};
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width};

/// The PM timer's clock in hertz.
pub const PM_TIMER_HZ: u64 = 3_579_545;
/// The timer's highest bit: each of its changes sets TMR_STS.
const TIMER_TOP_BIT: u32 = if PM_TIMER_32_BIT { 31 } else { 23 };
const TIMER_MASK: u64 = (1 << (TIMER_TOP_BIT + 1)) - 1;

/// PM1 status and enable: timer carry.
const TMR: u16 = 1 << 0;
/// PM1 status and enable: global lock release.
const GBL: u16 = 1 << 5;
/// PM1 status and enable: power button.
const PWRBTN: u16 = 1 << 8;
/// PM1 status: resumed from sleep.
const WAK: u16 = 1 << 15;
/// PM1 control: events raise the SCI instead of an SMI.
const SCI_EN: u16 = 1 << 0;
/// PM1 control: enter the sleep state (write only).
const SLP_EN: u16 = 1 << 13;
const PM1_STATUS_BITS: u16 = TMR | 1 << 4 | GBL | PWRBTN | 1 << 10 | WAK;
const PM1_ENABLE_BITS: u16 = TMR | GBL | PWRBTN | 1 << 10;
/// SLP_TYP, bus-master reload, SCI_EN.
const PM1_CONTROL_BITS: u16 = 7 << 10 | 1 << 1 | SCI_EN;

/// Everything that the block remembers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AcpiPmStateV1 {
    status: u16,
    enable: u16,
    control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    apm_command: u8,
    apm_status: u8,
    /// The half period of the timer up to which carries have been seen.
    timer_half: u64,
}

/// The ACPI power-management block.
#[derive(Debug)]
pub struct AcpiPm {
    sci: IrqLine,
    requests: MachineRequests,
    state: AcpiPmStateV1,
}

impl AcpiPm {
    /// The block at power-on.
    pub fn new(sci: IrqLine, requests: MachineRequests) -> Self {
        Self { sci, requests, state: AcpiPmStateV1::default() }
    }
    /// Back to power-on.
    pub fn reset(&mut self, now: GuestTime) {
        self.state = AcpiPmStateV1 { timer_half: half(now), ..Default::default() };
        self.drive();
    }
    /// Sets SCI_EN as firmware does that boots an ACPI system directly.
    pub fn set_acpi_mode(&mut self, on: bool) {
        self.state.control = if on { self.state.control | SCI_EN } else { self.state.control & !SCI_EN };
        self.drive();
    }
    /// A person pressed the power button.
    pub fn press_power_button(&mut self) {
        self.state.status |= PWRBTN;
        self.drive();
    }
    /// A general-purpose event (0 to 15) happened.
    pub fn raise_gpe(&mut self, event: u8) {
        self.state.gpe_status |= 1 << (event & 15);
        self.drive();
    }
    fn drive(&self) {
        let s = &self.state;
        let event = s.status & s.enable != 0 || s.gpe_status & s.gpe_enable != 0;
        self.sci.set(event && s.control & SCI_EN != 0);
    }
    fn catch_up(&mut self, now: GuestTime) {
        let half = half(now);
        if half > self.state.timer_half {
            self.state.timer_half = half;
            self.state.status |= TMR;
        }
    }
    /// The 32 bits at a 4-byte aligned offset into the block.
    fn read_dword(&self, offset: u16, now: GuestTime) -> u32 {
        let s = &self.state;
        match offset {
            0 => u32::from(s.enable) << 16 | u32::from(s.status),
            4 => u32::from(s.control),
            8 => (now.ticks(PM_TIMER_HZ) & TIMER_MASK) as u32,
            12 => u32::from(s.gpe_enable) << 16 | u32::from(s.gpe_status),
            _ => 0,
        }
    }
    /// Writes those bits of the 16-bit register at `offset` that `mask` selects.
    fn write_word(&mut self, offset: u16, value: u16, mask: u16) {
        let s = &mut self.state;
        match offset {
            0 => s.status &= !(value & mask & PM1_STATUS_BITS),
            2 => s.enable = (s.enable & !mask | value & mask) & PM1_ENABLE_BITS,
            4 => {
                s.control = (s.control & !mask | value & mask) & PM1_CONTROL_BITS;
                if value & mask & SLP_EN != 0 {
                    self.sleep();
                }
            }
            12 => s.gpe_status &= !(value & mask),
            14 => s.gpe_enable = s.gpe_enable & !mask | value & mask,
            _ => {}
        }
    }
    fn sleep(&mut self) {
        match (self.state.control >> 10 & 7) as u8 {
            SLP_TYP_S5 => self.requests.power_off(),
            SLP_TYP_S3 => self.requests.request(MachineRequest::Suspend),
            _ => {}
        }
    }
    /// The machine resumes from suspend: WAK_STS.
    pub fn wake(&mut self) {
        self.state.status |= WAK;
        self.drive();
    }
    fn write_apm(&mut self, port: Port, value: u8) {
        if port != SMI_COMMAND {
            self.state.apm_status = value;
            return;
        }
        self.state.apm_command = value;
        match value {
            ACPI_ENABLE => self.set_acpi_mode(true),
            ACPI_DISABLE => self.set_acpi_mode(false),
            _ => {}
        }
    }
    /// Whether `port` is of the SMI_CMD pair.
    fn is_apm(port: Port) -> bool {
        port.0 & !1 == SMI_COMMAND.0
    }
}

/// How often the timer's top bit has changed.
fn half(now: GuestTime) -> u64 {
    now.ticks(PM_TIMER_HZ) >> TIMER_TOP_BIT
}

impl PortDevice for AcpiPm {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        if Self::is_apm(port) {
            let (command, status) = (self.state.apm_command, self.state.apm_status);
            let value = if port == SMI_COMMAND {
                u32::from(status) << 8 | u32::from(command)
            } else {
                u32::from(status)
            };
            return value & width.mask() as u32;
        }
        let offset = port.0.wrapping_sub(PM_BASE.0);
        if offset & !3 != 8 {
            self.catch_up(now);
            self.drive();
        }
        let low = self.read_dword(offset & !3, now) >> (8 * (offset & 3));
        low & width.mask() as u32
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        if Self::is_apm(port) {
            self.write_apm(port, value as u8);
            return;
        }
        self.catch_up(now);
        let offset = port.0.wrapping_sub(PM_BASE.0);
        let shift = 8 * (offset & 1);
        let (value, mask) = (u64::from(value) << shift, width.mask() << shift);
        self.write_word(offset & !1, value as u16, mask as u16);
        if mask >> 16 != 0 {
            self.write_word((offset & !1) + 2, (value >> 16) as u16, (mask >> 16) as u16);
        }
        self.drive();
    }
}

impl Timed for AcpiPm {
    fn next_event(&self) -> Option<GuestTime> {
        // A carry that nobody waits for is caught up with at the next read.
        (self.state.enable & TMR != 0 && self.state.status & TMR == 0)
            .then(|| GuestTime::of_tick((self.state.timer_half + 1) << TIMER_TOP_BIT, PM_TIMER_HZ))
    }
    fn advance(&mut self, now: GuestTime) {
        self.catch_up(now);
        self.drive();
    }
}

impl SaveState for AcpiPm {
    type State = AcpiPmStateV1;
    fn save(&self) -> AcpiPmStateV1 {
        let Self { sci: _, requests: _, state } = self;
        state.clone()
    }
    fn restore(&mut self, state: AcpiPmStateV1) -> Result<(), RestoreError> {
        if state.control & !PM1_CONTROL_BITS != 0 {
            let value = format!("{:#x}", state.control);
            return Err(RestoreError { part: "ACPI PM", field: "control", value });
        }
        if state.timer_half >= 1 << 32 {
            let value = state.timer_half.to_string();
            return Err(RestoreError { part: "ACPI PM", field: "timer_half", value });
        }
        for (field, value, possible) in
            [("status", state.status, PM1_STATUS_BITS), ("enable", state.enable, PM1_ENABLE_BITS)]
        {
            if value & !possible != 0 {
                return Err(RestoreError { part: "ACPI PM", field, value: format!("{value:#x}") });
            }
        }
        self.state = state;
        self.drive();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: GuestTime = GuestTime::ZERO;

    fn block() -> (AcpiPm, MachineRequests) {
        let requests = MachineRequests::new();
        (AcpiPm::new(IrqLine::unconnected(), requests.clone()), requests)
    }

    #[test]
    fn s5_powers_off() {
        let (mut pm, requests) = block();
        pm.port_write(Port(0x604), Width::Word, 1 << 13 | 7 << 10, NOW);
        assert_eq!(requests.take(), None, "no such sleep state");
        pm.port_write(Port(0x604), Width::Word, 1 << 13, NOW);
        assert_eq!(requests.take(), Some(MachineRequest::PowerOff));
    }

    #[test]
    fn smi_cmd_switches_acpi_mode() {
        let (mut pm, _) = block();
        pm.port_write(Port(0xB2), Width::Byte, 0xF1, NOW);
        assert_eq!(pm.port_read(Port(0x604), Width::Word, NOW), 1);
        pm.port_write(Port(0xB2), Width::Byte, 0xF0, NOW);
        assert_eq!(pm.port_read(Port(0x604), Width::Word, NOW), 0);
    }

    #[test]
    fn the_timer_runs_at_its_rate_and_carries() {
        let (mut pm, _) = block();
        let second = GuestTime(1_000_000_000);
        assert_eq!(pm.port_read(Port(0x608), Width::Dword, second), 3_579_545);
        assert_eq!(pm.next_event(), None);
        pm.port_write(Port(0x602), Width::Word, 1, second);
        let carry = pm.next_event().unwrap();
        pm.advance(carry);
        assert_eq!(pm.port_read(Port(0x600), Width::Word, carry), 1);
        pm.port_write(Port(0x600), Width::Word, 1, carry);
        assert_eq!(pm.port_read(Port(0x600), Width::Word, carry), 0);
    }

    #[test]
    fn the_power_button_is_an_event() {
        let (mut pm, _) = block();
        pm.port_write(Port(0x600), Width::Dword, 0x0100_0000, NOW);
        pm.press_power_button();
        assert_eq!(pm.port_read(Port(0x600), Width::Dword, NOW), 0x0100_0100);
        assert_eq!(pm.port_read(Port(0x601), Width::Byte, NOW), 1);
        pm.port_write(Port(0x601), Width::Byte, 1, NOW);
        assert_eq!(pm.port_read(Port(0x600), Width::Dword, NOW), 0x0100_0000);
    }

    #[test]
    fn gpe_status_is_write_one_to_clear() {
        let (mut pm, _) = block();
        pm.raise_gpe(3);
        pm.port_write(Port(0x60E), Width::Word, 0xFFFF, NOW);
        assert_eq!(pm.port_read(Port(0x60C), Width::Dword, NOW), 0xFFFF_0008);
        pm.port_write(Port(0x60C), Width::Byte, 8, NOW);
        assert_eq!(pm.port_read(Port(0x60C), Width::Word, NOW), 0);
    }
}
