//! What the program does for a monitor: files, networks, displays.

use std::path::Path;
use trimotor_machine::control::Counts;
use trimotor_machine::save::MachineStateV1;
use trimotor_machine::{Engine, Medium, Shot};

/// What a file that shows the screen has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PictureFormat {
    /// PNG.
    Png,
    /// PPM, the raw form.
    Ppm,
    /// The text screen as text.
    Text,
    /// The text screen as SVG.
    Svg,
}

impl PictureFormat {
    /// The names of formats.
    pub const NAMES: &'static [&'static str] = &["png", "ppm", "txt", "svg"];
    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "png" => Self::Png,
            "ppm" => Self::Ppm,
            "txt" => Self::Text,
            "svg" => Self::Svg,
            _ => return None,
        })
    }
    /// The format that a file's name asks for: PPM where it says nothing, as QEMU has it.
    pub fn of_file(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.and_then(Self::named).unwrap_or(Self::Ppm)
    }
}

/// How a medium is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its format; what it looks like, where nothing is said.
    pub format: Option<&'a str>,
    /// Whether it is written; what suits drive and file, where nothing is said.
    pub read_only: Option<bool>,
}

/// The program around the machine. Methods may wait for the host: they are called on the threads of monitors.
pub trait Host: Send + Sync {
    /// Ends the run, as a person does who leaves.
    fn leave(&self);
    /// What this program is, and its version.
    fn version(&self) -> String;
    /// How many vCPUs there are.
    fn vcpus(&self) -> usize;
    /// The ids of drives whose media may change.
    fn removable_drives(&self) -> Vec<String>;
    /// The ids of networks.
    fn networks(&self) -> Vec<String>;
    /// The file that is in a drive, as far as that is known.
    fn file_in(&self, drive: &str) -> Option<String>;
    /// Opens a medium for a drive.
    ///
    /// # Errors
    /// What is wrong with the drive or the file, and what would be right.
    fn open_medium(&self, drive: &str, opening: &Opening<'_>) -> Result<Medium, String>;
    /// This file is in the drive from now on, or none.
    fn medium_changed(&self, drive: &str, file: Option<&Path>);
    /// Writes what the screen shows into a file.
    ///
    /// # Errors
    /// The host cannot, or the screen has no such form.
    fn write_picture(&self, shot: &Shot, file: &Path, format: PictureFormat) -> Result<(), String>;
    /// Puts the machine, which `save` takes to a value, into a file, whose memory clones may map where it is `mapped`.
    ///
    /// # Errors
    /// The machine cannot be saved, or the host cannot write: a file that was there is still there.
    fn save(
        &self,
        file: &Path,
        mapped: bool,
        save: &mut dyn FnMut() -> Result<Box<MachineStateV1>, String>,
    ) -> Result<(), String>;
    /// Writes what a drive's image has itself into the image that it stands on, for one drive or all that can; says which.
    ///
    /// # Errors
    /// There is nothing to be written, or the host cannot: the drive has its content all the same.
    fn commit(&self, drive: Option<&str>) -> Result<String, String>;
    /// Has a port of the host lead to the guest; says which.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    fn add_forward(&self, network: Option<&str>, forward: &str) -> Result<String, String>;
    /// Ends that; says what is ended.
    ///
    /// # Errors
    /// There is none such; which there are.
    fn remove_forward(&self, network: Option<&str>, place: &str) -> Result<String, String>;
    /// The user-mode networks by id, and how each is doing.
    fn user_networks(&self) -> Vec<(String, String)>;
    /// Where the guest can be seen and used from elsewhere, in lines.
    fn servers(&self) -> Vec<String>;
    /// What the engine counted, in lines: what matters, or why translated code was left.
    fn engine_report(&self, engine: Engine, counts: &[Counts], exits: bool) -> String;
    /// Files and folders whose paths begin with `start`; folders end in a slash.
    fn files(&self, start: &str) -> Vec<String>;
}
