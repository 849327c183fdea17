//! The 16550A itself: registers, FIFOs, interrupt causes. No bus, no clock, no lock.

use super::registers::*;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, RestoreError};

/// How fast the line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineSpeed {
    /// A byte leaves as soon as it is written, whatever the divisor says. Bytes still
    /// arrive in bursts of a FIFO, a character time apart.
    Unlimited,
    /// Both directions keep the time that divisor and frame give.
    AsProgrammed,
}

/// What is between the chip's interrupt pin and the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptGate {
    /// Nothing.
    None,
    /// A gate that OUT2 opens, as on IBM's adapter. Loopback takes OUT2 away.
    Out2,
}

/// A byte in the receiver, with the errors that came with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Received {
    data: u8,
    errors: u8,
}

/// The chip. Times are handed in; the glue drives the wire with [`Uart::interrupt`].
#[derive(Debug)]
pub struct Uart {
    speed: LineSpeed,
    gate: InterruptGate,
    state: UartStateV1,
}

/// The saved state of a UART.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UartStateV1 {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    overrun: bool,
    /// Errors of the byte on top, not yet read from LSR.
    top_errors: u8,
    modem_status: u8,
    /// Modem inputs as the back end drives them.
    modem_inputs: u8,
    scratch: u8,
    divisor: u16,
    receiver: VecDeque<Received>,
    transmitter: VecDeque<u8>,
    /// The byte in the shift register, and when its last bit is out.
    shifting: Option<(u8, GuestTime)>,
    thr_interrupt: bool,
    /// Time of the last byte received or read; four character times later it is a time-out.
    receiver_touched: GuestTime,
    timed_out: bool,
    /// Before this instant no byte arrives.
    receiver_ready_at: GuestTime,
}

impl UartStateV1 {
    /// A state that no chip has.
    #[cfg(test)]
    pub(super) fn break_for_test(&mut self) {
        self.transmitter = std::iter::repeat_n(0, FIFO_BYTES + 1).collect();
    }
    fn power_on() -> Self {
        Self {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            overrun: false,
            top_errors: 0,
            modem_status: 0,
            modem_inputs: 0,
            scratch: 0,
            divisor: 12,
            receiver: VecDeque::with_capacity(FIFO_BYTES),
            transmitter: VecDeque::with_capacity(FIFO_BYTES),
            shifting: None,
            thr_interrupt: false,
            receiver_touched: GuestTime::ZERO,
            timed_out: false,
            receiver_ready_at: GuestTime::ZERO,
        }
    }
}

impl Uart {
    /// A chip after power-on.
    pub fn new(speed: LineSpeed) -> Self {
        Self { speed, gate: InterruptGate::None, state: UartStateV1::power_on() }
    }
    /// Puts something else between the interrupt pin and the bus.
    pub fn set_gate(&mut self, gate: InterruptGate) {
        self.gate = gate;
    }

    /// Master reset. The modem inputs, the scratch register and the divisor stay.
    pub fn reset(&mut self) {
        let kept =
            (self.state.modem_inputs, self.state.scratch, self.state.divisor, self.state.receiver_ready_at);
        self.state = UartStateV1::power_on();
        let s = &mut self.state;
        (s.modem_inputs, s.scratch, s.divisor, s.receiver_ready_at) = kept;
        s.modem_status = s.modem_inputs;
    }

    fn lcr(&self) -> LineControl {
        LineControl::from_bits_retain(self.state.lcr)
    }
    fn mcr(&self) -> ModemControl {
        ModemControl::from_bits_retain(self.state.mcr)
    }
    fn fifos(&self) -> bool {
        self.state.fcr & FifoControl::ENABLE.bits() != 0
    }
    fn depth(&self) -> usize {
        if self.fifos() { FIFO_BYTES } else { 1 }
    }
    fn loopback(&self) -> bool {
        self.mcr().contains(ModemControl::LOOPBACK)
    }
    fn trigger(&self) -> usize {
        if self.fifos() { [1, 4, 8, 14][(self.state.fcr >> 6) as usize] } else { 1 }
    }
    /// The bits of a byte that the frame carries.
    fn word_mask(&self) -> u8 {
        0xFF >> (3 - (self.state.lcr & LineControl::WORD_LENGTH.bits()))
    }

    /// How long one character takes, in nanoseconds.
    pub fn character_ns(&self) -> u64 {
        let lcr = self.lcr();
        let data = 5 + (self.state.lcr & LineControl::WORD_LENGTH.bits()) as u64;
        let parity = lcr.contains(LineControl::PARITY) as u64;
        let stop_halves = match (lcr.contains(LineControl::STOP_BITS), data) {
            (false, _) => 2,
            (true, 5) => 3,
            (true, _) => 4,
        };
        let half_bits = 2 * (1 + data + parity) + stop_halves;
        // A divisor of 0 counts through all 16 bits.
        let divisor = if self.state.divisor == 0 { 0x1_0000 } else { self.state.divisor as u64 };
        half_bits * divisor * 8 * 1_000_000_000 / CLOCK_HZ
    }

    /// Reads the register at `offset` (0 to 7).
    pub fn read(&mut self, offset: u16, now: GuestTime) -> u8 {
        match offset {
            RBR_THR_DLL if self.lcr().contains(LineControl::DIVISOR_LATCH) => self.state.divisor as u8,
            RBR_THR_DLL => self.read_receiver(now),
            IER_DLM if self.lcr().contains(LineControl::DIVISOR_LATCH) => (self.state.divisor >> 8) as u8,
            IER_DLM => self.state.ier,
            IIR_FCR => self.read_interrupt_identification(),
            LCR => self.state.lcr,
            MCR => self.state.mcr,
            LSR => self.read_line_status(),
            MSR => {
                let value = self.state.modem_status;
                self.state.modem_status &= !ModemStatus::CHANGES.bits();
                value
            }
            _ => self.state.scratch,
        }
    }

    /// Writes the register at `offset` (0 to 7). LSR and MSR ignore writes.
    pub fn write(&mut self, offset: u16, value: u8, now: GuestTime) {
        let latch = self.lcr().contains(LineControl::DIVISOR_LATCH);
        match offset {
            RBR_THR_DLL if latch => self.state.divisor = self.state.divisor & 0xFF00 | value as u16,
            RBR_THR_DLL => self.write_transmitter(value),
            IER_DLM if latch => self.state.divisor = self.state.divisor & 0xFF | (value as u16) << 8,
            IER_DLM => self.write_interrupt_enable(value),
            IIR_FCR => self.write_fifo_control(value),
            LCR => self.write_line_control(value, now),
            MCR => {
                self.state.mcr = value & ModemControl::all().bits();
                self.update_modem_status();
            }
            SCR => self.state.scratch = value,
            _ => {}
        }
    }

    fn read_receiver(&mut self, now: GuestTime) -> u8 {
        let character = self.character_ns();
        let s = &mut self.state;
        s.timed_out = false;
        s.receiver_touched = now;
        let Some(top) = s.receiver.pop_front() else { return 0 };
        s.top_errors = s.receiver.front().map_or(0, |next| next.errors);
        // The guest can empty the FIFO before more arrives: the wire needs a gap in which it
        // is low, and a line needs the time anyway.
        s.receiver_ready_at = s.receiver_ready_at.max(now + character);
        top.data
    }

    fn write_transmitter(&mut self, value: u8) {
        let depth = self.depth();
        let value = value & self.word_mask();
        self.state.thr_interrupt = false;
        if self.state.transmitter.len() == depth {
            // The data sheet leaves this open; chips overwrite the last byte.
            self.state.transmitter.pop_back();
        }
        self.state.transmitter.push_back(value);
    }

    fn write_interrupt_enable(&mut self, value: u8) {
        let value = value & InterruptEnable::all().bits();
        let rising = value & !self.state.ier;
        self.state.ier = value;
        if rising & InterruptEnable::TRANSMITTER_EMPTY.bits() != 0 && self.state.transmitter.is_empty() {
            self.state.thr_interrupt = true;
        }
    }

    fn write_fifo_control(&mut self, value: u8) {
        let control = FifoControl::from_bits_retain(value);
        let toggled = (self.state.fcr ^ value) & FifoControl::ENABLE.bits() != 0;
        let enabled = control.contains(FifoControl::ENABLE);
        if toggled || enabled && control.contains(FifoControl::RESET_RECEIVER) {
            self.state.receiver.clear();
            self.state.top_errors = 0;
            self.state.timed_out = false;
        }
        if toggled || enabled && control.contains(FifoControl::RESET_TRANSMITTER) {
            let was_full = !self.state.transmitter.is_empty();
            self.state.transmitter.clear();
            self.state.thr_interrupt |= was_full;
        }
        let kept = FifoControl::ENABLE | FifoControl::DMA_MODE | FifoControl::TRIGGER;
        self.state.fcr = if enabled { value & kept.bits() } else { 0 };
    }

    fn write_line_control(&mut self, value: u8, now: GuestTime) {
        let rising = LineControl::from_bits_retain(value & !self.state.lcr);
        self.state.lcr = value;
        if rising.contains(LineControl::BREAK) && self.loopback() {
            self.receive(0, LineStatus::BREAK, now);
        }
    }

    fn line_status(&self) -> LineStatus {
        let s = &self.state;
        let mut status = LineStatus::from_bits_retain(s.top_errors);
        status.set(LineStatus::DATA_READY, !s.receiver.is_empty());
        status.set(LineStatus::OVERRUN, s.overrun);
        status.set(LineStatus::THR_EMPTY, s.transmitter.is_empty());
        status.set(LineStatus::TRANSMITTER_EMPTY, s.transmitter.is_empty() && s.shifting.is_none());
        status.set(LineStatus::FIFO_ERROR, self.fifos() && s.receiver.iter().any(|r| r.errors != 0));
        status
    }

    fn read_line_status(&mut self) -> u8 {
        let value = self.line_status().bits();
        self.state.overrun = false;
        self.state.top_errors = 0;
        if let Some(top) = self.state.receiver.front_mut() {
            top.errors = 0;
        }
        value
    }

    fn read_interrupt_identification(&mut self) -> u8 {
        let cause = self.cause();
        if cause == Some(InterruptCause::TransmitterEmpty) {
            self.state.thr_interrupt = false;
        }
        let fifos = if self.fifos() { IIR_FIFOS } else { 0 };
        cause.map_or(IIR_NONE, InterruptCause::iir) | fifos
    }

    /// The enabled cause of highest priority.
    pub fn cause(&self) -> Option<InterruptCause> {
        let s = &self.state;
        let enabled = InterruptEnable::from_bits_retain(s.ier);
        if enabled.contains(InterruptEnable::LINE_STATUS) && (s.overrun || s.top_errors != 0) {
            return Some(InterruptCause::LineStatus);
        }
        if enabled.contains(InterruptEnable::RECEIVED_DATA) {
            if s.receiver.len() >= self.trigger() {
                return Some(InterruptCause::ReceivedData);
            }
            if s.timed_out {
                return Some(InterruptCause::CharacterTimeout);
            }
        }
        if enabled.contains(InterruptEnable::TRANSMITTER_EMPTY) && s.thr_interrupt {
            return Some(InterruptCause::TransmitterEmpty);
        }
        let changed = s.modem_status & ModemStatus::CHANGES.bits() != 0;
        (enabled.contains(InterruptEnable::MODEM_STATUS) && changed).then_some(InterruptCause::ModemStatus)
    }

    /// The level of the interrupt wire, behind the gate.
    pub fn interrupt(&self) -> bool {
        let open = match self.gate {
            InterruptGate::None => true,
            InterruptGate::Out2 => self.modem_outputs().contains(ModemControl::OUT2),
        };
        open && self.cause().is_some()
    }

    /// Sets the modem inputs (the upper four bits of MSR).
    pub fn set_modem_inputs(&mut self, inputs: ModemStatus) {
        self.state.modem_inputs = (inputs - ModemStatus::CHANGES).bits();
        self.update_modem_status();
    }

    /// The modem outputs as the pins show them: inactive in loopback.
    pub fn modem_outputs(&self) -> ModemControl {
        if self.loopback() { ModemControl::empty() } else { self.mcr() }
    }

    fn update_modem_status(&mut self) {
        let mut inputs = ModemStatus::from_bits_retain(self.state.modem_inputs);
        if self.loopback() {
            let mcr = self.mcr();
            inputs = ModemStatus::empty();
            inputs.set(ModemStatus::CTS, mcr.contains(ModemControl::RTS));
            inputs.set(ModemStatus::DSR, mcr.contains(ModemControl::DTR));
            inputs.set(ModemStatus::RI, mcr.contains(ModemControl::OUT1));
            inputs.set(ModemStatus::DCD, mcr.contains(ModemControl::OUT2));
        }
        let old = ModemStatus::from_bits_retain(self.state.modem_status);
        let changed = (old ^ inputs) - ModemStatus::CHANGES;
        let mut new = inputs | (old & ModemStatus::CHANGES);
        new.set(
            ModemStatus::DELTA_CTS,
            old.contains(ModemStatus::DELTA_CTS) || changed.contains(ModemStatus::CTS),
        );
        new.set(
            ModemStatus::DELTA_DSR,
            old.contains(ModemStatus::DELTA_DSR) || changed.contains(ModemStatus::DSR),
        );
        new.set(
            ModemStatus::DELTA_DCD,
            old.contains(ModemStatus::DELTA_DCD) || changed.contains(ModemStatus::DCD),
        );
        if changed.contains(ModemStatus::RI) && old.contains(ModemStatus::RI) {
            new |= ModemStatus::TRAILING_RI;
        }
        self.state.modem_status = new.bits();
    }

    /// How many bytes the receiver takes from the line now.
    pub fn receiver_room(&self, now: GuestTime) -> usize {
        if self.loopback() || now < self.state.receiver_ready_at {
            return 0;
        }
        let free = self.depth() - self.state.receiver.len();
        match self.speed {
            LineSpeed::Unlimited => free,
            LineSpeed::AsProgrammed => free.min(1),
        }
    }

    /// When the receiver next takes a byte, where only time is missing.
    pub fn receiver_ready_at(&self) -> GuestTime {
        self.state.receiver_ready_at
    }

    /// Bytes arrive from the line: at most [`receiver_room`](Self::receiver_room) of them.
    pub fn receive_from_line(&mut self, bytes: &[u8], now: GuestTime) {
        for &byte in bytes {
            self.receive(byte & self.word_mask(), LineStatus::empty(), now);
        }
        if self.speed == LineSpeed::AsProgrammed && !bytes.is_empty() {
            self.state.receiver_ready_at = now + self.character_ns();
        }
    }

    /// The line is held at space for longer than a character: a break arrives.
    pub fn receive_break(&mut self, now: GuestTime) {
        self.receive(0, LineStatus::BREAK, now);
    }

    fn receive(&mut self, data: u8, errors: LineStatus, now: GuestTime) {
        let depth = self.depth();
        let s = &mut self.state;
        if s.receiver.len() >= depth {
            s.overrun = true;
            if depth > 1 {
                return; // The FIFO keeps what it has; the byte in the shift register is lost.
            }
            s.receiver.clear(); // Without FIFOs the new byte takes the place of the old one.
        }
        s.receiver.push_back(Received { data, errors: errors.bits() });
        if s.receiver.len() == 1 {
            s.top_errors = errors.bits();
        }
        s.receiver_touched = now;
        s.timed_out = false;
    }

    fn load_shift_register(&mut self, now: GuestTime) {
        if self.state.shifting.is_some() {
            return;
        }
        let Some(byte) = self.state.transmitter.pop_front() else { return };
        let time = match self.speed {
            LineSpeed::Unlimited => 0,
            LineSpeed::AsProgrammed => self.character_ns(),
        };
        self.state.shifting = Some((byte, now + time));
        if self.state.transmitter.is_empty() {
            self.state.thr_interrupt = true;
        }
    }

    /// Takes the bytes whose last bit is out by `now`, as long as `sink` accepts them; in
    /// loopback they arrive at the receiver. What `sink` refuses stays in the chip.
    pub fn transmit(&mut self, now: GuestTime, mut sink: impl FnMut(u8) -> bool) {
        self.load_shift_register(now);
        while let Some((byte, done)) = self.state.shifting {
            if done > now {
                return;
            }
            if self.loopback() {
                self.receive(byte, LineStatus::empty(), now);
            } else if !sink(byte) {
                return;
            }
            self.state.shifting = None;
            self.load_shift_register(done);
        }
    }

    /// Lets the character time-out happen.
    pub fn advance(&mut self, now: GuestTime) {
        if self.timeout_at().is_some_and(|at| at <= now) {
            self.state.timed_out = true;
        }
    }

    /// When the character time-out comes, if bytes wait below the trigger level.
    pub fn timeout_at(&self) -> Option<GuestTime> {
        let waits = self.fifos()
            && !self.state.timed_out
            && !self.state.receiver.is_empty()
            && self.state.receiver.len() < self.trigger();
        waits.then(|| self.state.receiver_touched + 4 * self.character_ns())
    }

    /// The next instant at which the chip does something by itself.
    pub fn next_event(&self) -> Option<GuestTime> {
        [self.timeout_at(), self.state.shifting.map(|(_, done)| done)].into_iter().flatten().min()
    }

    /// Whether a byte is ready to leave: the line did not take it.
    pub fn transmit_blocked(&self, now: GuestTime) -> bool {
        self.state.shifting.is_some_and(|(_, done)| done <= now)
    }

    /// The state now.
    pub fn save(&self) -> UartStateV1 {
        self.state.clone()
    }

    /// Takes a saved state.
    ///
    /// # Errors
    /// Bits that the registers do not have, or FIFOs that are too long.
    pub fn restore(&mut self, state: UartStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "UART", field, value });
        let received = state.receiver.iter().fold(state.top_errors, |errors, byte| errors | byte.errors);
        let fcr = FifoControl::ENABLE | FifoControl::DMA_MODE | FifoControl::TRIGGER;
        for (field, value, possible) in [
            ("ier", state.ier, InterruptEnable::all().bits()),
            ("fcr", state.fcr, fcr.bits()),
            ("mcr", state.mcr, ModemControl::all().bits()),
            ("errors", received, (LineStatus::ERRORS - LineStatus::OVERRUN).bits()),
            ("modem_inputs", state.modem_inputs, (ModemStatus::all() - ModemStatus::CHANGES).bits()),
        ] {
            if value & !possible != 0 {
                return refuse(field, format!("{value:#x}"));
            }
        }
        let chip = Self { speed: self.speed, gate: self.gate, state };
        let (state, depth) = (&chip.state, chip.depth());
        for (field, len) in [("receiver", state.receiver.len()), ("transmitter", state.transmitter.len())] {
            if len > depth {
                return refuse(field, format!("{len} bytes"));
            }
        }
        *self = chip;
        Ok(())
    }
}
