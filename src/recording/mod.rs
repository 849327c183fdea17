//! `trimotor run --record FILE` and `--replay FILE`: a run is written down, and run again.
//!
//! | part | file |
//! |---|---|
//! | what this program keeps with a recording: its command line, and sums of what was booted | [`kept`] |
//! | the file while it is written | [`recorder`] |
//! | which options count for a replay, and whether the machine is the one that was recorded | [`replay`] |
//! | networks of a machine whose outside is shut | [`shut`] |
//!
//! The file is that of `machine/src/events/recording_file.rs`.

mod kept;
mod recorder;
pub mod replay;
mod shut;

use crate::error::Failure;
use kept::Witness;
pub use kept::{FileSumV1, Testimony};
pub use recorder::RecordingFile;
pub use replay::Replay;
use trimotor_machine::{BootSource, HostServices};

/// What becomes of what comes from outside.
pub enum Outside {
    /// It reaches the guest.
    Taken,
    /// It is written down too.
    Recorded(RecordingFile),
    /// It comes from a recording.
    Replayed(Box<Replay>),
}

impl Outside {
    /// Has a run that is recorded or replayed watched for what it boots, from `boot` and what is in `services`; a run that is neither has
    /// nothing summed up.
    ///
    /// # Errors
    /// It is not what was recorded.
    pub fn witness(
        &self,
        boot: Box<dyn BootSource>,
        services: &HostServices,
    ) -> Result<(Box<dyn BootSource>, Testimony), Failure> {
        let (witness, seen) = match self {
            Self::Taken => return Ok((boot, Testimony::default())),
            Self::Recorded(_) => Witness::new(boot, services, None).map_err(Failure::bad)?,
            Self::Replayed(replay) => replay.witness(boot, services)?,
        };
        Ok((Box::new(witness), seen))
    }
    /// The recording that is replayed.
    pub fn replay(&self) -> Option<&Replay> {
        match self {
            Self::Replayed(replay) => Some(replay),
            Self::Taken | Self::Recorded(_) => None,
        }
    }
}
