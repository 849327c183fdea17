//! Reads a tar stream as `dpkg-deb --fsys-tarfile` writes it.
//!
//! A header block of 512 bytes an entry (POSIX.1-1988, "ustar Interchange Format"), the
//! data padded to 512, and GNU's entry of type `L` that holds a long name of the next one.

use std::io::{self, ErrorKind, Read};

const BLOCK: usize = 512;
/// The largest file that is taken out of a package: kernels and file systems are smaller.
pub const LARGEST_FILE: u64 = 512 << 20;

/// The longest path.
const LONGEST_NAME: u64 = 4096;

/// Reads `stream` until `wanted` accepts the path of a regular file (without a leading `./`)
/// or the archive ends; returns the contents of that file.
///
/// # Errors
/// The stream fails, or is no tar archive.
pub fn find(mut stream: impl Read, wanted: &dyn Fn(&str) -> bool) -> io::Result<Option<Vec<u8>>> {
    let mut long_name = None;
    loop {
        let mut header = [0; BLOCK];
        match stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let size = octal(&header[124..136])?;
        let padding = size.wrapping_neg() % BLOCK as u64;
        let kind = header[156];
        let name = long_name.take().unwrap_or_else(|| name_of(&header));
        let is_long_name = kind == b'L';
        if is_long_name || (matches!(kind, b'0' | 0) && wanted(name.trim_start_matches("./"))) {
            let limit = if is_long_name { LONGEST_NAME } else { LARGEST_FILE };
            let contents = read_contents(&mut stream, size, limit)?;
            if !is_long_name {
                return Ok(Some(contents));
            }
            long_name = Some(text(&contents));
            skip(&mut stream, padding)?;
        } else {
            skip(&mut stream, size.saturating_add(padding))?;
        }
    }
}

fn read_contents(stream: &mut impl Read, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    if size > limit {
        return Err(invalid("a file in the archive is too large"));
    }
    let mut contents = Vec::new();
    stream.take(size).read_to_end(&mut contents)?;
    if contents.len() as u64 == size { Ok(contents) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn skip(stream: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut stream.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn name_of(header: &[u8; BLOCK]) -> String {
    let name = text(&header[..100]);
    let is_ustar = &header[257..263] == b"ustar\0";
    let prefix = if is_ustar { text(&header[345..500]) } else { String::new() };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let digits = text(field);
    u64::from_str_radix(digits.trim(), 8).map_err(|_| invalid("not a tar archive"))
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
        bytes[156] = kind;
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    #[test]
    fn files_are_found_by_name() {
        let long = "a/".repeat(80) + "kernel";
        let mut archive = entry("./boot/", b'5', b"");
        archive.extend(entry("./boot/vmlinuz-6.1", b'0', &[7; 700]));
        archive.extend(entry("././@LongLink", b'L', format!("{long}\0").as_bytes()));
        archive.extend(entry("cut", b'0', b"long"));
        archive.extend([0; 2 * BLOCK]);
        let get = |name: &str| find(&archive[..], &|path| path == name).unwrap();
        assert_eq!(get("boot/vmlinuz-6.1"), Some(vec![7; 700]));
        assert_eq!(get(&long), Some(b"long".to_vec()));
        assert_eq!(get("cut"), None);
        assert!(find(&archive[..1300], &|path| path.starts_with("boot/v")).is_err());
        assert!(find(&[b'x'; 600][..], &|_| true).is_err());
        let mut endless = entry("endless", b'0', b"");
        endless[124..136].copy_from_slice(b"777777777777");
        assert!(find(&endless[..], &|_| true).is_err() && find(&endless[..], &|_| false).is_err());
    }
}
