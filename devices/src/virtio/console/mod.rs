//! The virtio console (virtio 1.2, 5.3): streams of bytes between guest and host, each a *port*.
//!
//! | queue | what goes through it |
//! |---|---|
//! | 0, 1 | bytes of port 0: to the guest, to the host |
//! | 2, 3 | control messages: to the guest, to the host |
//! | 4 + 2n, 5 + 2n | bytes of port n + 1 |
//!
//! A port is a console (`hvc0` in Linux), or a stream with a name (`/dev/virtio-ports/NAME`), as the channel of a guest agent is. The
//! driver finds ports by control messages ([`control`]): it says that it is ready, hears of each port, says which ones it
//! has made, and hears their names and whether somebody is at the host's end. A driver without `MULTIPORT` has port 0 alone, a console.
//!
//! The host's end is a cable as that of a serial port ([`SerialBackend`]): bytes for the guest wait there until a program has the
//! port open and a buffer is there; bytes of the guest wait in their queue while the cable has no room. While nobody
//! is at the host's end they are lost, as on a serial line.
//!
//! A write of the configuration's last field puts a byte out of port 0 at once, for kernels that have no driver yet.
//!
//! Left out: the size of the screen, and ports that come and go.

pub mod control;

use super::device::{Kind, VirtioDevice};
use super::io::Io;
use super::queue::{Chain, ChainStateV1};
use crate::serial::SerialBackend;
use control::{Control, ControlStateV1, Message};
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, RestoreError};

/// Ports that a device has at most: one that is a console, and others.
pub const MOST_PORTS: usize = 31;
/// Buffers of a queue of bytes, and of control messages.
const QUEUE_SIZE: u16 = 128;
const CONTROL_SIZE: u16 = 32;
/// Bytes that go to or from a cable at a time.
const PIECE: usize = 4096;
/// Queues of control messages.
const TO_GUEST: usize = 2;
const TO_HOST: usize = 3;
/// Where in the configuration a byte is put out at once.
const EMERGENCY: usize = 8;

/// Features.
pub mod feature {
    /// More ports than port 0.
    pub const MULTIPORT: u64 = 1 << 1;
    /// A byte is put out at once.
    pub const EMERG_WRITE: u64 = 1 << 2;
}

/// A port, as it is made.
pub struct PortConfig {
    /// Its number: 0 for a console alone.
    pub number: u32,
    /// Whether it is a console.
    pub console: bool,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The host's end.
    pub cable: Box<dyn SerialBackend>,
}

struct Port {
    config: PortConfig,

    /// A program in the guest has it open.
    open: bool,
    /// What the driver knows of the host's end.
    told_connected: bool,
    /// A buffer of the guest's, and how many of its bytes are on the cable.
    sending: Option<(Chain, u64)>,
}

/// The device.
pub struct Console {
    ports: Vec<Port>,
    control: Control,
}

/// The saved state of a port. Its cable is saved by the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStateV1 {
    open: bool,
    told_connected: bool,
    sending: Option<(ChainStateV1, u64)>,
}
/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleStateV1 {
    ports: Vec<PortStateV1>,
    control: ControlStateV1,
}

impl Console {
    /// A device with these ports, in the order of their numbers, each of which is below [`MOST_PORTS`].
    pub fn new(ports: Vec<PortConfig>) -> Self {
        let port = |config| Port { config, open: false, told_connected: false, sending: None };
        Self { ports: ports.into_iter().map(port).collect(), control: Control::default() }
    }
    /// Ports that there may be: numbers below it.
    fn most_ports(&self) -> u32 {
        self.ports.iter().map(|port| port.config.number + 1).max().unwrap_or(1)
    }
    /// The host's ends may have changed: bytes have come, there is room again, somebody came or left.
    pub fn poll(&mut self, io: &mut Io<'_>) {
        for index in 0..self.ports.len() {
            self.tell_connected(index, io);
            self.receive(index, io);
            self.send(index, io);
        }
        self.send_messages(io);
    }

    /// Bytes from the cable to the guest.
    fn receive(&mut self, index: usize, io: &mut Io<'_>) {
        let multiport = io.has(feature::MULTIPORT);
        let Some(port) = self.ports.get_mut(index) else { return };
        let queue = queue_to_guest(port.config.number);
        // Without control messages nobody says that a port is open.
        if multiport && !port.open {
            return;
        }
        let mut bytes = [0; PIECE];
        loop {
            let Some(before) = io.progress(queue) else { return };
            let Some(chain) = io.pop(queue) else {
                if io.arm(queue) {
                    continue;
                }
                return;
            };
            let room = chain.writable().min(PIECE as u64) as usize;
            if room == 0 {
                io.push(queue, chain, 0);
                continue;
            }
            let length = port.config.cable.read(&mut bytes[..room]);
            if length == 0 {
                return io.rewind(queue, before);
            }
            if io.write(chain.writable_segments(), 0, &bytes[..length]).is_none() {
                return;
            }
            io.push(queue, chain, length as u64);
        }
    }
    /// Bytes of the guest to the cable.
    fn send(&mut self, index: usize, io: &mut Io<'_>) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let queue = queue_to_guest(port.config.number) + 1;
        loop {
            if port.sending.is_none() {
                port.sending = io.pop(queue).map(|chain| (chain, 0));
            }
            let Some((chain, sent)) = &mut port.sending else {
                if io.arm(queue) {
                    continue;
                }
                break;
            };
            let mut bytes = [0; PIECE];
            // A buffer of gigabytes is taken piece by piece, with others between.
            let left = chain.readable() - *sent;
            let piece = &mut bytes[..left.min(PIECE as u64) as usize];
            if io.read(chain.readable_segments(), *sent, piece).is_none() {
                port.sending = None;
                return;
            }
            let taken = if port.config.cable.connected() {
                port.config.cable.write(piece).min(piece.len())
            } else {
                piece.len()
            };
            *sent += taken as u64;
            if *sent < chain.readable() {
                if taken < piece.len() {
                    break;
                }
                if !io.may_go_on(queue) {
                    break;
                }
                continue;
            }
            if let Some((chain, _)) = port.sending.take() {
                io.push(queue, chain, 0);
            }
        }
        port.config.cable.flush();
    }

    fn tell_connected(&mut self, index: usize, io: &Io<'_>) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let connected = port.config.cable.connected();
        if !io.has(feature::MULTIPORT) || !self.control.knows(port.config.number) {
            return;
        }
        if connected != port.told_connected {
            port.told_connected = connected;
            self.control.tell(Message::open(port.config.number, connected));
        }
    }
    /// Control messages to the guest, as far as there are buffers.
    fn send_messages(&mut self, io: &mut Io<'_>) {
        while let Some(message) = self.control.waiting() {
            let Some(chain) = io.pop(TO_GUEST) else {
                if io.arm(TO_GUEST) {
                    continue;
                }
                return;
            };
            let bytes = message.bytes();
            let length = chain.writable().min(bytes.len() as u64);
            if io.write(chain.writable_segments(), 0, &bytes[..length as usize]).is_none() {
                return;
            }
            self.control.sent();
            io.push(TO_GUEST, chain, length);
        }
    }
    /// Control messages of the guest. While many wait for the guest, its own wait too.
    fn take_messages(&mut self, io: &mut Io<'_>) {
        loop {
            while self.control.has_room() {
                let Some(chain) = io.pop(TO_HOST) else { break };
                let mut bytes = [0; 8];
                let whole = chain.readable() >= 8;
                if whole && io.read(chain.readable_segments(), 0, &mut bytes).is_none() {
                    return;
                }
                io.push(TO_HOST, chain, 0);
                if whole {
                    self.take_message(&Message::of(&bytes), io);
                }
            }
            self.send_messages(io);
            if !self.control.has_room() || !io.arm(TO_HOST) {
                return;
            }
        }
    }
    fn take_message(&mut self, message: &Message, io: &mut Io<'_>) {
        if !io.has(feature::MULTIPORT) {
            return;
        }
        if message.event == control::DEVICE_READY {
            if message.value == 1 {
                for port in &self.ports {
                    self.control.add_port(port.config.number);
                }
            }
            return;
        }
        let Some(index) = self.ports.iter().position(|port| port.config.number == message.port) else {
            return;
        };
        let port = &mut self.ports[index];
        match message.event {
            control::PORT_READY if message.value == 1 => {
                if port.config.console {
                    self.control.tell(Message::console(message.port));
                }
                if let Some(name) = &port.config.name {
                    self.control.tell(Message::name(message.port, name));
                }
                port.told_connected = port.config.cable.connected();
                if port.told_connected {
                    self.control.tell(Message::open(message.port, true));
                }
            }
            control::PORT_OPEN => {
                port.open = message.value != 0;
                self.receive(index, io);
            }
            _ => {}
        }
    }
}

/// The queue of a port's bytes to the guest; the next one is that to the host.
fn queue_to_guest(port: u32) -> usize {
    if port == 0 { 0 } else { 2 + 2 * port as usize }
}
/// The port of a queue of bytes.
fn port_of_queue(queue: usize) -> u32 {
    if queue < 2 { 0 } else { (queue as u32 - 2) / 2 }
}

impl VirtioDevice for Console {
    type State = ConsoleStateV1;

    fn kind(&self) -> Kind {
        Kind { name: "virtio console", device_type: 3, transitional: Some(0x1003), class: 0x07_80_00 }
    }
    fn features(&self) -> u64 {
        feature::MULTIPORT | feature::EMERG_WRITE
    }
    fn queue_sizes(&self) -> Vec<u16> {
        let control = |queue: usize| if queue / 2 == 1 { CONTROL_SIZE } else { QUEUE_SIZE };
        (0..2 + 2 * self.most_ports() as usize).map(control).collect()
    }
    fn config(&self, _features: u64) -> Vec<u8> {
        let mut config = vec![0; 12];
        config[4..8].copy_from_slice(&self.most_ports().to_le_bytes());
        config
    }
    fn config_write(&mut self, offset: usize, byte: u8, _io: &mut Io<'_>, _now: GuestTime) {
        if offset == EMERGENCY
            && let Some(port) = self.ports.iter_mut().find(|port| port.config.number == 0)
        {
            _ = port.config.cable.write(&[byte]);
            port.config.cable.flush();
        }
    }

    fn look(&mut self, queue: usize, io: &mut Io<'_>, _now: GuestTime) {
        match queue {
            TO_GUEST => {
                self.send_messages(io);
                // The guest's own messages may have waited for that.
                self.take_messages(io);
            }
            TO_HOST => self.take_messages(io),
            _ => {
                let number = port_of_queue(queue);
                let Some(index) = self.ports.iter().position(|port| port.config.number == number) else {
                    return;
                };
                if queue.is_multiple_of(2) {
                    self.receive(index, io);
                } else {
                    self.send(index, io);
                }
            }
        }
    }
    fn queue_reset(&mut self, queue: usize) {
        let number = port_of_queue(queue);
        if queue % 2 == 1 && queue != TO_HOST {
            self.ports.iter_mut().filter(|port| port.config.number == number).for_each(|port| {
                port.sending = None;
            });
        }
    }
    fn reset(&mut self) {
        for port in &mut self.ports {
            (port.open, port.told_connected, port.sending) = (false, false, None);
        }
        self.control = Control::default();
    }

    fn info(&self) -> String {
        let open = self.ports.iter().filter(|port| port.open).count();
        format!("{} ports, {open} of them open in the guest", self.ports.len())
    }
    fn save(&self) -> ConsoleStateV1 {
        let Self { ports, control } = self;
        let port = |Port { config: _, open, told_connected, sending }: &Port| PortStateV1 {
            open: *open,
            told_connected: *told_connected,
            sending: sending.as_ref().map(|(chain, sent)| (chain.save(), *sent)),
        };
        ConsoleStateV1 { ports: ports.iter().map(port).collect(), control: control.save() }
    }
    fn check(&self, state: &ConsoleStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "virtio console", field, value });
        let ConsoleStateV1 { ports, control } = state;
        if ports.len() != self.ports.len() {
            return refuse("ports", ports.len().to_string());
        }
        let bad = |port: &&PortStateV1| {
            port.sending.as_ref().is_some_and(|(chain, sent)| {
                Chain::restored(chain.clone()).is_none_or(|chain| *sent > chain.readable())
            })
        };
        if let Some(port) = ports.iter().find(bad) {
            return refuse("buffer", format!("{port:?}"));
        }
        control.check(self.most_ports())
    }
    fn restore(&mut self, state: ConsoleStateV1) {
        let ConsoleStateV1 { ports, control } = state;
        for (port, PortStateV1 { open, told_connected, sending }) in self.ports.iter_mut().zip(ports) {
            (port.open, port.told_connected) = (open, told_connected);
            port.sending = sending.and_then(|(chain, sent)| Some((Chain::restored(chain)?, sent)));
        }
        self.control = Control::restored(control);
    }
}
