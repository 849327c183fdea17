//! What the controller remembers, and what of it a saved state cannot say.

use crate::disk_work::Work;
use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Most bytes of a command, and of its result.
pub(super) const MOST_COMMAND: usize = 9;
const MOST_RESULT: usize = 10;
/// Most bytes that a command moves: a cylinder of 2.88 MB disks.
pub(super) const MOST_DATA: usize = 2 * 36 * 512;

/// Where a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Its bytes are taken.
    Command,
    /// A worker has a request, which completes at this time where time is counted.
    Executing { token: u64, due_ns: u64 },
    /// A reset waits for the request that a worker has.
    Draining { token: u64, due_ns: u64 },
    /// The host failed, and the machine pauses: the request is done again at this time.
    Stopped { retry_ns: u64 },
    /// The host reads bytes.
    DataIn,
    /// The host writes bytes.
    DataOut,
    /// The host reads the result.
    Result,
}

/// A drive's head and change line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// Where the controller takes it to be.
    pub(super) cylinder: u8,
    /// Where it is.
    pub(super) track: u8,
    pub(super) changed: bool,
    /// A seek under way: where to, and when it ends.
    pub(super) seek: Option<(u8, u64)>,
    /// Status 0 for SENSE INTERRUPT STATUS.
    pub(super) interrupt: Option<u8>,
}

impl Head {
    pub(super) const NEW: Head = Head { cylinder: 0, track: 0, changed: true, seek: None, interrupt: None };
}

/// The saved state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FloppyStateV1 {
    pub(super) output: u8,
    pub(super) tape: u8,
    /// Data rate, as the last two bits of the registers have it.
    pub(super) rate: u8,
    pub(super) phase: Phase,
    pub(super) command: Vec<u8>,
    pub(super) result: Vec<u8>,
    /// Bytes of the result that were read.
    pub(super) result_read: u8,
    pub(super) work: Work,
    pub(super) buffer: Vec<u8>,
    pub(super) position: u32,
    /// The DMA channel's count ran out.
    pub(super) terminal_count: bool,
    pub(super) heads: [Head; 4],
    /// When the end of a reset interrupts.
    pub(super) reset_ns: Option<u64>,
    /// A result waits, and interrupts.
    pub(super) result_interrupt: bool,
    pub(super) specify: [u8; 2],
    pub(super) configure: u8,
    pub(super) precompensation: u8,
    pub(super) perpendicular: u8,
    pub(super) lock: bool,
    pub(super) next_request: u64,
}

/// CONFIGURE: the FIFO is off.
pub(super) const FIFO_OFF: u8 = 0x20;
/// Digital output: not in reset.
pub(super) const NOT_RESET: u8 = 1 << 2;
/// The rate after a reset: 250 kbit/s.
const RESET_RATE: u8 = 2;

impl FloppyStateV1 {
    pub(super) fn new() -> Self {
        Self {
            output: 0,
            tape: 0,
            rate: RESET_RATE,
            phase: Phase::Command,
            command: Vec::new(),
            result: Vec::new(),
            result_read: 0,
            work: Work::Nothing,
            buffer: Vec::new(),
            position: 0,
            terminal_count: false,
            heads: [Head::NEW; 4],
            reset_ns: None,
            result_interrupt: false,
            specify: [0; 2],
            configure: FIFO_OFF,
            precompensation: 0,
            perpendicular: 0,
            lock: false,
            next_request: 0,
        }
    }
    /// Whether a controller can be so.
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "floppy controller", field, value });
        if self.command.len() > MOST_COMMAND || self.result.len() > MOST_RESULT {
            return refuse("command", format!("{} bytes", self.command.len()));
        }
        if usize::from(self.result_read) > self.result.len() {
            return refuse("result", self.result_read.to_string());
        }
        let (length, position) = (self.buffer.len(), self.position as usize);
        if length > MOST_DATA || position > length {
            return refuse("data", format!("{position} of {length} bytes"));
        }
        match self.phase {
            // One that is complete would have been carried out.
            Phase::Command if !super::commands::is_begun(&self.command) => {
                return refuse("command", format!("{:02x?}", self.command));
            }
            // The next command would be behind it.
            Phase::Draining { .. } if !self.command.is_empty() => {
                return refuse("command", format!("{:02x?} in a reset", self.command));
            }
            Phase::DataIn | Phase::DataOut if position == length || self.command.is_empty() => {
                return refuse("data", format!("{length} bytes"));
            }
            Phase::Result if usize::from(self.result_read) == self.result.len() => {
                return refuse("result", format!("{} bytes", self.result.len()));
            }
            Phase::Executing { token, .. } | Phase::Draining { token, .. } if token >= self.next_request => {
                return refuse("request", token.to_string());
            }
            Phase::Executing { .. } | Phase::Stopped { .. } if self.command.is_empty() => {
                return refuse("command", "none".to_owned());
            }
            _ => {}
        }
        match self.work {
            Work::Read { bytes, .. } if bytes as usize > MOST_DATA => {
                return refuse("request", format!("{bytes} bytes"));
            }
            Work::Verify { bytes, .. } if bytes > MOST_DATA as u64 => {
                return refuse("request", format!("{bytes} bytes"));
            }
            Work::Flush | Work::Trim | Work::Discard | Work::Zero { .. } => {
                return refuse("request", "of another controller".to_owned());
            }
            _ => {}
        }
        if self.rate > 3 || self.tape > 3 || self.next_request > u64::MAX >> 1 {
            return refuse("rate", self.rate.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_waits_lacks_bytes() {
        let with = |command: &[u8]| FloppyStateV1 { command: command.to_vec(), ..FloppyStateV1::new() };
        for begun in [&[][..], &[0x46], &[0x46, 0, 0, 0, 1, 2, 18, 27], &[0x03, 0xAF]] {
            assert_eq!(with(begun).check().map_err(|error| error.value), Ok(()), "{begun:02x?}");
        }
        // Complete ones, and one that the chip does not know.
        for impossible in [&[0x46, 0, 0, 0, 1, 2, 18, 27, 255][..], &[0x03, 0xAF, 2], &[0x08], &[0x1F]] {
            assert!(with(impossible).check().is_err(), "{impossible:02x?}");
        }
    }

    #[test]
    fn a_reset_that_waits_has_no_command() {
        let draining = FloppyStateV1 {
            phase: Phase::Draining { token: 0, due_ns: 0 },
            next_request: 1,
            ..FloppyStateV1::new()
        };
        assert_eq!(draining.check().map_err(|error| error.value), Ok(()));
        assert!(FloppyStateV1 { command: vec![0x46], ..draining }.check().is_err());
    }
}
