//! Programs of Debian's packages for a guest, with the shared libraries that they need.
//!
//! Which libraries a program needs is in its ELF file. Which package has a library follows from the library's name: Debian
//! names the package after it (Debian Policy Manual, "Run-time shared libraries": `libpng16.so.16` is in `libpng16-16`,
//! `libudev.so.1` in `libudev1`), with few exceptions. So only what is needed is downloaded, whatever else the programs'
//! packages depend on.

use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use super::{Cache, WHAT_TO_PROVIDE};
use crate::error::Failure;
use goblin::elf::Elf;
use std::collections::BTreeSet;

/// Where Debian keeps shared libraries.
const LIBRARY_FOLDERS: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
/// What loads them.
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Libraries whose package has another name.
const ELSEWHERE: [(&str, &str); 10] = [
    (LOADER, "libc6"),
    ("libm.so.6", "libc6"),
    ("libz.so.1", "zlib1g"),
    ("libbrotlidec.so.1", "libbrotli1"),
    ("libbrotlicommon.so.1", "libbrotli1"),
    ("libcrypto.so.3", "libssl3"),
    ("libe2p.so.2", "libext2fs2"),
    ("libX11-xcb.so.1", "libx11-xcb1"),
    ("libXfont2.so.2", "libxfont2"),
    ("libgcc_s.so.1", "libgcc-s1"),
];

/// Files of packages on their way into a guest.
pub struct Programs<'a> {
    unpacked: Unpacked<'a>,
    packages: BTreeSet<String>,
    files: Vec<ExtraFile>,
    libraries: Vec<String>,
}

impl<'a> Programs<'a> {
    /// Nothing yet, of these packages.
    ///
    /// # Errors
    /// apt does not have one of them, or the host fails.
    pub fn of(cache: &'a Cache, packages: &[&str]) -> Result<Self, Failure> {
        let mut unpacked = Unpacked::new(cache, packages[0])?;
        for package in &packages[1..] {
            unpacked.add(package)?;
        }
        let packages = packages.iter().map(|package| (*package).to_owned()).collect();
        Ok(Self { unpacked, packages, files: Vec::new(), libraries: vec![LOADER.to_owned()] })
    }
    /// Adds the program or library at `from` in the packages as `to`, and what it needs.
    ///
    /// # Errors
    /// No package has it.
    pub fn program(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let content = self.read(from)?;
        self.libraries.extend(needed(&content)?);
        self.files.push((to.to_owned(), 0o755, content));
        Ok(())
    }
    /// Adds a file that is no program.
    ///
    /// # Errors
    /// No package has it.
    pub fn data(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let content = self.read(from)?;
        self.files.push((to.to_owned(), 0o644, content));
        Ok(())
    }
    /// Adds the files of a folder and of the folders in it, at the same place.
    ///
    /// # Errors
    /// No package has it, or the host fails.
    pub fn folder(&mut self, path: &str) -> Result<(), Failure> {
        let files = self.unpacked.files_of(path)?;
        self.files
            .extend(files.into_iter().map(|(name, content)| (format!("{path}/{name}"), 0o644, content)));
        Ok(())
    }
    /// All files, with the libraries in `lib` and their loader in `lib64`.
    ///
    /// # Errors
    /// No package has a library that is needed, or the host fails.
    pub fn finish(mut self) -> Result<Vec<ExtraFile>, Failure> {
        let mut seen = BTreeSet::new();
        while let Some(name) = self.libraries.pop() {
            if seen.insert(name.clone()) {
                let content = self.library(&name)?;
                self.libraries.extend(needed(&content)?);
                let folder = if name == LOADER { "lib64" } else { "lib" };
                self.files.push((format!("{folder}/{name}"), 0o755, content));
            }
        }
        Ok(self.files)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.unpacked.read(path).map_err(|error| {
            let packages = self.packages.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            Failure::bad(format!("no {path} in {packages}: {error}. {WHAT_TO_PROVIDE}"))
        })
    }
    /// A library, of a package that is downloaded where it has to be.
    fn library(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        let find = |unpacked: &Unpacked<'_>| {
            LIBRARY_FOLDERS.iter().find_map(|folder| unpacked.read(&format!("{folder}/{name}")).ok())
        };
        if let Some(found) = find(&self.unpacked) {
            return Ok(found);
        }
        let package = package_of(name);
        if self.packages.insert(package.clone()) {
            self.unpacked.add(&package)?;
        }
        find(&self.unpacked)
            .ok_or_else(|| Failure::bad(format!("the package {package} has no {name}. {WHAT_TO_PROVIDE}")))
    }
}

/// The package that has a library.
fn package_of(library: &str) -> String {
    if let Some((_, package)) = ELSEWHERE.iter().find(|(name, _)| *name == library) {
        return (*package).to_owned();
    }
    let (stem, version) = library.split_once(".so.").unwrap_or((library, ""));
    let hyphen = if stem.ends_with(|last: char| last.is_ascii_digit()) { "-" } else { "" };
    format!("{stem}{hyphen}{version}").replace('_', "-").to_lowercase()
}

/// The names of the libraries that a program or library is linked with.
pub(super) fn needed(file: &[u8]) -> Result<Vec<String>, Failure> {
    let elf = Elf::parse(file).map_err(|error| Failure::bad(format!("a program: {error}")))?;
    Ok(elf.libraries.iter().map(|name| (*name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_after_their_library() {
        for (library, package) in [
            ("libc.so.6", "libc6"),
            ("libudev.so.1", "libudev1"),
            ("libX11.so.6", "libx11-6"),
            ("libdbus-1.so.3", "libdbus-1-3"),
            ("libcom_err.so.2", "libcom-err2"),
            ("libstdc++.so.6", "libstdc++6"),
            ("libpcre2-8.so.0", "libpcre2-8-0"),
            ("libz.so.1", "zlib1g"),
        ] {
            assert_eq!(package_of(library), package);
        }
    }
}
