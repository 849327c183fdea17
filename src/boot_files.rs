//! Reads the files that a guest boots from.

use crate::args::RunArgs;
use crate::error::Failure;
use crate::host_memory::MemorySize;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use trimotor_firmware::boot::{BootFile, BootModule, BootRequest};

/// Reads all files that `run` names.
///
/// # Errors
/// [`Failure::BadInput`] that names the flag and the file.
pub fn read(run: &RunArgs) -> Result<BootRequest, Failure> {
    let memory = run.machine.memory;
    let mut request = BootRequest::new(read_file("--kernel", &run.kernel, memory)?);
    request.initrd = run.initrd.as_deref().map(|path| read_file("--initrd", path, memory)).transpose()?;
    request.command_line = run.append.clone();
    for module in &run.module {
        let (path, command_line) = split_module(module);
        let file = read_file("--module", Path::new(path), memory)?;
        request.modules.push(BootModule { file, command_line: command_line.to_owned() });
    }
    Ok(request)
}

/// A module's file and its string: at the first blank, unless the whole is a file's name.
fn split_module(module: &str) -> (&str, &str) {
    if Path::new(module).exists() {
        return (module, "");
    }
    module.split_once(' ').unwrap_or((module, ""))
}

fn read_file(flag: &str, path: &Path, memory: MemorySize) -> Result<BootFile, Failure> {
    let name = path.display();
    let unreadable = |error: std::io::Error| {
        let advice = match error.kind() {
            ErrorKind::NotFound if flag == "--kernel" => {
                "; `trimotor guest linux` fetches a kernel and prints the command that boots it"
            }
            ErrorKind::NotFound => "; check the path",
            ErrorKind::PermissionDenied => "; make it readable or copy it",
            ErrorKind::IsADirectory => "; name a file",
            _ => "",
        };
        Failure::bad(format!("{flag} {name}: {}{advice}", reason(&error)))
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One byte more than fits tells that a file is too large, without reading all of it.
    file.take(memory.0 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > memory.0 {
        let size = path.metadata().map_or(memory.0 + 1, |metadata| metadata.len()).max(memory.0 + 1);
        let mebibytes = size.div_ceil(1 << 20);
        let enough = (mebibytes * 2).next_multiple_of(64);
        return Err(Failure::bad(format!(
            "{flag} {name}: its {mebibytes}M are more than the guest's memory of {memory}; --memory {enough}M would do"
        )));
    }
    Ok(BootFile { name: path.to_string_lossy().into_owned(), bytes })
}

/// What went wrong, without the number of the error.
fn reason(error: &std::io::Error) -> String {
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
        let read = |path: &str| read_file("--initrd", Path::new(path), MemorySize(1 << 20));
        let message = read("/nonexistent/initrd").unwrap_err().to_string();
        assert!(message.starts_with("--initrd /nonexistent/initrd: no such file"), "{message}");
        let message = read("/").unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
        let message = read("/dev/zero").unwrap_err().to_string();
        assert!(message.contains("more than the guest's memory of 1M"), "{message}");
    }
}
