//! Reads the files that a guest boots from.

use crate::args::{BootAs, RunArgs};
use crate::error::Failure;
use crate::host_memory::MemorySize;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use trimotor_bus::memory::LOW_RAM_LIMIT;
use trimotor_firmware::boot::{BootFile, BootModule, BootRequest, Bytes, KernelKind};

/// The files that `run` names, open for as long as the machine may start over: each reset reads them
/// again, so that no copy has to be kept beside guest memory. A file that is replaced meanwhile
/// stays what it was; one that is written to boots as it is then.
#[derive(Debug)]
pub struct GuestFiles {
    kernel: GuestFile,
    initrd: Option<GuestFile>,
    modules: Vec<(GuestFile, String)>,
    command_line: String,
    kind: Option<KernelKind>,
    memory: MemorySize,
}

impl GuestFiles {
    /// Opens all files that `run` names.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the flag and the file.
    pub fn open(run: &RunArgs) -> Result<Self, Failure> {
        let kernel = run.kernel.as_deref().ok_or_else(|| Failure::bad("--kernel: no file is given"))?;
        let module = |text: &String| {
            let (path, command_line) = split_module(text);
            Ok((GuestFile::open("--module", Path::new(path))?, command_line.to_owned()))
        };
        Ok(Self {
            kernel: GuestFile::open("--kernel", kernel)?,
            initrd: run.initrd.as_deref().map(|path| GuestFile::open("--initrd", path)).transpose()?,
            modules: run.module.iter().map(module).collect::<Result<_, Failure>>()?,
            command_line: run.append.clone(),
            kind: run.boot_as.map(kind),
            memory: run.machine.memory,
        })
    }
    /// Sees that nothing is given that a kernel would need, where there is none.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the flag.
    pub fn check_none(run: &RunArgs) -> Result<(), Failure> {
        let given = [
            ("--initrd", run.initrd.is_some()),
            ("--append", !run.append.is_empty()),
            ("--module", !run.module.is_empty()),
            ("--boot-as", run.boot_as.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Failure::bad(format!("{flag}: there is no kernel to go with; name one by --kernel")))
            }
            None => Ok(()),
        }
    }
    /// The kernel's command line.
    pub fn command_line(&self) -> &str {
        &self.command_line
    }
    /// Reads all files, unless together they are larger than what the guest can hold of them.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the flag and the file.
    pub fn read(&mut self) -> Result<BootRequest, Failure> {
        let mut room = self.room()?;
        let mut request = BootRequest::new(self.kernel.read(&mut room)?);
        request.initrd = self.initrd.as_mut().map(|file| file.read(&mut room)).transpose()?;
        request.kind = self.kind;
        request.command_line.clone_from(&self.command_line);
        for (file, command_line) in &mut self.modules {
            let module = BootModule { file: file.read(&mut room)?, command_line: command_line.clone() };
            request.modules.push(module);
        }
        Ok(request)
    }
    /// What of the guest's memory the files may fill, less those whose sizes are known.
    fn room(&self) -> Result<Room, Failure> {
        let modules = self.modules.iter().map(|(file, _)| file);
        let files: Vec<_> = [&self.kernel].into_iter().chain(&self.initrd).chain(modules).collect();
        let sizes: Vec<_> = files.iter().map(|file| (file.name(), file.known_size())).collect();
        Room::new(self.memory, &sizes)
    }
}

/// What of the guest's memory is left for the files to boot.
#[derive(Debug)]
struct Room {
    memory: MemorySize,
    left: u64,
}

impl Room {
    /// Room in a guest of that size beside files of known sizes, each with its flag and name.
    ///
    /// # Errors
    /// Those files are too large together; the message names the largest.
    fn new(memory: MemorySize, sizes: &[(String, u64)]) -> Result<Self, Failure> {
        let limit = memory.0.min(LOW_RAM_LIMIT);
        let total = sizes.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        match limit.checked_sub(total) {
            Some(left) => Ok(Self { memory, left }),
            None => Err(too_large(memory, total, sizes)),
        }
    }
}

/// The message about files of `total` bytes, of which these are known.
fn too_large(memory: MemorySize, total: u64, sizes: &[(String, u64)]) -> Failure {
    /// So many files are named.
    const NAMED: usize = 3;
    let room = if memory.0 <= LOW_RAM_LIMIT {
        format!("more than the guest's memory of {memory}")
    } else {
        format!("more than the {} below the PCI hole that they can fill", MemorySize(LOW_RAM_LIMIT))
    };
    // Twice as much, so that the kernel has room to unpack itself and to work in.
    let advice = match total.checked_mul(2).map(|bytes| bytes.next_multiple_of(64 << 20)) {
        Some(enough) if total < LOW_RAM_LIMIT => format!("--memory {} would do", MemorySize(enough)),
        _ => "no size of memory would do: make them smaller".to_owned(),
    };
    let mut largest: Vec<_> = sizes.iter().filter(|(_, size)| *size > 0).collect();
    largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    if let [(name, _)] = largest[..] {
        return Failure::bad(format!("{name}: its {} are {room}; {advice}", Bytes(total)));
    }
    let named: Vec<_> =
        largest.iter().take(NAMED).map(|(name, bytes)| format!("{name} has {}", Bytes(*bytes))).collect();
    let more = match largest.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Failure::bad(format!(
        "the files to boot have {} together, {room}: {}{more}; {advice}",
        Bytes(total),
        named.join(", ")
    ))
}

fn kind(boot_as: BootAs) -> KernelKind {
    match boot_as {
        BootAs::Bzimage => KernelKind::BzImage,
        BootAs::Vmlinux => KernelKind::Vmlinux,
        BootAs::Pvh => KernelKind::Pvh,
        BootAs::Multiboot1 => KernelKind::Multiboot1,
        BootAs::Multiboot2 => KernelKind::Multiboot2,
        BootAs::Flat => KernelKind::Flat,
    }
}

/// A module's file and its string: at the first blank, unless the whole is a file's name.
fn split_module(module: &str) -> (&str, &str) {
    if Path::new(module).exists() {
        return (module, "");
    }
    module.split_once(' ').unwrap_or((module, ""))
}

/// A file of the guest's that can be read more than once.
#[derive(Debug)]
struct GuestFile {
    flag: &'static str,
    path: PathBuf,
    file: File,
    /// What a pipe gave, which cannot be read again.
    kept: Option<Vec<u8>>,
}

impl GuestFile {
    fn open(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        let open = || {
            let file = File::open(path)?;
            let kind = file.metadata()?.file_type();
            if kind.is_dir() {
                return Err(ErrorKind::IsADirectory.into());
            }
            // A terminal that nobody types into, /dev/zero without an end.
            if kind.is_char_device() {
                return Err(io::Error::other("is a device; name a file"));
            }
            Ok(file)
        };
        let file = open().map_err(|error| unreadable(flag, path, &error))?;
        Ok(Self { flag, path: path.to_owned(), file, kept: None })
    }
    /// Flag and path.
    fn name(&self) -> String {
        format!("{} {}", self.flag, self.path.display())
    }
    /// The size as far as it is known before the file is read: 0 for a pipe.
    fn known_size(&self) -> u64 {
        match &self.kept {
            Some(bytes) => bytes.len() as u64,
            None => self.file.metadata().ok().filter(|m| m.is_file()).map_or(0, |m| m.len()),
        }
    }
    /// The content from the beginning. What it has beyond its known size is taken from `room`.
    fn read(&mut self, room: &mut Room) -> Result<BootFile, Failure> {
        let name = self.path.to_string_lossy().into_owned();
        if let Some(bytes) = &self.kept {
            return Ok(BootFile { name, bytes: bytes.clone() });
        }
        let known = self.known_size();
        let limit = known + room.left;
        let bytes = self.read_bytes(known, limit).map_err(|e| unreadable(self.flag, &self.path, &e))?;
        let size = bytes.len() as u64;
        if size > limit {
            let others = room.memory.0.min(LOW_RAM_LIMIT) - limit;
            let sizes = [(self.name(), size), ("the other files".to_owned(), others)];
            return Err(too_large(room.memory, size + others, &sizes));
        }
        room.left -= size.saturating_sub(known);
        if !self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.kept = Some(bytes.clone());
        }
        Ok(BootFile { name, bytes })
    }
    /// One byte more than `limit` tells that a file is too large, without reading all of it.
    fn read_bytes(&self, known: u64, limit: u64) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        let mut bytes = Vec::new();
        if file.metadata()?.is_file() {
            file.seek(SeekFrom::Start(0))?;
            bytes.reserve_exact(known as usize);
        }
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The message about a file that cannot be read.
fn unreadable(flag: &str, path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        ErrorKind::NotFound if flag == "--kernel" => {
            "; `trimotor guest linux` fetches a kernel and prints the command that boots it"
        }
        ErrorKind::NotFound => "; check the path",
        ErrorKind::PermissionDenied => "; make it readable or copy it",
        ErrorKind::IsADirectory => "; name a file",
        _ => "",
    };
    Failure::bad(format!("{flag} {}: {}{advice}", path.display(), reason(error)))
}

/// What went wrong, without the number of the error.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_a_file_and_a_string() {
        assert_eq!(split_module("disk.img root=ram quiet"), ("disk.img", "root=ram quiet"));
        assert_eq!(split_module("disk.img"), ("disk.img", ""));
    }

    fn room(memory: u64) -> Room {
        Room::new(MemorySize(memory), &[]).unwrap()
    }

    #[test]
    fn files_that_cannot_be_read_are_named_with_their_flag() {
        let open = |path: &str| GuestFile::open("--initrd", Path::new(path)).unwrap_err().to_string();
        let message = open("/nonexistent/initrd");
        assert!(message.starts_with("--initrd /nonexistent/initrd: no such file"), "{message}");
        assert!(open("/").contains("is a directory"));
        for device in ["/dev/zero", "/dev/null"] {
            let message = open(device);
            assert!(message.starts_with(&format!("--initrd {device}: is a device")), "{message}");
        }
    }

    #[test]
    fn files_that_are_too_large_together_are_named_with_their_sizes() {
        const MIB: u64 = 1 << 20;
        let refused = |memory: u64, sizes: &[(&str, u64)]| {
            let sizes: Vec<_> =
                sizes.iter().map(|(name, size)| (format!("--module {name}"), *size)).collect();
            Room::new(MemorySize(memory), &sizes).unwrap_err().to_string()
        };
        assert_eq!(
            refused(8 * MIB, &[("a", 9 * MIB)]),
            "--module a: its 9M are more than the guest's memory of 8M; --memory 64M would do"
        );
        let files = [("a", 100 * MIB), ("b", 300 * MIB), ("c", 0), ("d", 200 * MIB), ("e", 100 * MIB)];
        assert_eq!(
            refused(512 * MIB, &files),
            "the files to boot have 700M together, more than the guest's memory of 512M: --module b has 300M, \
             --module d has 200M, --module a has 100M and 1 more; --memory 1408M would do"
        );
        let message = refused(8 << 30, &[("a", 4 << 30), ("b", u64::MAX)]);
        assert!(message.contains("below the PCI hole") && message.contains("make them smaller"), "{message}");
    }

    /// A pipe's size is known when it has been read; a regular file's may be wrong, as in /proc.
    #[test]
    fn what_is_larger_than_it_seemed_is_read_no_further_than_there_is_room() {
        let (reader, mut writer) = io::pipe().unwrap();
        let writer =
            std::thread::spawn(move || while io::Write::write_all(&mut writer, &[7; 4096]).is_ok() {});
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let mut pipe = GuestFile { flag: "--kernel", path: "pipe".into(), file, kept: None };
        let message = pipe.read(&mut room(1 << 20)).unwrap_err().to_string();
        assert!(message.starts_with("--kernel pipe: its 2M are more"), "{message}");
        drop(pipe);
        writer.join().unwrap();
        let mut file = GuestFile::open("--kernel", Path::new("/proc/self/maps")).unwrap();
        assert!(file.read(&mut room(16)).unwrap_err().to_string().contains("--kernel /proc/self/maps"));
        let mut left = room(1 << 20);
        let bytes = file.read(&mut left).unwrap().bytes.len() as u64;
        assert!(bytes > 16 && left.left == (1 << 20) - bytes);
    }

    #[test]
    fn a_file_is_read_again_though_its_name_is_gone() {
        let path = std::env::temp_dir().join(format!("trimotor-again-{}", std::process::id()));
        std::fs::write(&path, b"kernel").unwrap();
        let mut file = GuestFile::open("--kernel", &path).unwrap();
        assert_eq!(file.read(&mut room(1 << 20)).unwrap().bytes, b"kernel");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.read(&mut room(1 << 20)).unwrap().bytes, b"kernel");
        assert!(file.kept.is_none());
    }
}
