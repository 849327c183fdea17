//! The cable of a serial port, between chip and host.
//!
//! A chip asks what is at the other end of its cable in the middle of the guest's instructions, and the host's end changes
//! when it likes. So the chip sees the cable as the last [external event](crate::events) left it: bytes that have
//! come, whether somebody is there, whether there is room. The machine's thread compares that with the host's end
//! ([`SerialLine::next_event`]) and takes the differences as events.
//!
//! Output goes to the host's end at once. What it does not take waits here, and the next look tells the chip that
//! there is no room; until then it may write on.

use crate::events::{ExternalEvent, PowerOn};
use crate::machine::HostServices;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::RestoreError;
use trimotor_devices::serial::SerialBackend;

/// Bytes that wait on the cable for the guest; more stay at the host's end. So many can be read between two looks.
const INPUT_BYTES: usize = 4096;
/// Bytes that wait for the host's end at most: many times what a guest writes between two looks. More are refused at once.
const OUTPUT_BYTES: usize = 16 << 20;

/// The machine's view of a cable. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SerialLine {
    cable: Arc<Mutex<Cable>>,
}

struct Cable {
    host: Box<dyn SerialBackend>,
    /// What the host's end did not take.
    output: VecDeque<u8>,
    /// What the chip sees.
    seen: SerialLineStateV1,
}

/// What a chip sees of its cable, and what waits there for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SerialLineStateV1 {
    input: VecDeque<u8>,
    connected: bool,
    room: bool,
}

impl SerialLine {
    /// A cable to `host`, where the chip sees somebody from the beginning if `connected`.
    pub(crate) fn new(host: Box<dyn SerialBackend>, connected: bool) -> Self {
        let seen = SerialLineStateV1 { input: VecDeque::new(), connected, room: true };
        Self { cable: Arc::new(Mutex::new(Cable { host, output: VecDeque::new(), seen })) }
    }
    fn cable(&self) -> MutexGuard<'_, Cable> {
        self.cable.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The chip's end.
    pub(crate) fn chip_end(&self) -> Box<dyn SerialBackend> {
        Box::new(self.clone())
    }
    /// Whether output waits for room at the host's end.
    pub(crate) fn has_output(&self) -> bool {
        !self.cable().output.is_empty()
    }
    /// Sends on what waits for the host.
    pub(crate) fn flush(&self) {
        self.cable().send_waiting();
    }
    /// The first way in which the host's end of `port` differs from what the chip sees.
    pub(crate) fn next_event(&self, port: usize) -> Option<ExternalEvent> {
        let mut cable = self.cable();
        let connected = cable.host.connected();
        if connected != cable.seen.connected {
            return Some(ExternalEvent::SerialConnected { port, connected });
        }
        let room = cable.output.is_empty();
        if room != cable.seen.room {
            return Some(ExternalEvent::SerialRoom { port, room });
        }
        let mut bytes = vec![0; INPUT_BYTES.saturating_sub(cable.seen.input.len())];
        let length = if bytes.is_empty() { 0 } else { cable.host.read(&mut bytes) };
        bytes.truncate(length);
        (length > 0).then_some(ExternalEvent::SerialInput { port, bytes })
    }
    /// Reads what has come to the host's end, for nobody.
    pub(crate) fn forget_input(&self) {
        self.cable().host.read(&mut [0; INPUT_BYTES]);
    }
    /// Has the chip see an event.
    pub(crate) fn take(&self, event: &ExternalEvent) {
        let seen = &mut self.cable().seen;
        match event {
            ExternalEvent::SerialInput { bytes, .. } => seen.input.extend(bytes),
            ExternalEvent::SerialConnected { connected, .. } => seen.connected = *connected,
            ExternalEvent::SerialRoom { room, .. } => seen.room = *room,
            _ => {}
        }
    }
    /// Whether the chip sees somebody.
    pub(crate) fn is_connected(&self) -> bool {
        self.cable().seen.connected
    }
    pub(crate) fn save(&self) -> SerialLineStateV1 {
        self.cable().seen.clone()
    }
    /// Takes a saved state.
    ///
    /// # Errors
    /// More waits than a cable keeps.
    pub(crate) fn restore(&self, state: SerialLineStateV1) -> Result<(), RestoreError> {
        if state.input.len() > INPUT_BYTES {
            let value = format!("{} bytes", state.input.len());
            return Err(RestoreError { part: "serial line", field: "input", value });
        }
        self.cable().seen = state;
        Ok(())
    }
}

impl Cable {
    fn send_waiting(&mut self) {
        if !self.output.is_empty() {
            let taken = self.host.write(self.output.make_contiguous());
            self.output.drain(..taken.min(self.output.len()));
        }
        self.host.flush();
    }
}

/// The cables of the serial ports, and behind them those of other devices, whose host's ends are taken. At power-on the ports see who is at the other end, or was when a log was kept.
pub(crate) fn serial_lines(
    ports: usize,
    services: &mut HostServices,
    power_on: Option<&PowerOn>,
) -> Vec<SerialLine> {
    let mut hosts = std::mem::take(&mut services.serial);
    hosts.resize_with(hosts.len().max(ports), || Box::new(Unplugged));
    for end in services.chardevs.values_mut() {
        hosts.push(std::mem::replace(end, Box::new(Unplugged)));
    }
    let hosts = hosts.into_iter().enumerate();
    let line = |(port, host): (usize, Box<dyn SerialBackend>)| {
        let connected = match power_on {
            Some(power_on) => power_on.serial_connected.get(port).copied().unwrap_or(false),
            None => host.connected(),
        };
        SerialLine::new(host, connected)
    };
    hosts.map(line).collect()
}

/// A serial port with no cable.
pub(crate) struct Unplugged;
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

/// The chip's end.
impl SerialBackend for SerialLine {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut cable = self.cable();
        if !cable.seen.room || cable.output.len() + bytes.len() > OUTPUT_BYTES {
            return 0;
        }
        let taken = if cable.output.is_empty() { cable.host.write(bytes).min(bytes.len()) } else { 0 };
        cable.output.extend(&bytes[taken..]);
        bytes.len()
    }
    fn flush(&mut self) {
        self.cable().send_waiting();
    }
    fn read(&mut self, into: &mut [u8]) -> usize {
        let input = &mut self.cable().seen.input;
        let length = input.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(input.drain(..length)) {
            *place = byte;
        }
        length
    }
    fn connected(&self) -> bool {
        self.is_connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_devices::serial::TestCable;

    #[test]
    fn the_chip_sees_changes_when_they_are_taken() {
        let far = TestCable::new(2);
        far.type_in(&[b'x'; INPUT_BYTES + 1]);
        let line = SerialLine::new(Box::new(far.clone()), false);
        let mut chip = line.chip_end();
        assert!(!chip.connected());
        let connected = line.next_event(1).unwrap();
        assert_eq!(connected, ExternalEvent::SerialConnected { port: 1, connected: true });
        assert!(!chip.connected(), "nothing was taken yet");
        line.take(&connected);
        assert!(chip.connected());

        let input = line.next_event(1).unwrap();
        assert_eq!(chip.read(&mut [0; 4]), 0);
        line.take(&input);
        assert_eq!(line.next_event(1), None, "the rest stays at the host's end");
        assert_eq!(chip.read(&mut [0; 4]), 4);
        let rest = line.next_event(1).unwrap();
        assert_eq!(rest, ExternalEvent::SerialInput { port: 1, bytes: vec![b'x'] });

        assert_eq!(chip.write(b"abc"), 3, "there was room when the chip was told last");
        let full = line.next_event(1).unwrap();
        assert_eq!(full, ExternalEvent::SerialRoom { port: 1, room: false });
        line.take(&full);
        assert_eq!(chip.write(b"d"), 0);
        far.set_room(9);
        line.flush();
        line.take(&line.next_event(1).unwrap());
        assert_eq!(chip.write(b"d"), 1);
        assert_eq!(far.take_output(), b"abcd");
    }

    #[test]
    fn an_impossible_state_is_refused() {
        let line = SerialLine::new(Box::new(TestCable::default()), true);
        let mut state = line.save();
        state.input = std::iter::repeat_n(0, INPUT_BYTES + 1).collect();
        assert!(line.restore(state).is_err());
    }
}
