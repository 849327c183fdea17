//! Frames on their way from networks to cards.

use super::{ExternalEvent, Intake};
use crate::board::Board;
use crate::clock::TimeSource;
use crate::network_line::NetworkLine;
use crate::registry::DeviceId;
use trimotor_net::Frame;

/// Frames that a card gets between two looks at it at most, so that its guest, and what else the machine's thread does, is
/// not kept waiting for long.
const FRAMES_PER_LOOK: usize = 64;
/// The same in bytes: a tenth of a millisecond of copying.
const BYTES_PER_LOOK: usize = 1 << 20;

impl Intake {
    /// Gives network cards what has come for them, as far as they have room. While a log is replayed, nothing comes.
    pub(crate) fn take_frames(&mut self, board: &Board, time: &mut TimeSource<'_>) {
        self.more_frames = false;
        if self.replays() {
            return;
        }
        for line in board.networks.lines() {
            if let Some(connected) = line.carrier_change() {
                let device = board.devices.name(line.device()).to_owned();
                board.set_carrier(&device, connected, time);
                self.note(time.latest(), || ExternalEvent::Carrier { device, connected });
            }
            self.more_frames |= self.take_frames_of(line, board, time);
        }
    }
    /// Whether a card had room for more than it got at one look: the next one must come soon.
    pub(crate) fn has_more_frames(&self) -> bool {
        self.more_frames
    }
    /// Returns whether more may be waiting that the card has room for.
    fn take_frames_of(&mut self, line: &NetworkLine, board: &Board, time: &mut TimeSource<'_>) -> bool {
        let mut bytes = 0;
        for _ in 0..FRAMES_PER_LOOK {
            if bytes >= BYTES_PER_LOOK {
                break;
            }
            let device = || board.devices.name(line.device()).to_owned();
            match board.give_next_frame(line, time) {
                Given::Taken(frame) => {
                    bytes += frame.bytes.len();
                    self.note(time.latest(), || ExternalEvent::Frame { device: device(), frame });
                }
                Given::NoRoom(frame) => {
                    self.note(time.latest(), || ExternalEvent::NoRoom { device: device(), frame });
                    return false;
                }
                Given::NoRoomAgain => {
                    self.note(time.latest(), || ExternalEvent::NoRoomAgain { device: device() });
                    return false;
                }
                Given::Nothing => return false,
            }
        }
        true
    }
}

/// What became of the next frame.
enum Given {
    /// The card has it.
    Taken(Frame),
    /// The card has no room, and tells when it has: for this frame, which it tried, or for any.
    NoRoom(Option<Frame>),
    /// It tried the same frame as the last time, and has no room.
    NoRoomAgain,
    /// There is no frame.
    Nothing,
}

impl Board {
    /// Gives a card the next frame of its network.
    fn give_next_frame(&self, line: &NetworkLine, time: &mut TimeSource<'_>) -> Given {
        let mut device = self.devices.lock(line.device());
        let now = time.now();
        let Some(card) = device.network_card() else { return Given::Nothing };
        let Some((frame, tried)) = line.next_frame() else { return Given::Nothing };
        // Being asked, and trying a frame, may change what the card shows its driver, each time: each time is told.
        if !card.has_room() {
            line.wait_for_room(true);
            line.put_back(frame, tried);
            return Given::NoRoom(None);
        }
        if !card.receive(&frame, now) {
            line.wait_for_room(true);
            let refused = (!tried).then(|| frame.clone());
            line.put_back(frame, true);
            return refused.map_or(Given::NoRoomAgain, |frame| Given::NoRoom(Some(frame)));
        }
        line.wait_for_room(false);
        self.refresh(line.device(), &mut device);
        Given::Taken(frame)
    }
    /// Asks a card whether it has room, where it had none when a log was kept. Returns whether it has none.
    pub(super) fn replay_no_room(
        &self,
        device: &str,
        frame: Option<&Frame>,
        time: &mut TimeSource<'_>,
    ) -> bool {
        let Some(id) = self.devices.find(device) else { return false };
        let mut device = self.devices.lock(id);
        let now = time.now();
        let Some(card) = device.network_card() else { return false };
        match (card.has_room(), frame) {
            (true, Some(frame)) => {
                if let Some(line) = self.line_of(id) {
                    line.put_back(frame.clone(), true);
                }
                !card.receive(frame, now)
            }
            (has_room, None) => !has_room,
            (false, Some(_)) => false,
        }
    }
    /// The same with the frame that was tried last.
    pub(super) fn replay_no_room_again(&self, device: &str, time: &mut TimeSource<'_>) -> bool {
        let tried = self.devices.find(device).and_then(|id| self.line_of(id)).and_then(NetworkLine::tried);
        tried.is_some_and(|frame| self.replay_no_room(device, Some(&frame), time))
    }
    /// Gives a card a frame that a log has for it. Returns whether it took it.
    pub(super) fn replay_frame(&self, device: &str, frame: &Frame, time: &mut TimeSource<'_>) -> bool {
        let Some(id) = self.devices.find(device) else { return false };
        let mut device = self.devices.lock(id);
        let now = time.now();
        let taken = device.network_card().is_some_and(|card| card.has_room() && card.receive(frame, now));
        if let Some(line) = self.line_of(id) {
            line.forget_waiting();
        }
        self.refresh(id, &mut device);
        taken
    }
    /// Tells a card that its cable's other end was connected, or disconnected.
    pub(super) fn set_carrier(&self, device: &str, connected: bool, time: &mut TimeSource<'_>) {
        let Some(id) = self.devices.find(device) else { return };
        if let Some(line) = self.line_of(id) {
            line.set_carrier(connected);
        }
        let mut device = self.devices.lock(id);
        let now = time.now();
        if let Some(card) = device.network_card() {
            card.carrier(connected, now);
        }
        self.refresh(id, &mut device);
    }
    fn line_of(&self, device: DeviceId) -> Option<&NetworkLine> {
        self.networks.lines().iter().find(|line| line.device() == device)
    }
}
