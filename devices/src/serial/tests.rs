//! The UART as drivers use it.

use super::registers::*;
use super::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use trimotor_bus::IrqSink;

#[derive(Default)]
struct Wire {
    level: bool,
    edges: u32,
}
struct Pins(Mutex<Wire>);
impl IrqSink for Pins {
    fn set_level(&self, _line: u8, high: bool) {
        let mut wire = self.0.lock().unwrap();
        wire.edges += (high && !wire.level) as u32;
        wire.level = high;
    }
}

#[derive(Default)]
struct Cable {
    out: Vec<u8>,
    input: VecDeque<u8>,
    accepts: Option<usize>,
    hung_up: bool,
}
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Cable>>);
impl SerialBackend for Shared {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut cable = self.0.lock().unwrap();
        let n = cable.accepts.map_or(bytes.len(), |room| room.min(bytes.len()));
        cable.accepts = cable.accepts.map(|room| room - n);
        cable.out.extend(&bytes[..n]);
        n
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut cable = self.0.lock().unwrap();
        let n = into.len().min(cable.input.len());
        for (slot, byte) in into.iter_mut().zip(cable.input.drain(..n)) {
            *slot = byte;
        }
        n
    }
    fn connected(&self) -> bool {
        !self.0.lock().unwrap().hung_up
    }
}

struct Rig {
    port: SerialPort,
    pins: Arc<Pins>,
    cable: Shared,
    now: GuestTime,
}
impl Rig {
    fn new(speed: LineSpeed) -> Self {
        let pins = Arc::new(Pins(Mutex::default()));
        let cable = Shared::default();
        let irq = IrqLine::new(pins.clone(), 4);
        let port = SerialPort::new(Port(0x3F8), irq, speed, Box::new(cable.clone()));
        Rig { port, pins, cable, now: GuestTime(1_000_000) }
    }
    /// The same port with the gate of IBM's adapter.
    fn gated(self) -> Self {
        Rig { port: self.port.gated_by_out2(), ..self }
    }
    /// FIFOs on with the given trigger bits, 8N1 at 115200, OUT2, all interrupts of `ier`.
    fn driven(speed: LineSpeed, trigger: u8, ier: u8) -> Self {
        let mut rig = Rig::new(speed);
        rig.w(LCR, 0x83);
        rig.w(0, 1);
        rig.w(1, 0);
        rig.w(LCR, 3);
        rig.w(IIR_FCR, 0x07 | trigger);
        rig.w(MCR, 0x0B);
        rig.w(IER_DLM, ier);
        rig
    }
    fn r(&mut self, offset: u16) -> u8 {
        self.port.port_read(Port(0x3F8 + offset), Width::Byte, self.now) as u8
    }
    fn w(&mut self, offset: u16, value: u8) {
        self.port.port_write(Port(0x3F8 + offset), Width::Byte, value as u32, self.now);
    }
    fn input(&mut self, bytes: &[u8]) {
        self.cable.0.lock().unwrap().input.extend(bytes);
        self.port.poll(self.now);
    }
    fn irq(&self) -> bool {
        self.pins.0.lock().unwrap().level
    }
    fn pass(&mut self, ns: u64) {
        let end = self.now + ns;
        while let Some(at) = self.port.next_event().filter(|&at| at <= end) {
            self.now = at.max(self.now);
            self.port.advance(self.now);
            if at >= end {
                break;
            }
        }
        self.now = end;
        self.port.advance(end);
    }
}

const CHAR_NS: u64 = 86_805;

#[test]
fn divisor_latch_and_scratch_keep_what_is_written() {
    let mut rig = Rig::new(LineSpeed::Unlimited);
    rig.w(LCR, 0x80);
    rig.w(0, 0x34);
    rig.w(1, 0x12);
    assert_eq!((rig.r(0), rig.r(1)), (0x34, 0x12));
    rig.w(LCR, 0x03);
    rig.w(SCR, 0xA5);
    assert_eq!((rig.r(SCR), rig.r(1)), (0xA5, 0));
    assert_eq!(rig.port.port_read(Port(0x3F8 + SCR), Width::Byte, rig.now), 0xA5);
    rig.w(LSR, 0);
    assert_eq!(rig.r(LSR), 0x60);
}

#[test]
fn a_16550a_is_recognised_by_iir() {
    let mut rig = Rig::new(LineSpeed::Unlimited);
    assert_eq!(rig.r(IIR_FCR), 0x01);
    rig.w(IIR_FCR, 0x01);
    assert_eq!(rig.r(IIR_FCR), 0xC1);
    rig.w(IIR_FCR, 0xC0);
    assert_eq!(rig.r(IIR_FCR), 0x01);
}

#[test]
fn polled_output_reaches_the_back_end_at_once() {
    let mut rig = Rig::new(LineSpeed::Unlimited);
    rig.w(LCR, 0x03);
    for byte in b"hello" {
        assert_eq!(rig.r(LSR) & 0x20, 0x20);
        rig.w(0, *byte);
    }
    assert_eq!(rig.cable.0.lock().unwrap().out, b"hello");
}

#[test]
fn each_write_of_the_transmitter_makes_a_new_edge() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x02);
    assert!(rig.irq());
    assert_eq!(rig.r(IIR_FCR), 0xC2);
    assert!(!rig.irq());
    assert_eq!(rig.r(IIR_FCR), 0xC1);
    let before = rig.pins.0.lock().unwrap().edges;
    rig.w(0, b'a');
    rig.w(0, b'b');
    assert!(rig.irq());
    assert_eq!(rig.pins.0.lock().unwrap().edges, before + 2);
    // Switching the enable off and on asks again while the transmitter is empty.
    assert_eq!(rig.r(IIR_FCR), 0xC2);
    rig.w(IER_DLM, 0);
    rig.w(IER_DLM, 2);
    assert!(rig.irq());
}

#[test]
fn a_back_end_that_refuses_leaves_the_transmitter_full() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0);
    rig.cable.0.lock().unwrap().accepts = Some(1);
    for byte in b"abc" {
        rig.w(0, *byte);
    }
    assert_eq!(rig.r(LSR) & 0x60, 0);
    assert!(rig.port.next_event().is_some());
    rig.cable.0.lock().unwrap().accepts = None;
    rig.pass(RETRY_NS);
    assert_eq!(rig.cable.0.lock().unwrap().out, b"abc");
    assert_eq!(rig.r(LSR) & 0x60, 0x60);
    assert_eq!(rig.port.next_event(), None);
}

#[test]
fn as_programmed_a_byte_takes_ten_bit_times() {
    let mut rig = Rig::driven(LineSpeed::AsProgrammed, 0, 0);
    rig.w(0, b'x');
    rig.w(0, b'y');
    assert_eq!(rig.r(LSR) & 0x60, 0);
    rig.pass(CHAR_NS);
    assert_eq!(rig.r(LSR) & 0x60, 0x20);
    assert_eq!(rig.cable.0.lock().unwrap().out, b"x");
    rig.pass(CHAR_NS);
    assert_eq!(rig.r(LSR) & 0x60, 0x60);
}

#[test]
fn the_trigger_level_and_the_time_out_interrupt() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0x40, 0x01);
    rig.input(b"abc");
    assert!(!rig.irq());
    assert_eq!(rig.r(LSR) & 1, 1);
    rig.pass(4 * CHAR_NS);
    assert!(rig.irq());
    assert_eq!(rig.r(IIR_FCR), 0xCC);
    assert_eq!(rig.r(0), b'a');
    assert!(!rig.irq(), "a read ends the time-out");
    rig.input(b"def");
    rig.pass(CHAR_NS);
    assert!(rig.irq());
    assert_eq!(rig.r(IIR_FCR), 0xC4);
    assert_eq!(rig.r(0), b'b');
    assert_eq!(rig.r(0), b'c');
    assert!(!rig.irq(), "three are below the trigger");
}

#[test]
fn input_comes_in_bursts_with_a_gap() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0xC0, 0x01);
    let sent: Vec<u8> = (0..200).collect();
    rig.input(&sent);
    let mut got = Vec::new();
    for _ in 0..40 {
        while rig.r(LSR) & 1 != 0 {
            got.push(rig.r(0));
        }
        assert!(!rig.irq());
        rig.pass(5 * CHAR_NS);
    }
    assert_eq!(got, sent);
    assert_eq!(rig.pins.0.lock().unwrap().edges, 13);
}

#[test]
fn without_fifos_each_byte_is_an_edge() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x01);
    rig.w(IIR_FCR, 0);
    rig.input(b"abc");
    for (n, byte) in b"abc".iter().enumerate() {
        assert!(rig.irq());
        assert_eq!(rig.pins.0.lock().unwrap().edges as usize, n + 1);
        assert_eq!(rig.r(0), *byte);
        assert!(!rig.irq());
        rig.pass(CHAR_NS);
    }
}

#[test]
fn loopback_carries_bytes_modem_lines_and_breaks() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x0F).gated();
    rig.r(MSR);
    rig.w(MCR, 0x1F);
    assert_eq!(rig.r(MSR) & 0xF0, 0xF0);
    rig.w(MCR, 0x1B);
    assert_eq!(rig.r(MSR) & 0x44, 0x04, "RI went off");
    rig.w(MCR, 0x1A);
    assert_eq!(rig.r(MSR), 0x92, "DSR went off, RTS and OUT2 remain");
    assert!(!rig.irq(), "loopback takes OUT2 away, and the interrupt off the bus");
    for byte in 0..17 {
        rig.w(0, byte);
    }
    assert_eq!(rig.r(LSR) & 0x03, 0x03, "the 17th byte overruns");
    assert_eq!(rig.r(LSR) & 0x02, 0);
    for byte in 0..16 {
        assert_eq!(rig.r(0), byte);
    }
    assert_eq!(rig.r(LSR) & 1, 0);
    assert!(rig.cable.0.lock().unwrap().out.is_empty());
    rig.w(LCR, 0x43);
    assert_eq!(rig.r(LSR) & 0x91, 0x91);
    assert_eq!(rig.r(LSR) & 0x90, 0);
    // In five-bit frames the upper bits are lost.
    rig.w(IIR_FCR, 0x03);
    rig.w(LCR, 0x00);
    rig.w(0, 0xFF);
    assert_eq!(rig.r(0), 0x1F);
}

#[test]
fn line_status_comes_first_and_is_cleared_by_lsr() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x0F);
    rig.w(MCR, 0x19);
    for byte in 0..17 {
        rig.w(0, byte);
    }
    assert_eq!(rig.r(IIR_FCR), 0xC6);
    rig.r(LSR);
    assert_eq!(rig.r(IIR_FCR), 0xC4);
    rig.w(IIR_FCR, 0x03);
    assert_eq!(rig.r(IIR_FCR), 0xC2);
    assert_eq!(rig.r(IIR_FCR), 0xC0, "modem status is last");
    rig.r(MSR);
    assert_eq!(rig.r(IIR_FCR), 0xC1);
}

#[test]
fn a_break_from_the_line_is_a_zero_byte_with_its_status() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x05);
    rig.port.receive_break(rig.now);
    assert!(rig.irq());
    assert_eq!(rig.r(LSR) & 0x11, 0x11);
    assert_eq!(rig.r(0), 0);
    assert_eq!(rig.r(LSR) & 0x11, 0);
}

#[test]
fn carrier_follows_the_back_end() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x08);
    assert_eq!(rig.r(MSR), 0xB0);
    rig.cable.0.lock().unwrap().hung_up = true;
    rig.port.poll(rig.now);
    assert!(rig.irq());
    assert_eq!(rig.r(MSR), 0x0B);
    assert!(!rig.irq());
}

#[test]
fn out2_opens_the_gate_of_a_port_that_has_one() {
    for gated in [false, true] {
        let mut rig = Rig::driven(LineSpeed::Unlimited, 0, 0x02);
        if gated {
            rig = rig.gated();
        }
        rig.w(MCR, 0x03);
        assert_eq!(rig.irq(), !gated);
        rig.w(MCR, 0x0B);
        assert!(rig.irq());
        // "In the diagnostic mode the receiver and transmitter interrupts are fully operational."
        rig.w(MCR, 0x1B);
        assert_eq!(rig.irq(), !gated);
    }
}

/// As a teaching kernel sets its port up: modem control 0, then received data.
#[test]
fn a_driver_that_leaves_out2_alone_hears_its_input() {
    let mut rig = Rig::new(LineSpeed::Unlimited);
    for (offset, value) in [(IIR_FCR, 0), (LCR, 0x80), (0, 12), (1, 0), (LCR, 3), (MCR, 0), (IER_DLM, 1)] {
        rig.w(offset, value);
    }
    assert!(!rig.irq());
    rig.input(b"x");
    assert!(rig.irq());
    assert_eq!((rig.r(IIR_FCR), rig.r(0)), (0x04, b'x'));
    assert!(!rig.irq());
}

#[test]
fn a_saved_state_goes_on_where_it_was() {
    let mut rig = Rig::driven(LineSpeed::Unlimited, 0x40, 0x01);
    rig.input(b"abcdef");
    let state = rig.port.save();
    let mut other = Rig::new(LineSpeed::Unlimited);
    let mut bad = state.clone();
    bad.uart.break_for_test();
    assert!(other.port.restore(bad).is_err());
    other.port.restore(state.clone()).unwrap();
    assert!(other.irq());
    assert_eq!(other.port.save(), state);
    assert_eq!(other.r(0), b'a');
}

#[test]
fn any_access_with_any_time_is_survived() {
    let mut rig = Rig::new(LineSpeed::AsProgrammed);
    let mut seed = 1u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        rig.now = GuestTime(seed);
        let port = Port(0x3F8 + (seed >> 20 & 7) as u16);
        let width = [Width::Byte, Width::Word, Width::Dword][(seed >> 30) as usize % 3];
        if seed >> 40 & 1 == 0 {
            rig.port.port_write(port, width, (seed >> 8) as u32, rig.now);
        } else {
            rig.port.port_read(port, width, rig.now);
        }
        rig.port.next_event();
    }
}
