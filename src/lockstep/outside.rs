//! What comes to two machines from networks: recorded where it comes, replayed where they begin again.

use crate::args::LockstepArgs;
use crate::error::Failure;
use crate::networks::{self, Networks};
use crate::note::note;
use crate::run;
use crate::snapshots::NewFile;
use anyhow::Context;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use trimotor_machine::events::{MemoryLog, TakenEvent, read_events, write_events};
use trimotor_machine::{BootConfig, DeviceConfig};
use trimotor_snapshot::FormatError;

/// The networks, and the log of what comes from them.
pub struct Outside {
    /// What the first machine is connected to, and the cards of both.
    pub networks: Networks,
    /// What came; `None` where nothing can.
    pub log: Option<MemoryLog>,
    /// Where it goes, if that was said.
    record: Option<(NewFile, PathBuf)>,
    replays: bool,
}

impl Outside {
    /// Opens what the options name. `devices` are those of the machines, apart from cards that network options make.
    ///
    /// # Errors
    /// An option or a file that cannot be used; the message names it.
    pub fn open(
        args: &LockstepArgs,
        devices: &[DeviceConfig],
        boot: Option<&BootConfig>,
    ) -> Result<Self, Failure> {
        let options = &args.run.machine;
        let machine = networks::Machine {
            devices,
            boots_from_drives: boot.is_some(),
            boots_from_network: boot.is_some_and(run::tries_network),
            counted: true,
            identity: run::identity(options, args.run.image.as_deref()),
        };
        if let Some(path) = &args.run.replay {
            let log = Some(MemoryLog::of(read(path)?));
            let networks = networks::cards_only(&options.networks, &machine)?;
            return Ok(Self { networks, log, record: None, replays: true });
        }
        let networks = networks::open(&options.networks, &machine)?;
        let create = |path: &PathBuf| match NewFile::create(path) {
            Ok(file) => Ok((file, path.clone())),
            Err(error) => Err(Failure::bad(format!("--record {}: {error}", path.display()))),
        };
        let record = args.run.record.as_ref().map(create).transpose()?;
        let log = (record.is_some() || !networks.backends.is_empty()).then(MemoryLog::default);
        Ok(Self { networks, log, record, replays: false })
    }
    /// Writes down what came, where that was asked for, or where it takes the same again to see a difference. Returns the file.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn keep(self, different: bool) -> Result<Option<PathBuf>, Failure> {
        let Some(log) = self.log.filter(|_| !self.replays && (different || self.record.is_some())) else {
            return Ok(None);
        };
        let (file, path) = match self.record {
            Some(record) => record,
            None => {
                let path = std::env::temp_dir().join(format!("trimotor-lockstep-{}", std::process::id()));
                (NewFile::create(&path).with_context(|| path.display().to_string())?, path)
            }
        };
        let failed = || format!("{}: what came from the networks is lost", path.display());
        let events = log.events();
        write_events(BufWriter::new(file.file()), &events)
            .map_err(anyhow::Error::new)
            .and_then(|out| out.into_inner().map(drop).map_err(|error| anyhow::anyhow!("{error}")))
            .and_then(|()| Ok(file.keep()?))
            .with_context(failed)?;
        note(format_args!("trimotor: {} has what came from the networks", path.display()));
        Ok(Some(path))
    }
}

fn read(path: &Path) -> Result<Vec<TakenEvent>, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::bad(format!("--replay {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let none = "it has no events: lockstep --record FILE makes a file that has";
    let events = read_events(BufReader::new(file)).map_err(|error| match error {
        FormatError::NoMachine => failed(&none),
        error => failed(&error),
    })?;
    if events.is_empty() {
        return Err(failed(&none));
    }
    Ok(events)
}
