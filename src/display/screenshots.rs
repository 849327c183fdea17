//! `--screenshot` and `--screen-dump`: the screen in files.
//!
//! A screenshot is taken on the machine's thread between two instructions, and encoded and written by a thread that does
//! nothing else, so that the guest does not wait for the host's disk.

use crate::error::Failure;
use crate::watch::{self, Watch};
use anyhow::{Context, anyhow};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use trimotor_bus::GuestTime;
use trimotor_console::svg;
use trimotor_displays::picture_file;
use trimotor_machine::{Machine, MachineControl, Shot, ShotTaker};

/// What is accepted, for messages.
const FORMS: &str = "write FILE@TIME (of the guest, as 10s or 500ms), FILE@text:TEXT (once COM1 wrote it), or FILE@end, \
                     where FILE ends in .png, or in .svg or .txt for text modes";

/// When the screen is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum When {
    /// Guest time since power-on.
    Time(GuestTime),
    /// This text came out of COM1.
    Text(String),
    /// The machine ends.
    End,
}

/// What a file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Png,
    Svg,
    Text,
}

impl Format {
    fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match &*extension {
            "png" => Some(Format::Png),
            "svg" => Some(Format::Svg),
            "txt" => Some(Format::Text),
            _ => None,
        }
    }
}

/// A screenshot as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScreenshotSpec {
    path: PathBuf,
    format: Format,
    when: When,
}

impl FromStr for ScreenshotSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, when) = match text.split_once("@text:") {
            Some((path, wanted)) => (path, When::Text(watch::parse_text(wanted)?)),
            None => match text.rsplit_once('@') {
                None => (text, When::End),
                Some((path, "end")) => (path, When::End),
                Some((path, time)) => {
                    let time = watch::parse_duration(time).map_err(|_| format!("@{time}: {FORMS}"))?;
                    (path, When::Time(GuestTime(time.as_nanos().try_into().unwrap_or(u64::MAX))))
                }
            },
        };
        let path = PathBuf::from(path);
        let format = Format::of(&path).ok_or_else(|| format!("{}: {FORMS}", path.display()))?;
        Ok(ScreenshotSpec { path, format, when })
    }
}

/// What is written once it is there.
struct Work {
    flag: String,
    path: PathBuf,
    format: Format,
    shot: Shot,
}

/// The screenshots of a run.
pub struct Screenshots {
    list: Vec<(String, ScreenshotSpec)>,
    /// To the thread that writes.
    work: Sender<Work>,
    thread: JoinHandle<Result<(), Failure>>,
    /// The numbers of those that were taken.
    taken: Receiver<usize>,
    tell: Sender<usize>,
}

impl Screenshots {
    /// Makes sure that all files can be written, before the guest runs for an hour.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names flag and file.
    pub fn new(list: &[ScreenshotSpec], dump: Option<&Path>) -> Result<Screenshots, Failure> {
        let named = list.iter().map(|spec| (format!("--screenshot {}", spec.path.display()), spec.clone()));
        let dump = dump.map(|path| {
            let format = Format::of(path).unwrap_or(Format::Text);
            let spec = ScreenshotSpec { path: path.to_owned(), format, when: When::End };
            (format!("--screen-dump {}", path.display()), spec)
        });
        let list: Vec<_> = named.chain(dump).collect();
        for (flag, spec) in &list {
            fs::write(&spec.path, "")
                .map_err(|error| Failure::bad(format!("{flag}: {error}; name a file that can be written")))?;
        }
        let (work, waiting) = channel();
        let thread = thread::Builder::new().name("screenshots".to_owned()).spawn(move || write_all(&waiting));
        let (tell, taken) = channel();
        Ok(Screenshots { list, work, thread: thread.context("a thread for screenshots")?, taken, tell })
    }
    /// Has those taken that a text is waited for with. Before there is a machine.
    pub fn watch(&self, watch: &Watch) {
        for (number, (_, spec)) in self.list.iter().enumerate() {
            if let When::Text(text) = &spec.when {
                let take = self.taker(number);
                watch.call_on(text, move |control| _ = control.shoot(GuestTime::ZERO, take));
            }
        }
    }
    /// Has those taken whose time is known.
    pub fn start(&self, control: &MachineControl) {
        for (number, (_, spec)) in self.list.iter().enumerate() {
            if let When::Time(time) = spec.when {
                control.shoot(time, self.taker(number));
            }
        }
    }
    /// What passes a shot on to the thread that writes.
    fn taker(&self, number: usize) -> ShotTaker {
        let (flag, spec) = self.list[number].clone();
        let (work, tell) = (self.work.clone(), self.tell.clone());
        Box::new(move |shot| {
            // The thread is there until the last sender has gone.
            let _ = work.send(Work { flag, path: spec.path, format: spec.format, shot });
            let _ = tell.send(number);
        })
    }
    /// Takes those at the end, and waits until all are written.
    ///
    /// # Errors
    /// The host cannot write a file, or the moment of a screenshot has not come.
    pub fn finish(self, machine: &Machine, watch: &Watch) -> Result<(), Failure> {
        watch.forget_calls();
        let taken: Vec<usize> = self.taken.try_iter().collect();
        let mut missing = None;
        let mut last = None;
        for (number, (flag, spec)) in self.list.into_iter().enumerate() {
            if spec.when == When::End {
                let shot = last.get_or_insert_with(|| machine.shot()).clone();
                let _ = self.work.send(Work { flag, path: spec.path, format: spec.format, shot });
            } else if !taken.contains(&number) {
                missing.get_or_insert(flag);
            }
        }
        machine.control().forget_shots();
        drop(self.work);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread for screenshots panicked: a bug in Trimotor"))??;
        match missing {
            None => Ok(()),
            Some(flag) => Err(Failure::Host(anyhow!("{flag}: the run ended before it was time"))),
        }
    }
}

/// The thread: writes until nothing more comes; the first error.
fn write_all(waiting: &Receiver<Work>) -> Result<(), Failure> {
    let mut outcome = Ok(());
    while let Ok(Work { flag, path, format, shot }) = waiting.recv() {
        let contents = match (format, &shot.text) {
            (Format::Png, _) => picture_file::png(&shot.picture),
            (Format::Svg, Some(text)) => svg::draw(text).into_bytes(),
            (Format::Text, Some(text)) => text.text().into_bytes(),
            (_, None) => {
                log::warn!(
                    "{flag}: the guest shows graphics, no text: the file is empty; a name with .png has a picture"
                );
                Vec::new()
            }
        };
        let written = fs::write(path, contents).with_context(|| flag).map_err(Failure::from);
        outcome = outcome.and(written);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read() {
        let spec = |text: &str| text.parse::<ScreenshotSpec>().unwrap();
        let (png, svg) = (Format::Png, Format::Svg);
        let of = |path: &str, format, when| ScreenshotSpec { path: path.into(), format, when };
        assert_eq!(spec("a.png"), of("a.png", png, When::End));
        assert_eq!(spec("me@home.PNG@end"), of("me@home.PNG", png, When::End));
        assert_eq!(spec("a.svg@2s"), of("a.svg", svg, When::Time(GuestTime(2_000_000_000))));
        assert_eq!(spec("a.txt@text:a@1s"), of("a.txt", Format::Text, When::Text("a@1s".to_owned())));
        for text in ["a", "a.jpg", "a.png@", "a.png@soon", "a.png@text:", "@end"] {
            assert!(text.parse::<ScreenshotSpec>().is_err(), "{text}");
        }
    }
}
