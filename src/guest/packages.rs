//! Gets packages of the distribution with apt, and opens them.
//!
//! Nothing but `apt-get`, `apt-cache` and `dpkg-deb` is run: apt checks the packages'
//! signatures. `apt-get download` needs no privilege; only where the host has no package
//! lists is `apt-get update` run, which needs root.

use super::Cache;
use crate::error::Failure;
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether this host has what is needed to get packages.
pub fn apt_is_here() -> bool {
    ["apt-get", "dpkg-deb"].iter().all(|program| {
        let run = Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    })
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

/// Unpacks `package` below the cache, downloading it if it is not there; returns the folder.
///
/// # Errors
/// apt does not have the package, or the host fails.
pub fn unpacked(cache: &Cache, package: &str) -> Result<PathBuf, Failure> {
    let root = cache.packages().join(package);
    let done = root.join(".unpacked");
    if done.exists() {
        return Ok(root);
    }
    let deb = downloaded(cache, package)?;
    eprintln!("  unpacking {}", deb.file_name().unwrap_or_default().to_string_lossy());
    fs::create_dir_all(&root).with_context(|| format!("{}", root.display()))?;
    let status = Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root).status().context("dpkg-deb")?;
    if !status.success() {
        return Err(anyhow::anyhow!("dpkg-deb could not unpack {}", deb.display()).into());
    }
    fs::write(&done, "").with_context(|| format!("{}", done.display()))?;
    Ok(root)
}

fn downloaded(cache: &Cache, package: &str) -> Result<PathBuf, Failure> {
    let folder = cache.packages();
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    if let Some(deb) = find_deb(&folder, package) {
        return Ok(deb);
    }
    eprintln!("  downloading {package}");
    let first = apt_download(&folder, package)?;
    if let Some(deb) = find_deb(&folder, package) {
        return Ok(deb);
    }
    if rustix::process::geteuid().is_root() {
        eprintln!("  bringing apt's package lists up to date");
        let _ = Command::new("apt-get").args(["-q", "update"]).stdin(Stdio::null()).output();
        apt_download(&folder, package)?;
    }
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

/// The first file below `root` (in reading order of folders) that `wanted` accepts by its
/// path relative to `root`.
pub fn find_file(root: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<_> = fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.is_file() && wanted(&relative) {
                return Some(path);
            }
        }
    }
    None
}
