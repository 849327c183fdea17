//! A program around a machine, for targets that have a monitor.

use std::path::Path;
use trimotor_machine::control::Counts;
use trimotor_machine::save::MachineStateV1;
use trimotor_machine::{Engine, Medium, Shot};
use trimotor_monitor::Host;
use trimotor_monitor::host::{Opening, PictureFormat};

/// A program that has a little of everything, and does nothing.
pub struct Nobody;

impl Host for Nobody {
    fn leave(&self) {}
    fn version(&self) -> String {
        String::new()
    }
    fn vcpus(&self) -> usize {
        1
    }
    fn removable_drives(&self) -> Vec<String> {
        vec!["cd0".to_owned(), "cd\u{fc}".to_owned()]
    }
    fn networks(&self) -> Vec<String> {
        vec!["net0".to_owned()]
    }
    fn file_in(&self, _drive: &str) -> Option<String> {
        None
    }
    fn open_medium(&self, _drive: &str, _opening: &Opening<'_>) -> Result<Medium, String> {
        Err(String::new())
    }
    fn medium_changed(&self, _drive: &str, _file: Option<&Path>) {}
    fn write_picture(&self, _shot: &Shot, _file: &Path, _format: PictureFormat) -> Result<(), String> {
        Ok(())
    }
    fn commit(&self, _: Option<&str>) -> Result<String, String> {
        Err("nothing to commit".to_owned())
    }
    fn add_forward(&self, _network: Option<&str>, _forward: &str) -> Result<String, String> {
        Ok(String::new())
    }
    fn remove_forward(&self, _network: Option<&str>, _place: &str) -> Result<String, String> {
        Ok(String::new())
    }
    fn user_networks(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn servers(&self) -> Vec<String> {
        Vec::new()
    }
    fn engine_report(&self, _engine: Engine, _counts: &[Counts], _exits: bool) -> String {
        String::new()
    }
    fn save(
        &self,
        _file: &Path,
        _mapped: bool,
        take: &mut dyn FnMut() -> Result<Box<MachineStateV1>, String>,
    ) -> Result<(), String> {
        take().map(drop)
    }
    fn files(&self, start: &str) -> Vec<String> {
        vec![format!("{start}x"), format!("{start}\u{e9}/")]
    }
}
