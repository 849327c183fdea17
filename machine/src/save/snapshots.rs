//! Snapshots of a machine with its disks: the machine's state stands beside the snapshots that the disks' images have in
//! themselves (qcow2).
//!
//! Each disk that can be written has a snapshot of the same name and date; the first one has the machine with it, as the
//! bytes of a file ([`super::file`]). It is made last, so that where it is there, the others are too; a moment is known by
//! date and guest time, so that what does not belong together is told.
//!
//! A machine that goes back is the same one: its devices are reset and take the saved states, its vCPUs are made anew. All that can be
//! wrong with a snapshot is found before anything is changed, but for a state that a device refuses although the
//! checksums hold: then the machine starts over, on the disks of the snapshot, and stands still.

use super::file::SavedMachine;
use super::{MachineStateV1, clear_memory, firmware_rom};
use crate::config::{ClockSource, MachineConfig};
use crate::control::Command;
use crate::generation::without_ids;
use crate::machine::{Machine, MachineError, make_vcpus, start};
use std::fmt::Write;
use std::io::BufReader;
use std::time::Duration;
use trimotor_devices::drive::Medium;
use trimotor_snapshot::FormatError;
use trimotor_storage::qcow2::{NewSnapshot, Qcow2, Snapshot, date};

/// Bytes of a snapshot that are read at once.
const PIECE: usize = 1 << 20;

/// A disk that goes with snapshots.
struct Disk {
    /// The drive's id.
    id: String,
    medium: Medium,
}

impl Disk {
    fn image(&self) -> Result<&Qcow2, String> {
        self.medium.as_qcow2().ok_or_else(|| {
            format!(
                "drive {} can be written, and its image cannot have snapshots: only qcow2 has them (trimotor img convert -O qcow2 \
                 makes one; readonly=on leaves a drive out)",
                self.id
            )
        })
    }
    fn failed(&self, error: &dyn std::fmt::Display) -> String {
        format!("drive {}: {error}", self.id)
    }
    /// The snapshot of this name, or else of this id.
    fn find(&self, name: &str) -> Result<Option<Snapshot>, String> {
        let all = self.image()?.snapshots().map_err(|error| self.failed(&error))?;
        let by = |matches: &dyn Fn(&&Snapshot) -> bool| all.iter().find(matches).cloned();
        Ok(by(&|snapshot| snapshot.name == name).or_else(|| by(&|snapshot| snapshot.id == name)))
    }
}

impl Machine {
    /// Goes back to a snapshot of its disks, as the monitor's `loadvm` does.
    ///
    /// # Errors
    /// There is none of this name, it is another machine's, or it is damaged: what, and what would help.
    pub fn load_snapshot(&mut self, name: &str) -> Result<(), String> {
        let done = self.stand_still().while_time_stands(|machine| machine.go_back(name));
        // Nothing was looked up yet.
        self.went_back = false;
        done
    }
    /// Carries out a command about snapshots.
    pub(crate) fn obey_snapshots(&mut self, command: &Command) -> Result<String, String> {
        match command {
            Command::SaveSnapshot(name) => self.make_snapshot(name.as_deref()),
            Command::LoadSnapshot(name) => self.go_back(name).map(|()| String::new()),
            Command::DeleteSnapshot(name) => self.delete_snapshot(name),
            _ => self.list_snapshots(),
        }
    }
    /// All disks that can be written; there is one, and all are qcow2 images.
    fn snapshot_disks(&self) -> Result<Vec<Disk>, String> {
        let disk = |drive: &trimotor_devices::drive::Drive| {
            let medium = drive.medium().filter(|medium| !medium.limits().read_only)?;
            Some(Disk { id: drive.config().id.clone(), medium })
        };
        let disks: Vec<_> = self.board.drives().filter_map(disk).collect();
        if disks.is_empty() {
            return Err("snapshots are kept in disks, and the machine has no disk that can be written: `save FILE` keeps it in \
                        a file"
                .to_owned());
        }
        disks.iter().try_for_each(|disk| disk.image().map(drop))?;
        Ok(disks)
    }

    /// Makes a snapshot. What there is to say.
    fn make_snapshot(&mut self, name: Option<&str>) -> Result<String, String> {
        let disks = self.snapshot_disks()?;
        let state = self.save_settled()?;
        let now = self.host_state.as_ref().map_or(Duration::ZERO, |host| host.since_1970());
        let counted = self.config.clock == ClockSource::Instructions;
        let new = NewSnapshot {
            name: name.map_or_else(|| own_name(now), str::to_owned),
            seconds: now.as_secs() as u32,
            nanoseconds: now.subsec_nanos(),
            vm_clock_ns: self.board.clock.latest().ns(),
            vm_state_bytes: 0,
            instructions: counted.then(|| self.instructions()),
            replaces: true,
        };
        let Some((first, others)) = disks.split_first() else { return Ok(String::new()) };
        let vm_state_bytes = write_state(first.image()?, &state).map_err(|error| first.failed(&error))?;
        for disk in others {
            disk.image()?.create_snapshot(&new).map_err(|error| disk.failed(&error))?;
        }
        let with_machine = NewSnapshot { vm_state_bytes, ..new.clone() };
        first.image()?.create_snapshot(&with_machine).map_err(|error| first.failed(&error))?;
        // The images say no longer that they are in use, until the guest writes.
        self.settle_drives()?;
        Ok(if name.is_none() { format!("snapshot {}", new.name) } else { String::new() })
    }

    fn delete_snapshot(&self, name: &str) -> Result<String, String> {
        let disks = self.snapshot_disks()?;
        let mut deleted = 0;
        for disk in &disks {
            if disk.find(name)?.is_some() {
                disk.image()?.delete_snapshot(name).map_err(|error| disk.failed(&error))?;
                deleted += 1;
            }
        }
        match deleted {
            0 => Err(unknown(name)),
            _ => Ok(String::new()),
        }
    }

    /// The snapshots as a table, and which disks have those that not all have.
    fn list_snapshots(&self) -> Result<String, String> {
        let disks = self.snapshot_disks()?;
        let mut all: Vec<(Snapshot, Vec<&str>)> = Vec::new();
        for disk in &disks {
            for found in disk.image()?.snapshots().map_err(|error| disk.failed(&error))? {
                match all.iter_mut().find(|(known, _)| is_same_moment(known, &found)) {
                    Some((known, on)) => {
                        known.vm_state_bytes = known.vm_state_bytes.max(found.vm_state_bytes);
                        on.push(&disk.id);
                    }
                    None => all.push((found, vec![&disk.id])),
                }
            }
        }
        if all.is_empty() {
            return Ok("there is no snapshot (savevm makes one)".to_owned());
        }
        let mut out = format!(
            "{:<5} {:<24} {:>10}  {:<20} {:>14}",
            "ID", "NAME", "MACHINE", "MADE (UTC)", "GUEST TIME"
        );
        for (snapshot, on) in &all {
            let machine = match snapshot.vm_state_bytes {
                0 => "-".to_owned(),
                bytes => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            };
            let (made, clock) = (snapshot.made(), snapshot.vm_clock_ns as f64 / 1e9);
            let name: String = snapshot.name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            _ = write!(out, "\n{:<5} {name:<24} {machine:>10}  {made:<20} {clock:>12.3} s", snapshot.id);
            if on.len() < disks.len() {
                _ = write!(out, "  on {} only", on.join(", "));
            }
        }
        Ok(out)
    }
}

/// Going back.
impl Machine {
    fn go_back(&mut self, name: &str) -> Result<(), String> {
        if self.intake.is_logged() {
            return Err("the run is being recorded, and a recording knows no way back".to_owned());
        }
        let disks = self.snapshot_disks()?;
        let (with_machine, found) = snapshots_on(&disks, name)?;
        let state = read_state(&disks[with_machine], &found[with_machine])?;
        self.check_fits(&state)?;
        self.settle_drives()?;
        self.board.completions.forget();
        for (disk, snapshot) in disks.iter().zip(&found) {
            if let Err(error) = disk.image()?.apply_snapshot(&snapshot.name) {
                return Err(self.start_over_and_wait(&disk.failed(&error)));
            }
        }
        self.go_on_from(state).map_err(|error| self.start_over_and_wait(&error))
    }
    /// Sees that this machine could be in that state.
    fn check_fits(&self, state: &MachineStateV1) -> Result<(), String> {
        let text = |error: MachineError| error.to_string();
        state.model.check(&self.model).map_err(text)?;
        if let Some(differs) = difference(&state.config, &self.config) {
            return Err(format!("the snapshot is another machine's: {differs}"));
        }
        if state.rom != firmware_rom(&self.board.memory) {
            return Err("the firmware ROM is another one than when the snapshot was made: start with the same firmware and build"
                .to_owned());
        }
        match &self.host_state {
            Some(host) => host.check(&state.host),
            None => Ok(()),
        }
    }
    /// Has the machine be in that state, whatever it was in.
    fn go_on_from(&mut self, state: MachineStateV1) -> Result<(), String> {
        let text = |error: MachineError| error.to_string();
        // vCPUs first: what they keep of memory must not outlive it.
        let mut backend = start(self.engine, &self.engine_options).map_err(text)?;
        let (memory, signals) = (&self.board.memory, &self.board.signals);
        let mut vcpus =
            make_vcpus(&mut *backend, self.config.clock, &self.model, memory, signals).map_err(text)?;
        for (new, old) in vcpus.iter_mut().zip(&self.vcpus) {
            new.take_over_stops(old, &self.debugging);
        }
        let generation = self.generation_id();
        self.keep_counts();
        self.vcpus = vcpus;
        self.board.reset();
        clear_memory(&self.board.memory);
        self.take(state, |_| Ok(())).map_err(text)?;
        self.begin_generation_after(generation);
        self.finish_instruction = false;
        self.published_screen = None;
        self.went_back = true;
        Ok(())
    }
    /// The disks are those of a snapshot, and the machine cannot be its machine.
    fn start_over_and_wait(&mut self, why: &str) -> String {
        self.stand_still().set_paused(true);
        let reset = self.stand_still().reset();
        self.went_back = true;
        let and = match reset {
            Ok(()) => "it was reset, and stands still: `cont` has it boot".to_owned(),
            Err(error) => format!("it stands still, and cannot start over: {error}"),
        };
        format!("{why}; some disks may be as at the snapshot, and the guest cannot go on with them: {and}")
    }
}

fn unknown(name: &str) -> String {
    format!("there is no snapshot {name:?} (`info snapshots` lists them)")
}
/// A name for a snapshot that got none.
fn own_name(now: Duration) -> String {
    let digits: String = date(now.as_secs()).chars().filter(char::is_ascii_digit).collect();
    format!("vm-{digits}")
}
/// Whether two snapshots were made at the same moment, under the same name.
fn is_same_moment(one: &Snapshot, other: &Snapshot) -> bool {
    let moment = |snapshot: &Snapshot| (snapshot.seconds, snapshot.nanoseconds, snapshot.vm_clock_ns);
    one.name == other.name && moment(one) == moment(other)
}

/// The snapshot of this name on each of the disks, and which one has the machine.
fn snapshots_on(disks: &[Disk], name: &str) -> Result<(usize, Vec<Snapshot>), String> {
    let on_each = disks.iter().map(|disk| disk.find(name)).collect::<Result<Vec<_>, _>>()?;
    if on_each.iter().all(Option::is_none) {
        return Err(unknown(name));
    }
    let has_machine = |found: &Option<Snapshot>| found.as_ref().is_some_and(|found| found.vm_state_bytes > 0);
    let Some(at) = on_each.iter().position(has_machine) else {
        return Err(format!(
            "snapshot {name:?} is one of disks, without a machine: `trimotor img snapshot -a` has a disk go back to it while no \
             machine has it"
        ));
    };
    let machine = on_each[at].clone();
    let mut found = Vec::new();
    for (disk, snapshot) in disks.iter().zip(on_each) {
        let Some(snapshot) = snapshot else {
            return Err(format!(
                "drive {} has no snapshot {name:?}, and the machine goes with all its disks",
                disk.id
            ));
        };
        if machine.as_ref().is_some_and(|machine| !is_same_moment(machine, &snapshot)) {
            return Err(format!(
                "snapshot {name:?} of drive {} is of another moment ({})",
                disk.id,
                snapshot.made()
            ));
        }
        if snapshot.disk_bytes.is_some_and(|bytes| bytes != disk.medium.size()) {
            return Err(format!(
                "drive {} has another size than when snapshot {name:?} was made: trimotor img resize, or img snapshot -a, while \
                 no machine has it",
                disk.id
            ));
        }
        found.push(snapshot);
    }
    Ok((at, found))
}

/// Writes a machine beside the snapshot that is made next. How many bytes it has.
fn write_state(image: &Qcow2, state: &MachineStateV1) -> Result<u64, String> {
    let out = image.write_vm_state().map_err(|error| error.to_string())?;
    let out = state.write_to(out).map_err(|error| error.to_string())?;
    out.finish().map_err(|error| error.to_string())
}
/// Reads the machine beside a snapshot, all of it.
fn read_state(disk: &Disk, snapshot: &Snapshot) -> Result<MachineStateV1, String> {
    let failed = |error: FormatError| match error {
        FormatError::NoMachine => {
            format!(
                "snapshot {:?}: the machine beside it was saved by another program, or by none",
                snapshot.name
            )
        }
        error => disk.failed(&format!("snapshot {:?}: {error}", snapshot.name)),
    };
    let reader = disk.image()?.read_vm_state(snapshot).map_err(|error| disk.failed(&error))?;
    let saved = SavedMachine::read(BufReader::with_capacity(PIECE, reader)).map_err(failed)?;
    saved.into_state().map_err(failed)
}

/// In what a saved machine is another one than this, in a line.
fn difference(saved: &MachineConfig, this: &MachineConfig) -> Option<String> {
    let differs = |what: &str, saved: &dyn std::fmt::Debug, this: &dyn std::fmt::Debug| {
        let (saved, this) = (format!("{saved:?}"), format!("{this:?}"));
        (saved != this).then(|| format!("{what}: it has {}, and this one {}", cut(&saved), cut(&this)))
    };
    let named =
        |config: &MachineConfig| config.devices.iter().map(|device| device.kind.clone()).collect::<Vec<_>>();
    let ids = |config: &MachineConfig| config.drives.iter().map(|drive| drive.id.clone()).collect::<Vec<_>>();
    differs("memory in bytes", &saved.memory_bytes, &this.memory_bytes)
        .or_else(|| differs("vCPUs", &saved.cpus, &this.cpus))
        .or_else(|| differs("guest time", &saved.clock, &this.clock))
        .or_else(|| differs("devices", &named(saved), &named(this)))
        .or_else(|| differs("devices", &without_ids(&saved.devices), &without_ids(&this.devices)))
        .or_else(|| differs("devices left out", &saved.without, &this.without))
        .or_else(|| differs("drives", &ids(saved), &ids(this)))
        .or_else(|| differs("drives", &saved.drives, &this.drives))
}
/// A text for a message.
fn cut(text: &str) -> String {
    const MOST: usize = 300;
    text.chars().take(MOST).collect()
}
