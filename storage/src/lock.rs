//! Image locks, as QEMU takes them: two programs that would spoil each other's image refuse each other.
//!
//! Each program says by *shared* locks on single bytes of the file what it does with it and what it forbids others: the
//! byte 100 + n is locked by who uses permission n, and 200 + n by who does not share permission n. Then it asks whether
//! it could have the bytes that contradict for itself alone. Nothing is written; the locks are Linux's *open file
//! description* locks, which end with the descriptor, however the program ends. (QEMU, "Image locking" in its manual,
//! and the permissions of its block layer: read 0, write 1, write unchanged 2, resize 3.)

#![allow(unsafe_code, reason = "no crate that we have offers these locks on ranges")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Byte of the first permission in use.
const USED_AT: i64 = 100;
/// Byte of the first permission that is not shared.
const UNSHARED_AT: i64 = 200;
/// The permissions, by number.
const READ: u8 = 0;
const WRITE: u8 = 1;
const RESIZE: u8 = 3;

/// What a program does with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Reads, and relies on nobody's writing.
    Read,
    /// Reads and writes.
    Write,
}

/// Another program uses the image.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It writes.
    #[error("another program has it open for writing; end that program, or work on a copy or a linked clone")]
    Written,
    /// It reads, and relies on nobody's writing.
    #[error(
        "another program reads it and must not see it change; end that program, open it with `readonly=on` or \
         `snapshot=on`, or write to a linked clone"
    )]
    Read,
    /// The host refuses locks for another reason.
    #[error("it cannot be locked: {0}")]
    Host(#[source] io::Error),
}

/// Locks a file for as long as it is open. Where the file system has no locks, nothing happens.
///
/// # Errors
/// Another program uses it in a way that this excludes, or excludes this.
pub fn lock(file: &File, mode: LockMode) -> Result<(), LockError> {
    let (used, unshared): (&[u8], &[u8]) = match mode {
        LockMode::Read => (&[READ], &[WRITE, RESIZE]),
        LockMode::Write => (&[READ, WRITE, RESIZE], &[WRITE, RESIZE]),
    };
    for (base, permissions) in [(USED_AT, used), (UNSHARED_AT, unshared)] {
        for permission in permissions {
            match ofd(file, libc::F_OFD_SETLK, libc::F_RDLCK, base + i64::from(*permission)) {
                Ok(_) => {}
                Err(error) if is_unsupported(&error) => return Ok(()),
                Err(error) => return Err(LockError::Host(error)),
            }
        }
    }
    for permission in used {
        if !is_free(file, UNSHARED_AT + i64::from(*permission))? {
            return Err(if *permission == READ { LockError::Written } else { in_the_way(file)? });
        }
    }
    for permission in unshared {
        if !is_free(file, USED_AT + i64::from(*permission))? {
            return Err(LockError::Written);
        }
    }
    Ok(())
}

/// Gives up all locks of an open file at once. Closing it does so only when the last copy of the descriptor is closed, and a process that
/// was forked a moment ago has one until it starts its program.
pub fn unlock(file: &File) {
    // A host that has no locks has none to give up.
    _ = ofd_range(file, libc::F_OFD_SETLK, libc::F_UNLCK, USED_AT, 2 * (UNSHARED_AT - USED_AT));
}

/// Whether the other program writes or only reads.
fn in_the_way(file: &File) -> Result<LockError, LockError> {
    Ok(if is_free(file, USED_AT + i64::from(WRITE))? { LockError::Read } else { LockError::Written })
}

/// Whether no other open file has a lock on this byte.
fn is_free(file: &File, byte: i64) -> Result<bool, LockError> {
    let found = ofd(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte).map_err(LockError::Host)?;
    Ok(found == libc::F_UNLCK)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL))
}

/// Sets or looks for a lock on one byte; returns the kind that was found.
fn ofd(file: &File, command: libc::c_int, kind: libc::c_int, byte: i64) -> io::Result<libc::c_int> {
    ofd_range(file, command, kind, byte, 1)
}

/// The same for so many bytes.
fn ofd_range(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    first: i64,
    bytes: i64,
) -> io::Result<libc::c_int> {
    let mut range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first,
        l_len: bytes,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open as long as `file` lives, and `range` is a lock's description that the call may
    // read and write.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut range) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(libc::c_int::from(range.l_type)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that goes with its last opening; it is opened by the name of its first descriptor.
    fn file() -> impl Fn() -> File {
        let path = std::env::temp_dir().join(format!("trimotor-lock-{}", std::process::id()));
        let options = || File::options().read(true).write(true).clone();
        let first = options().create_new(true).open(&path).expect("a temporary file");
        std::fs::remove_file(&path).expect("it is there");
        move || options().open(format!("/proc/self/fd/{}", first.as_raw_fd())).expect("it is open")
    }

    #[test]
    fn many_may_read_and_one_may_write() {
        let open = file();
        let (first, second, third) = (open(), open(), open());
        lock(&first, LockMode::Read).expect("nobody else");
        lock(&second, LockMode::Read).expect("readers share");
        assert!(matches!(lock(&third, LockMode::Write), Err(LockError::Read)));
        drop((first, second, third));
        let (first, second) = (open(), open());
        lock(&first, LockMode::Write).expect("nobody else");
        assert!(matches!(lock(&second, LockMode::Write), Err(LockError::Written)));
        drop(second);
        let second = open();
        assert!(matches!(lock(&second, LockMode::Read), Err(LockError::Written)));
        drop((first, second));
        lock(&open(), LockMode::Write).expect("locks end with their file");
        // A copy of the descriptor, as a process that was forked has it.
        let first = open();
        let _copy = first.try_clone().expect("a copy");
        lock(&first, LockMode::Write).expect("nobody else");
        unlock(&first);
        lock(&open(), LockMode::Write).expect("it was unlocked");
    }
}
