//! What this program keeps with a recording.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_firmware::boot::{BootPlan, Content, MemoryWrite};
use trimotor_machine::{BootSource, HostServices};

/// Bytes of a file that are read at once.
const PIECE: usize = 1 << 20;

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptV1 {
    /// This program's version.
    pub version: String,
    /// The command line, without the program's name.
    pub arguments: Vec<String>,
    /// The folder in which it was given, for messages.
    pub folder: String,
    /// The saved machine that went on; otherwise one was switched on.
    pub restored: Option<FileSumV1>,
    /// What was booted.
    pub boot: BootV1,
}

/// A file by its size and a sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileSumV1 {
    bytes: u64,
    /// CRC-32 of all of it.
    sum: u32,
}

impl FileSumV1 {
    /// Of what is in the file now.
    ///
    /// # Errors
    /// The host's.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE]);
        let (mut bytes, mut sum) = (0, crc32fast::Hasher::new());
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(Self { bytes, sum: sum.finalize() }),
                Ok(read) => {
                    bytes += read as u64;
                    sum.update(&piece[..read]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a machine boots: a part each, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BootV1 {
    /// What is loaded; nothing where no plan was made, as a saved machine went on.
    plan: Option<Vec<PartV1>>,
    /// The firmware's ROM.
    rom: Option<PartV1>,
    /// ROMs of cards, and files that firmware finds.
    others: Vec<PartV1>,
}

/// A part of what is booted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct PartV1 {
    what: String,
    bytes: u64,
    /// CRC-32 of all of it.
    sum: u32,
}

impl PartV1 {
    fn new(what: impl Into<String>, bytes: &[u8]) -> Self {
        Self { what: what.into(), bytes: bytes.len() as u64, sum: crc32fast::hash(bytes) }
    }
    fn of_write(write: &MemoryWrite) -> Self {
        let what = format!("what is loaded at {:#x}", write.addr.0);
        match &write.content {
            Content::Bytes(bytes) => Self::new(what, bytes),
            Content::Zeros(bytes) => Self { what: what + " (zeros)", bytes: *bytes, sum: 0 },
        }
    }
    fn of_plan(plan: &BootPlan) -> Vec<Self> {
        let entry = format!("{:?}", plan.entry);
        let entry = Self::new("the state that the processor begins in", entry.as_bytes());
        plan.writes.iter().map(Self::of_write).chain([entry]).collect()
    }
}

impl BootV1 {
    /// What the host hands to the machine beside the plan and the ROM.
    pub fn of(services: &HostServices) -> Self {
        let video = PartV1::new("the video ROM", &services.vga_rom);
        let files = &services.firmware_files;
        let files = files.iter().map(|(name, bytes)| PartV1::new(format!("firmware's file {name}"), bytes));
        let roms = &services.option_roms;
        let roms = roms.iter().map(|(name, bytes)| PartV1::new(format!("the option ROM {name}"), bytes));
        Self { plan: None, rom: None, others: [video].into_iter().chain(files).chain(roms).collect() }
    }
}

/// How other parts differ from those that were recorded.
fn difference(then: &[PartV1], now: &[PartV1]) -> Option<String> {
    let pair = then.iter().zip(now).find(|(then, now)| then != now);
    let part = pair.map(|(then, _)| then).or_else(|| then.get(now.len())).or_else(|| now.get(then.len()))?;
    Some(format!(
        "what is booted differs from the recording in {}: it needs the same kernel, initrd, command line and firmware",
        part.what
    ))
}

/// Makes the boot plan, and sees what is in it.
pub struct Witness {
    source: Box<dyn BootSource>,
    /// What was seen so far.
    seen: Arc<Mutex<BootV1>>,
    /// What must be seen.
    recorded: Option<BootV1>,
}

/// What a [`Witness`] saw.
#[derive(Clone, Default)]
pub struct Testimony(Arc<Mutex<BootV1>>);

impl Witness {
    /// For a plan of `source`, beside what is in `services`; what was `recorded` must be the same.
    ///
    /// # Errors
    /// What is in `services` is not.
    pub fn new(
        source: Box<dyn BootSource>,
        services: &HostServices,
        recorded: Option<&BootV1>,
    ) -> Result<(Self, Testimony), String> {
        let now = BootV1::of(services);
        if let Some(recorded) = recorded
            && let Some(difference) = difference(&recorded.others, &now.others)
        {
            return Err(difference);
        }
        let seen = Arc::new(Mutex::new(now));
        Ok((Self { source, seen: seen.clone(), recorded: recorded.cloned() }, Testimony(seen)))
    }
    fn seen(&self) -> MutexGuard<'_, BootV1> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Testimony {
    /// What was seen so far.
    pub fn boot(&self) -> BootV1 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl BootSource for Witness {
    fn plan(&mut self) -> Result<BootPlan, String> {
        let plan = self.source.plan()?;
        let parts = PartV1::of_plan(&plan);
        if let Some(then) = self.recorded.as_ref().and_then(|recorded| recorded.plan.as_ref()) {
            difference(then, &parts).map_or(Ok(()), Err)?;
        }
        self.seen().plan.get_or_insert(parts);
        Ok(plan)
    }
    fn rom(&mut self) -> Result<Vec<u8>, String> {
        let rom = self.source.rom()?;
        let part = PartV1::new("the firmware", &rom);
        if let Some(then) = self.recorded.as_ref().and_then(|recorded| recorded.rom.as_ref()) {
            difference(std::slice::from_ref(then), std::slice::from_ref(&part)).map_or(Ok(()), Err)?;
        }
        self.seen().rom.get_or_insert(part);
        Ok(rom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_booted_differs_in_its_first_other_part() {
        let part = |what: &str, bytes: &[u8]| PartV1::new(what, bytes);
        let (a, b) = (part("a", b"1"), part("b", b"2"));
        let both = [a.clone(), b.clone()];
        assert_eq!(difference(&both, &both), None);
        for (now, says) in [
            (vec![a.clone(), part("b", b"3")], "in b"),
            (vec![a.clone()], "in b"),
            (vec![a, b, part("c", b"")], "in c"),
        ] {
            let told = difference(&both, &now).unwrap();
            assert!(told.contains(&format!("{says}:")), "{told}");
        }
    }
}
