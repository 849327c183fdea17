//! Screens that are looked at until they show what they should.

use super::picture::{Part, Picture};
use crate::displays::viewer::Viewer;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// No guest takes as long, on a machine that is loaded five times over: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(900);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What can be looked at.
pub trait Screen {
    /// What it shows now.
    fn look(&mut self) -> Picture;
    /// Looks until the picture is right; it is kept under this name, right or, after a long time, wrong.
    fn wait(&mut self, name: &str, mut is_right: impl FnMut(&Picture) -> bool) -> Picture {
        let start = Instant::now();
        loop {
            let picture = self.look();
            let right = is_right(&picture);
            if right || start.elapsed() > PATIENCE {
                let path = picture.keep(name);
                assert!(right, "the picture never is right; the last one is {}", path.display());
                return picture;
            }
            thread::sleep(PAUSE);
        }
    }
    /// Looks until a right picture stays as it is for so many looks.
    fn settle(&mut self, name: &str, looks: usize, mut is_right: impl FnMut(&Picture) -> bool) -> Picture {
        let (mut last, mut same) = (None, 0);
        self.wait(name, |picture| {
            if last.as_ref() == Some(picture) {
                same += 1;
            } else {
                (last, same) = (Some(picture.clone()), 0);
            }
            same == looks && is_right(picture) || {
                same = same.min(looks - 1);
                false
            }
        })
    }
    /// Looks until all of these texts can be read, in a part of the picture or all of it.
    fn read(&mut self, name: &str, part: Option<Part>, texts: &[&str]) -> Picture {
        let (mut last, mut read) = (None, false);
        self.wait(name, |picture| {
            let part = part.unwrap_or(Part { x: 0, y: 0, width: picture.width, height: picture.height });
            let shown = picture.part_within(part);
            // Reading takes much longer than looking: a picture that stays is read, and once.
            if last.as_ref() != Some(&shown) {
                (last, read) = (Some(shown), false);
                return false;
            }
            if read {
                return false;
            }
            read = true;
            let text = shown.text();
            texts.iter().all(|wanted| text.contains(wanted))
        })
    }
}

impl Screen for Viewer<UnixStream> {
    fn look(&mut self) -> Picture {
        self.whole();
        Picture { width: self.width, height: self.height, pixels: self.pixels.clone() }
    }
}
impl Screen for Viewer<TcpStream> {
    fn look(&mut self) -> Picture {
        self.whole();
        Picture { width: self.width, height: self.height, pixels: self.pixels.clone() }
    }
}

/// Keysyms of keys that type no character (X11's `keysymdef.h`).
pub const RETURN: u32 = 0xFF0D;
pub const LEFT: u32 = 0xFF51;
pub const DOWN: u32 = 0xFF54;
