//! Serial ports: the 16550A UART, COM1 to COM4.
//!
//! The chip has eight byte registers at its base port. Offset 0 is the receiver buffer when
//! read and the transmitter holding register when written; with bit 7 of the line control
//! register (DLAB) offsets 0 and 1 are the divisor instead. A driver sets divisor and frame,
//! turns the FIFOs on (offset 2), enables interrupts (offset 1) and, where there is the gate
//! of the PC, opens it with OUT2 (offset 4). When the interrupt comes it reads IIR (offset 2) until that says
//! "none": line errors first, then received data, a time-out for bytes below the trigger
//! level, an empty transmitter, and changes of the modem lines.
//!
//! [`uart`] is the chip, [`registers`] its bits, this file the glue to ports, wire and
//! [`SerialBackend`]. Back ends that talk to the host are given from outside; [`TestCable`] is one for tests.
//!
//! Time: by default a byte leaves at once ([`LineSpeed::Unlimited`]), since nobody wants a
//! console at 11 kB/s. The interrupt wire still drops between two "transmitter empty"
//! interrupts, and input still comes in bursts of a FIFO with a character's pause between
//! them, so that edge-triggered controllers see every request.
//!
//! OUT2: the 16550's interrupt pin does not depend on it. IBM's adapter, and many a Super I/O chip after it, has
//! a gate behind the pin that OUT2 opens; other ports have none, and so have virtual machines. A driver written
//! for the gate sets OUT2 and works without one too; one written on a machine without it (teaching kernels
//! that leave the modem control register 0) stays deaf with one. So there is no gate here, unless a port is made with it
//! ([`SerialPort::gated_by_out2`]). Ports that share a wire do not need it: the wire is a wired-or.
//!
//! Left out: the RXRDY and TXRDY pins (a PC does not connect them), automatic flow control
//! (a 16750 has it), and parity and framing errors of bytes from back ends (a back end
//! delivers bytes, not bits).

pub mod registers;
mod test_cable;
pub mod uart;

#[cfg(test)]
mod tests;

pub use registers::{InterruptCause, ModemControl, ModemStatus};
pub use test_cable::TestCable;
pub use uart::{InterruptGate, LineSpeed, Uart, UartStateV1};

use crate::device::Device;
use crate::isa_cycles;
use registers::FIFO_BYTES;
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width};

/// Ports that a UART answers.
pub const SERIAL_PORTS: u16 = 8;
/// After this time a byte that the back end refused is offered again, in nanoseconds.
const RETRY_NS: u64 = 1_000_000;

/// What is at the other end of the cable. No method waits.
pub trait SerialBackend: Send {
    /// Takes bytes from the guest; returns how many of them, from the first. May keep them
    /// in a buffer until [`flush`](Self::flush). The chip offers the rest again later.
    fn write(&mut self, bytes: &[u8]) -> usize;
    /// Sends on what `write` buffered.
    fn flush(&mut self);
    /// Hands out bytes for the guest, at most as many as fit; returns how many. What is not
    /// taken stays at the back end: this is the back-pressure.
    fn read(&mut self, into: &mut [u8]) -> usize;
    /// Whether someone is at the other end: CTS, DSR and DCD follow it.
    fn connected(&self) -> bool;
}

/// A serial port on the board.
pub struct SerialPort {
    irq: IrqLine,
    backend: Box<dyn SerialBackend>,
    base: Port,
    uart: Uart,
    /// The back end may have more bytes than the receiver had room for.
    input_waits: bool,
    retry_at: Option<GuestTime>,
    /// The level that the wire has: a wire costs a lock, and most accesses change nothing.
    driven: bool,
}

impl SerialPort {
    /// A UART at `base` whose interrupt is `irq`, connected to `backend`.
    pub fn new(base: Port, irq: IrqLine, speed: LineSpeed, backend: Box<dyn SerialBackend>) -> Self {
        let mut port = Self {
            irq,
            backend,
            base,
            uart: Uart::new(speed),
            input_waits: false,
            retry_at: None,
            driven: false,
        };
        port.uart.set_modem_inputs(port.modem_inputs());
        port.uart.reset();
        port
    }

    /// With the gate of IBM's adapter behind the interrupt pin, which OUT2 opens.
    pub fn gated_by_out2(mut self) -> Self {
        self.uart.set_gate(InterruptGate::Out2);
        self
    }

    /// Hardware reset.
    pub fn reset(&mut self) {
        self.uart.reset();
        self.driven = false;
        self.irq.set(false);
    }

    /// Talks to the back end: takes input that fits, offers output again, flushes, looks at
    /// the modem lines. The board calls it at the end of a slice and when the back end says
    /// that input has come.
    pub fn poll(&mut self, now: GuestTime) {
        self.uart.set_modem_inputs(self.modem_inputs());
        self.input_waits = true;
        self.advance(now);
        self.backend.flush();
    }

    /// The other end sends a break.
    pub fn receive_break(&mut self, now: GuestTime) {
        self.uart.receive_break(now);
        self.advance(now);
    }

    /// Replaces what is at the other end of the cable; returns the old one.
    pub fn replace_backend(&mut self, backend: Box<dyn SerialBackend>) -> Box<dyn SerialBackend> {
        std::mem::replace(&mut self.backend, backend)
    }

    fn modem_inputs(&self) -> ModemStatus {
        if self.backend.connected() {
            ModemStatus::CTS | ModemStatus::DSR | ModemStatus::DCD
        } else {
            ModemStatus::empty()
        }
    }

    fn transmit(&mut self, now: GuestTime) {
        let backend = &mut self.backend;
        self.uart.transmit(now, |byte| backend.write(&[byte]) == 1);
        self.retry_at = self.uart.transmit_blocked(now).then(|| now + RETRY_NS);
    }

    fn receive(&mut self, now: GuestTime) {
        let room = self.uart.receiver_room(now).min(FIFO_BYTES);
        if !self.input_waits || room == 0 {
            return;
        }
        let mut bytes = [0; FIFO_BYTES];
        let got = self.backend.read(&mut bytes[..room]).min(room);
        self.uart.receive_from_line(&bytes[..got], now);
        self.input_waits = got == room;
    }

    fn drive(&mut self) {
        let level = self.uart.interrupt();
        if level != self.driven {
            self.driven = level;
            self.irq.set(level);
        }
    }
}

impl PortDevice for SerialPort {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        self.advance(now);
        let base = self.base.0;
        let value = isa_cycles::read_bytes(port, width, |p| self.uart.read(p.0.wrapping_sub(base) & 7, now));
        self.drive();
        value
    }

    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        self.advance(now);
        let base = self.base.0;
        isa_cycles::write_bytes(port, width, value, |p, byte| {
            self.uart.write(p.0.wrapping_sub(base) & 7, byte, now);
            // The wire drops here where the write took the cause away, and may rise below.
            self.drive();
            self.transmit(now);
            self.drive();
        });
    }
}

impl Timed for SerialPort {
    fn next_event(&self) -> Option<GuestTime> {
        let input = self.input_waits.then(|| self.uart.receiver_ready_at());
        // A receiver that is full makes no event: the guest's read does.
        let input = input.filter(|&at| self.uart.receiver_room(at) > 0);
        let chip = if self.retry_at.is_some() { self.uart.timeout_at() } else { self.uart.next_event() };
        [input, chip, self.retry_at].into_iter().flatten().min()
    }

    fn advance(&mut self, now: GuestTime) {
        self.transmit(now);
        self.receive(now);
        self.uart.advance(now);
        self.drive();
    }
}

/// The saved state of a serial port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SerialPortStateV1 {
    uart: UartStateV1,
    /// Both make events of their own, of which a run that goes on must have neither more nor fewer.
    input_waits: bool,
    retry_at: Option<GuestTime>,
}

impl SaveState for SerialPort {
    type State = SerialPortStateV1;

    fn save(&self) -> SerialPortStateV1 {
        let Self { irq: _, backend: _, base: _, uart, input_waits, retry_at, driven: _ } = self;
        SerialPortStateV1 { uart: uart.save(), input_waits: *input_waits, retry_at: *retry_at }
    }

    fn restore(&mut self, state: SerialPortStateV1) -> Result<(), RestoreError> {
        let SerialPortStateV1 { uart, input_waits, retry_at } = state;
        self.uart.restore(uart)?;
        self.input_waits = input_waits;
        self.retry_at = retry_at;
        self.driven = self.uart.interrupt();
        self.irq.set(self.driven);
        Ok(())
    }
}

impl Device for SerialPort {
    fn reset(&mut self, _now: GuestTime) {
        SerialPort::reset(self);
    }
    fn info(&self) -> String {
        format!("port {:#x}, interrupt {}", self.base.0, if self.driven { "raised" } else { "low" })
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
}
