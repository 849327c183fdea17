//! A pseudo-terminal, to run the program as a person would.

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Sets the size of a terminal.
pub fn set_size(terminal: impl AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("the size is set");
}

/// Both ends of a pseudo-terminal.
pub struct Pty {
    host: OwnedFd,
    user: OwnedFd,
}

impl Pty {
    /// A terminal of this size.
    pub fn open(columns: u16, rows: u16) -> Self {
        let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&host).expect("grantpt");
        unlockpt(&host).expect("unlockpt");
        let name = ptsname(&host, Vec::new()).expect("ptsname");
        let user = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the terminal opens");
        set_size(&host, columns, rows);
        Self { host, user }
    }
    /// The end that a program has as its standard input and output.
    pub fn user_end(&self) -> File {
        File::from(self.user.try_clone().expect("a descriptor"))
    }
    /// The end that a person has: keys in, screen out.
    pub fn into_host_ends(self) -> (File, File) {
        let Pty { host, user } = self;
        drop(user);
        (File::from(host.try_clone().expect("a descriptor")), File::from(host))
    }
}
