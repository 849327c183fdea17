//! Gets packages of the distribution with apt, and opens them.
//!
//! Nothing but `apt-get`, `apt-cache` and `dpkg-deb` is run: apt checks the packages'
//! signatures. `apt-get download` needs no privilege; only where the host has no package
//! lists is `apt-get update` run, which needs root.

use super::{Cache, tar};
use crate::error::Failure;
use crate::note::note;
use anyhow::Context;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether this host has what is needed to get packages.
pub fn apt_is_here() -> bool {
    ["apt-get", "dpkg-deb"].iter().all(|program| {
        let run = Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    })
}

/// Brings apt's package lists where there are none and this user may: kernels are found by them.
pub fn ensure_lists() {
    if dependency_of("linux-image-cloud-amd64", "linux-image-").is_none()
        && dependency_of("linux-image-virtual", "linux-image-").is_none()
    {
        update_lists();
    }
}

/// Runs `apt-get update` where this user may.
fn update_lists() {
    if rustix::process::geteuid().is_root() {
        note(format_args!("  bringing apt's package lists up to date"));
        let _ = Command::new("apt-get").args(["-q", "update"]).stdin(Stdio::null()).output();
    }
}

/// The package that `meta` depends on and whose name starts with `prefix`: the kernel that
/// a meta package stands for.
pub fn dependency_of(meta: &str, prefix: &str) -> Option<String> {
    let output = Command::new("apt-cache").args(["depends", meta]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

/// The first file in `package` whose path `wanted` accepts, downloading the package if it is
/// not there; `described` is how a message calls the file.
///
/// # Errors
/// apt does not have the package, the package not the file, or the host fails.
pub fn file_of(
    cache: &Cache,
    package: &str,
    described: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<u8>, Failure> {
    let deb = downloaded(cache, package)?;
    note(format_args!("  unpacking {}", deb.file_name().unwrap_or_default().to_string_lossy()));
    let mut unpacker = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb")?;
    let stream = unpacker.stdout.take().context("dpkg-deb")?;
    let found = tar::find(stream, wanted).with_context(|| format!("{}", deb.display()));
    // Reading stopped at the file; dpkg-deb may have more to say to nobody.
    let _ = unpacker.kill();
    unpacker.wait().context("dpkg-deb")?;
    found?.ok_or_else(|| {
        Failure::bad(format!("the package {package} has no {described}. {}", super::WHAT_TO_PROVIDE))
    })
}

/// All packages that `package` depends on, directly or not, as far as apt knows them.
///
/// # Errors
/// apt cannot be run.
pub fn all_dependencies(package: &str) -> Result<Vec<String>, Failure> {
    const ONLY_DEPENDENCIES: [&str; 8] = [
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        "depends",
    ];
    let output = Command::new("apt-cache")
        .args(ONLY_DEPENDENCIES)
        .arg(package)
        .stdin(Stdio::null())
        .output()
        .context("apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A package's name begins its line; virtual packages are in angle brackets.
    let names = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
    Ok(names.filter(|name| *name != package).map(str::to_owned).collect())
}

/// Packages unpacked into one folder, which is removed with this.
pub struct Unpacked<'a> {
    cache: &'a Cache,
    root: PathBuf,
}

impl<'a> Unpacked<'a> {
    /// `package`, unpacked.
    ///
    /// # Errors
    /// apt does not have it, or the host fails.
    pub fn new(cache: &'a Cache, package: &str) -> Result<Self, Failure> {
        let root = cache.packages().join(format!("{package}-{}", std::process::id()));
        let mut unpacked = Unpacked { cache, root };
        unpacked.add(package)?;
        Ok(unpacked)
    }
    /// Unpacks another one beside it.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn add(&mut self, package: &str) -> Result<(), Failure> {
        let deb = downloaded(self.cache, package)?;
        let status = Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&self.root).status();
        if !status.context("dpkg-deb")?.success() {
            return Err(Failure::bad(format!("{}: dpkg-deb cannot unpack it", deb.display())));
        }
        Ok(())
    }
    /// The first file whose name `wanted` accepts, wherever it is.
    pub fn find(&self, wanted: &dyn Fn(&str) -> bool) -> Option<Vec<u8>> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).ok()?.flatten() {
                let kind = entry.file_type().ok()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && wanted(&entry.file_name().to_string_lossy()) {
                    return fs::read(entry.path()).ok();
                }
            }
        }
        None
    }
    /// The files of a folder and of the folders in it, with their paths there, in the order of their names. What is no
    /// regular file is left out.
    ///
    /// # Errors
    /// No package has the folder, or the host fails.
    pub fn files_of(&self, path: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let top = self.root.join(path);
        let mut found = Vec::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .map_err(|error| Failure::bad(format!("{path}: {error}. {}", super::WHAT_TO_PROVIDE)))?;
            for entry in entries.flatten() {
                let kind = entry.file_type().with_context(|| format!("{}", entry.path().display()))?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    let content = fs::read(entry.path()).context("a file of a package")?;
                    let name = entry.path().strip_prefix(&top).map(Path::to_path_buf).unwrap_or_default();
                    found.push((name.to_string_lossy().into_owned(), content));
                }
            }
        }
        found.sort();
        Ok(found)
    }
    /// A file of the packages.
    ///
    /// # Errors
    /// None of them has it.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.root.join(path))
    }
}

impl Drop for Unpacked<'_> {
    fn drop(&mut self) {
        // What is left of it harms nobody.
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn downloaded(cache: &Cache, package: &str) -> Result<PathBuf, Failure> {
    let folder = cache.packages();
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    if let Some(deb) = find_deb(&folder, package) {
        return Ok(deb);
    }
    note(format_args!("  downloading {package}"));
    let first = apt_download(&folder, package)?;
    if let Some(deb) = find_deb(&folder, package) {
        return Ok(deb);
    }
    update_lists();
    apt_download(&folder, package)?;
    find_deb(&folder, package).ok_or_else(|| {
        Failure::bad(format!(
            "apt-get could not download {package}: {}\n  Try `sudo apt-get update` first. {}",
            first.trim().lines().last().unwrap_or("no reason given"),
            super::WHAT_TO_PROVIDE
        ))
    })
}

/// Runs `apt-get download` in `folder`; returns what it complained about.
fn apt_download(folder: &Path, package: &str) -> Result<String, Failure> {
    let output = Command::new("apt-get")
        .args(["-q", "download", package])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("apt-get")?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A complete package file: apt names it after the package and moves it into place when done.
fn find_deb(folder: &Path, package: &str) -> Option<PathBuf> {
    let start = format!("{package}_");
    let entries = fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && name.ends_with(".deb")
    })
}
