//! Reads the files that a guest boots from.

use crate::args::{BootAs, RunArgs};
use crate::error::Failure;
use crate::host_memory::MemorySize;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use trimotor_firmware::boot::{BootFile, BootModule, BootRequest, KernelKind};

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
}

impl GuestFiles {
    /// Opens all files that `run` names.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the flag and the file.
    pub fn open(run: &RunArgs) -> Result<Self, Failure> {
        let memory = run.machine.memory;
        let kernel = run.kernel.as_deref().ok_or_else(|| Failure::bad("--kernel: no file is given"))?;
        let open = |flag, path: &Path| GuestFile::open(flag, path, memory);
        let module = |text: &String| {
            let (path, command_line) = split_module(text);
            Ok((open("--module", Path::new(path))?, command_line.to_owned()))
        };
        Ok(Self {
            kernel: open("--kernel", kernel)?,
            initrd: run.initrd.as_deref().map(|path| open("--initrd", path)).transpose()?,
            modules: run.module.iter().map(module).collect::<Result<_, Failure>>()?,
            command_line: run.append.clone(),
            kind: run.boot_as.map(kind),
        })
    }
    /// The kernel's command line.
    pub fn command_line(&self) -> &str {
        &self.command_line
    }
    /// Reads all files.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the flag and the file.
    pub fn read(&mut self) -> Result<BootRequest, Failure> {
        let mut request = BootRequest::new(self.kernel.read()?);
        request.initrd = self.initrd.as_mut().map(GuestFile::read).transpose()?;
        request.kind = self.kind;
        request.command_line.clone_from(&self.command_line);
        for (file, command_line) in &mut self.modules {
            let module = BootModule { file: file.read()?, command_line: command_line.clone() };
            request.modules.push(module);
        }
        Ok(request)
    }
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
    memory: MemorySize,
    file: File,
    /// What a pipe gave, which cannot be read again.
    kept: Option<Vec<u8>>,
}

impl GuestFile {
    fn open(flag: &'static str, path: &Path, memory: MemorySize) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| unreadable(flag, path, &error))?;
        Ok(Self { flag, path: path.to_owned(), memory, file, kept: None })
    }
    /// The content from the beginning.
    fn read(&mut self) -> Result<BootFile, Failure> {
        let name = self.path.to_string_lossy().into_owned();
        if let Some(bytes) = &self.kept {
            return Ok(BootFile { name, bytes: bytes.clone() });
        }
        let bytes = self.read_bytes().map_err(|error| unreadable(self.flag, &self.path, &error))?;
        if bytes.len() as u64 > self.memory.0 {
            return Err(self.too_large());
        }
        if !self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.kept = Some(bytes.clone());
        }
        Ok(BootFile { name, bytes })
    }
    /// One byte more than fits tells that a file is too large, without reading all of it.
    fn read_bytes(&self) -> io::Result<Vec<u8>> {
        let metadata = self.file.metadata()?;
        let limit = self.memory.0 + 1;
        let mut file = &self.file;
        let mut bytes = Vec::new();
        if metadata.is_file() {
            file.seek(SeekFrom::Start(0))?;
            bytes.reserve_exact(metadata.len().min(limit) as usize);
        }
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
    fn too_large(&self) -> Failure {
        let Self { flag, path, memory, .. } = self;
        let size = path.metadata().map_or(memory.0 + 1, |metadata| metadata.len()).max(memory.0 + 1);
        let mebibytes = size.div_ceil(1 << 20);
        let enough = (mebibytes * 2).next_multiple_of(64);
        Failure::bad(format!(
            "{flag} {}: its {mebibytes}M are more than the guest's memory of {memory}; --memory {enough}M would do",
            path.display()
        ))
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

    #[test]
    fn files_that_cannot_be_read_are_named_with_their_flag() {
        let read = |path: &str| GuestFile::open("--initrd", Path::new(path), MemorySize(1 << 20))?.read();
        let message = read("/nonexistent/initrd").unwrap_err().to_string();
        assert!(message.starts_with("--initrd /nonexistent/initrd: no such file"), "{message}");
        let message = read("/").unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
        let message = read("/dev/zero").unwrap_err().to_string();
        assert!(message.contains("more than the guest's memory of 1M"), "{message}");
    }

    #[test]
    fn a_file_is_read_again_though_its_name_is_gone() {
        let path = std::env::temp_dir().join(format!("trimotor-again-{}", std::process::id()));
        std::fs::write(&path, b"kernel").unwrap();
        let mut file = GuestFile::open("--kernel", &path, MemorySize(1 << 20)).unwrap();
        assert_eq!(file.read().unwrap().bytes, b"kernel");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.read().unwrap().bytes, b"kernel");
        assert!(file.kept.is_none());
    }
}
