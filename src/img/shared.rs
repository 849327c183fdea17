//! What commands on images share: sizes, files, progress bars.

use crate::error::Failure;
use crate::host_images;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use trimotor_storage::{BlockError, Format, HostFile, ImageFile, OpenError};

/// Units of sizes, each 1024 times the one before.
const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];

/// A size in bytes: `4096`, `10M`, `1.5G`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write bytes, or a number with K, M, G, T, P or E behind it");
    let number = text.trim_end_matches(['b', 'B']);
    let number = number.strip_suffix(['i']).unwrap_or(number);
    let unit = number.chars().last().map(|last| last.to_ascii_uppercase());
    let power = unit.and_then(|unit| UNITS.iter().position(|one| *one == unit)).map_or(0, |at| at + 1);
    let digits = if power > 0 { &number[..number.len() - 1] } else { number };
    let factor = 1u64 << (10 * power);
    let bytes = match digits.split_once('.') {
        None => digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)),
        Some((whole, part)) if power > 0 && !part.is_empty() && part.len() < 10 => {
            let whole = whole.parse::<u64>().map_err(|_| wrong())?;
            let scale = 10u128.pow(part.len() as u32);
            let part = u128::from(part.parse::<u64>().map_err(|_| wrong())?);
            let bytes = u128::from(whole) * u128::from(factor) + part * u128::from(factor) / scale;
            u64::try_from(bytes).ok()
        }
        Some(_) => None,
    };
    bytes.filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(wrong)
}

/// A size as people read it, such as `1.5 GiB`.
pub fn size_text(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = None;
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(next);
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) => {
            let number = format!("{value:.3}");
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}iB")
        }
    }
}

/// Parses `-f`, `-O` and `-F`.
pub fn parse_format(text: &str) -> Result<Format, String> {
    text.parse()
}

/// What a failed opening means for the program.
pub fn not_open(error: OpenError) -> Failure {
    Failure::bad(error)
}

/// What an error on an open image means for the program.
pub fn failed(path: &Path, error: &BlockError) -> Failure {
    match error {
        BlockError::NoSpace | BlockError::Host(_) => {
            Failure::Host(anyhow::anyhow!("{}: {error}", path.display()))
        }
        _ => Failure::bad(format!("{}: {error}", path.display())),
    }
}

/// A file for a new image, emptied once it is locked. If the image is not finished, the file goes again.
pub struct NewFile<'a> {
    path: &'a Path,
    /// The file.
    pub file: Arc<dyn ImageFile>,
    was_there: bool,
    is_device: bool,
    done: bool,
}

impl<'a> NewFile<'a> {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be made, or another program has it open.
    pub fn new(path: &'a Path) -> Result<Self, Failure> {
        let was_there = path.exists();
        let bad = |error: trimotor_storage::FileError| Failure::bad(format!("{}: {error}", path.display()));
        let file = host_images::create(path).map_err(bad)?;
        let file: Arc<dyn ImageFile> = Arc::new(HostFile::new(file, None).map_err(bad)?);
        let is_device = !file.grows_with_zeroes();
        Ok(Self { path, file, was_there, is_device, done: false })
    }
    /// Whether it is a block device, which has the content of before.
    pub fn is_device(&self) -> bool {
        self.is_device
    }
    /// Keeps the file.
    pub fn keep(mut self) {
        self.done = true;
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.done && !self.was_there {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

/// A bar that shows how far something is, on a terminal and if it is wanted.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar for so many bytes.
    pub fn new(wanted: bool, bytes: u64) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        Self(shown.then(|| {
            let bar = ProgressBar::new(bytes);
            let style = "{bar:40} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        }))
    }
    /// So many bytes are done.
    pub fn set(&self, done: u64) {
        if let Some(bar) = &self.0
            && done > bar.position()
        {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Threads that copy and compare.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("10M"), Ok(10 << 20));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("1k"), Ok(1024));
        for wrong in ["", "x", "-1", "1.5", "9E", "1Z", "G", "1..5G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size_text(3 << 29), "1.5 GiB");
        assert_eq!(size_text(512), "512 B");
        assert_eq!(size_text(64 << 10), "64 KiB");
    }
}
