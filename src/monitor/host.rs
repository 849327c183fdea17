//! What commands of a monitor need of this program: images, pictures, forwards, reports.

use super::commit;
use crate::drives::{self, HostDrive};
use crate::report;
use crate::snapshots::{self, Files};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use trimotor_console::session::Leaver;
use trimotor_console::svg;
use trimotor_displays::picture_file;
use trimotor_machine::control::Counts;
use trimotor_machine::save::MachineStateV1;
use trimotor_machine::{Engine, Media, Medium, Shot};
use trimotor_monitor::Host;
use trimotor_monitor::host::{Opening, PictureFormat};
use trimotor_net::backend::PortForwards;
use trimotor_net::user::forward::HostForward;
use trimotor_net::{NetBackend, NetError};

/// Names that are offered for a file, at most.
const MOST_FILES: usize = 1000;

/// The program around a machine.
pub struct ProgramHost {
    /// Ends the run.
    pub leaver: Leaver,
    /// How many vCPUs there are.
    pub vcpus: usize,
    /// The drives.
    pub drives: Vec<HostDrive>,
    /// What is in them, by id, where that is a file.
    pub files: Files,
    /// The disks' images, which the machine has: they end with it.
    pub disks: commit::Disks,
    /// Another run's clones stand on these images too.
    pub is_clone: bool,
    /// Held by who saves the machine: one at a time, as each has a copy of the guest's memory.
    pub saving: Mutex<()>,
    /// The networks, which the machine has: they end with it.
    pub networks: Vec<(String, Weak<dyn NetBackend>)>,
    /// Where the guest can be seen from elsewhere.
    pub servers: Vec<String>,
}

impl ProgramHost {
    fn in_drives(&self) -> MutexGuard<'_, BTreeMap<String, PathBuf>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The networks that ports of the host can lead to.
    fn forwarding(&self) -> impl Iterator<Item = (&str, Arc<dyn NetBackend>)> {
        let networks =
            self.networks.iter().filter_map(|(id, network)| Some((id.as_str(), network.upgrade()?)));
        networks.filter(|(_, network)| network.port_forwards().is_some())
    }
    /// Lets `action` use the forwards of the network that is named, or of the only one that has some.
    fn with_forwards(
        &self,
        name: Option<&str>,
        action: impl FnOnce(&dyn PortForwards) -> Result<HostForward, NetError>,
    ) -> Result<HostForward, String> {
        let all: Vec<_> = self.forwarding().collect();
        let ids = || all.iter().map(|(id, _)| *id).collect::<Vec<_>>().join(", ");
        let chosen = match name {
            Some(name) => all.iter().find(|(id, _)| *id == name),
            None if all.len() > 1 => {
                return Err(format!("there are several networks: name one of {}", ids()));
            }
            None => all.first(),
        };
        let forwards = chosen.and_then(|(_, network)| network.port_forwards());
        let Some(forwards) = forwards else {
            return Err(match (name, all.is_empty()) {
                (_, true) => "there is no user-mode network (--nic user makes one)".to_owned(),
                (name, false) => {
                    format!(
                        "there is no user-mode network {:?}: there are {}",
                        name.unwrap_or_default(),
                        ids()
                    )
                }
            });
        };
        action(forwards).map_err(|error| error.to_string())
    }
}

impl Host for ProgramHost {
    fn leave(&self) {
        self.leaver.leave();
    }
    fn version(&self) -> String {
        format!("Trimotor {}", env!("CARGO_PKG_VERSION"))
    }
    fn vcpus(&self) -> usize {
        self.vcpus
    }
    fn removable_drives(&self) -> Vec<String> {
        let removable = self.drives.iter().filter(|drive| drive.config.media != Media::Disk);
        removable.map(|drive| drive.config.id.clone()).collect()
    }
    fn networks(&self) -> Vec<String> {
        self.networks.iter().map(|(id, _)| id.clone()).collect()
    }
    fn file_in(&self, drive: &str) -> Option<String> {
        self.in_drives().get(drive).map(|file| file.display().to_string())
    }
    fn open_medium(&self, drive: &str, opening: &Opening<'_>) -> Result<Medium, String> {
        let Some(found) = self.drives.iter().find(|known| known.config.id == drive) else {
            let known = self.removable_drives();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("there is no drive {drive:?}; there are {known}"));
        };
        if found.config.media == Media::Disk {
            return Err(format!("drive {drive:?} is a hard disk: its medium stays"));
        }
        let format = opening.format.map(str::parse).transpose()?;
        drives::open_other(found, opening.file, format, opening.read_only).map_err(|error| error.to_string())
    }
    fn medium_changed(&self, drive: &str, file: Option<&Path>) {
        match file {
            Some(file) => _ = self.in_drives().insert(drive.to_owned(), file.to_owned()),
            None => _ = self.in_drives().remove(drive),
        }
    }
    fn write_picture(&self, shot: &Shot, file: &Path, format: PictureFormat) -> Result<(), String> {
        let contents = match (format, &shot.text) {
            (PictureFormat::Png, _) => picture_file::png(&shot.picture),
            (PictureFormat::Ppm, _) => picture_file::ppm(&shot.picture),
            (PictureFormat::Svg, Some(text)) => svg::draw(text).into_bytes(),
            (PictureFormat::Text, Some(text)) => text.text().into_bytes(),
            (PictureFormat::Svg | PictureFormat::Text, None) => {
                return Err("the guest shows graphics, no text: png and ppm have pictures".to_owned());
            }
        };
        fs::write(file, contents).map_err(|error| format!("{}: {error}", file.display()))
    }
    fn save(
        &self,
        file: &Path,
        mapped: bool,
        save: &mut dyn FnMut() -> Result<Box<MachineStateV1>, String>,
    ) -> Result<(), String> {
        let Ok(_alone) = self.saving.try_lock() else {
            return Err("the machine is being saved already: try again when that is done".to_owned());
        };
        snapshots::save(file, mapped, save)
    }
    fn commit(&self, drive: Option<&str>) -> Result<String, String> {
        if self.is_clone {
            return Err(
                "the machine is a clone, and what its disks stand on is that of all clones".to_owned()
            );
        }
        let disks = self.drives.iter().filter(|known| known.config.media == Media::Disk);
        let mut wanted: Vec<_> = disks.filter(|known| drive.is_none_or(|id| known.config.id == id)).collect();
        if let (Some(id), true) = (drive, wanted.is_empty()) {
            return Err(format!("there is no disk {id:?} (`info block` lists them)"));
        }
        if drive.is_none() {
            wanted.retain(|known| commit::base_of(known, &self.disks).is_ok());
        }
        let mut done = Vec::new();
        for known in wanted {
            let below = commit::drive(known, &self.disks)?;
            done.push(format!("{}: committed to {}", known.config.id, below.display()));
        }
        if done.is_empty() {
            return Err("no disk stands on another image: there is nothing to commit".to_owned());
        }
        Ok(done.join("\n"))
    }
    fn add_forward(&self, network: Option<&str>, forward: &str) -> Result<String, String> {
        let forward: HostForward = forward.parse().map_err(|error: NetError| error.to_string())?;
        let added = self.with_forwards(network, |forwards| forwards.add(forward))?;
        Ok(format!("forwards {added}"))
    }
    fn remove_forward(&self, network: Option<&str>, place: &str) -> Result<String, String> {
        let (transport, place) = HostForward::parse_host(place).map_err(|error| error.to_string())?;
        let removed = self.with_forwards(network, |forwards| forwards.remove(transport, place))?;
        Ok(format!("forwards no more {removed}"))
    }
    fn user_networks(&self) -> Vec<(String, String)> {
        self.forwarding().map(|(id, network)| (id.to_owned(), network.info())).collect()
    }
    fn servers(&self) -> Vec<String> {
        self.servers.clone()
    }
    fn engine_report(&self, engine: Engine, counts: &[Counts], exits: bool) -> String {
        if exits { report::exits(engine, counts) } else { report::every(engine, counts) }
    }
    fn files(&self, start: &str) -> Vec<String> {
        let (folder, name) = start.split_at(start.rfind('/').map_or(0, |at| at + 1));
        let Ok(entries) = fs::read_dir(if folder.is_empty() { "." } else { folder }) else {
            return Vec::new();
        };
        let fitting = entries.take(10 * MOST_FILES).filter_map(|entry| {
            let entry = entry.ok()?;
            let found = entry.file_name().into_string().ok()?;
            let is_hidden = found.starts_with('.') && !name.starts_with('.');
            if !found.starts_with(name) || is_hidden {
                return None;
            }
            let end = if entry.path().is_dir() { "/" } else { "" };
            Some(format!("{folder}{found}{end}"))
        });
        fitting.take(MOST_FILES).collect()
    }
}
