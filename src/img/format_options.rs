//! The options of a new image: `-o NAME=VALUE,...`.

use super::shared::parse_size;
use crate::error::Failure;
use trimotor_storage::Format;
use trimotor_storage::qcow2::{Compression, CreateOptions, Preallocation};

/// What `-o help` prints for qcow2.
pub const QCOW2_HELP: &str = "Options of qcow2 images (-o NAME=VALUE,...):
  cluster_size=SIZE        unit of allocation, 512 to 2M [default: 64K]
  compat=1.1|0.10          version 3 or 2 of the format [default: 1.1]
  refcount_bits=N          1 to 64 [default: 16]
  lazy_refcounts=on|off    refcounts may be updated late [default: off]
  compression_type=T       zlib or zstd, for convert -c [default: zlib]
  preallocation=MODE       off, metadata or full [default: off]
  backing_file=FILE        as -b
  backing_fmt=FORMAT       as -F
Options of raw images:
  preallocation=MODE       off or full [default: off]";

/// All that can be said of a new image.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// For qcow2; of these, raw takes size and preallocation.
    pub qcow2: CreateOptions,
    /// The backing file, as it is to stand in the image.
    pub backing: Option<String>,
    /// Its format.
    pub backing_format: Option<Format>,
}

/// Reads `-o`, which may be given several times.
///
/// # Errors
/// An option is unknown for the format, or its value is wrong.
pub fn parse(format: Format, given: &[String]) -> Result<FormatOptions, Failure> {
    let mut options = FormatOptions { qcow2: CreateOptions::new(0), backing: None, backing_format: None };
    for option in given.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, "on"));
        let known = match format {
            Format::Raw => matches!(name, "preallocation"),
            _ => true,
        };
        if !known
            || !set(&mut options, name, value).map_err(|why| Failure::bad(format!("-o {option}: {why}")))?
        {
            return Err(Failure::bad(format!(
                "-o {option}: {format} images have no option `{name}`; -o help lists them"
            )));
        }
    }
    Ok(options)
}

/// Sets one option; false where there is none of this name.
fn set(options: &mut FormatOptions, name: &str, value: &str) -> Result<bool, String> {
    let qcow2 = &mut options.qcow2;
    match name {
        "cluster_size" => qcow2.cluster_bytes = parse_size(value)?,
        "compat" => {
            qcow2.version = match value {
                "0.10" | "v2" => 2,
                "1.1" | "v3" => 3,
                _ => return Err("write 1.1 (version 3) or 0.10 (version 2)".into()),
            }
        }
        "refcount_bits" => {
            qcow2.refcount_bits = value.parse().map_err(|_| "write 1, 2, 4, 8, 16, 32 or 64".to_owned())?;
        }
        "lazy_refcounts" => qcow2.lazy_refcounts = parse_switch(value)?,
        "compression_type" => {
            qcow2.compression = match value {
                "zlib" => Compression::Zlib,
                "zstd" => Compression::Zstd,
                _ => return Err("zlib and zstd are known".into()),
            }
        }
        "preallocation" => {
            qcow2.preallocation = match value {
                "off" => Preallocation::Off,
                "metadata" => Preallocation::Metadata,
                "full" => Preallocation::Full,
                _ => return Err("off, metadata and full are known".into()),
            }
        }
        "backing_file" => options.backing = Some(value.to_owned()),
        "backing_fmt" => options.backing_format = Some(value.parse()?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err("write on or off".into()),
    }
}

/// Whether `-o help` was given.
pub fn asks_for_help(given: &[String]) -> bool {
    given.iter().any(|text| matches!(text.as_str(), "help" | "?"))
}
