//! `trimotor img info`.

use super::shared::{not_open, parse_format, size_text};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use trimotor_storage::qcow2::{Mode, Qcow2};
use trimotor_storage::{
    Access, BlockBackend, Format, ImageOptions, Opener, backing_path, format_of, open, open_qcow2,
};

/// Options of `trimotor img info`.
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// The image's format [default: what it looks like]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// Prints JSON, with the names that qemu-img gives
    #[arg(long)]
    json: bool,
    /// As --json, for scripts that were written for qemu-img
    #[arg(long, value_name = "json|human", value_parser = ["json", "human"])]
    output: Option<String>,
    /// Says it of all images that this one stands on too
    #[arg(long)]
    backing_chain: bool,
    /// Looks at an image that another program has open for writing
    #[arg(short = 'U', long)]
    force_share: bool,
    /// The image
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Most images of a chain that are shown.
const MOST_SHOWN: usize = 200;

/// Runs the command.
///
/// # Errors
/// The image cannot be opened.
pub fn run(args: &InfoArgs) -> Result<(), Failure> {
    let out = &mut std::io::stdout().lock();
    let mut images = Vec::new();
    let mut next = Some((args.file.clone(), args.format));
    while let Some((path, format)) = next.take() {
        let image = look(&path, format, args.force_share)?;
        if args.backing_chain && images.len() < MOST_SHOWN {
            next = image.below.clone();
        }
        images.push(image);
    }
    if args.json || args.output.as_deref() == Some("json") {
        let mut values: Vec<Value> = images.into_iter().map(|image| Value::Object(image.fields)).collect();
        let value = if args.backing_chain { Value::Array(values) } else { values.swap_remove(0) };
        return Ok(writeln!(out, "{value:#}")?);
    }
    for (number, image) in images.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        image.print(out)?;
    }
    Ok(())
}

/// What is known of an image.
struct Looked {
    fields: Map<String, Value>,
    below: Option<(PathBuf, Option<Format>)>,
}

fn look(path: &Path, format: Option<Format>, share: bool) -> Result<Looked, Failure> {
    let mut options = ImageOptions::new(path).read_only();
    (options.share, options.without_backing) = (share, true);
    options.format = Some(match format {
        Some(format) => format,
        None => format_of(&options, &HostImages).map_err(not_open)?,
    });
    let access = Access { share, ..Access::READ };
    let used = HostImages.open(path, access).ok().and_then(|file| file.used_bytes());
    let format = options.format.unwrap_or(Format::Raw);
    let mut fields = Map::new();
    let mut below = None;
    let size = if format == Format::Qcow2 {
        let image = open_qcow2(&options, Mode::Read, &HostImages).map_err(not_open)?;
        below = qcow2_fields(&image, path, &mut fields);
        image.size()
    } else {
        open(&options, &HostImages).map_err(not_open)?.size()
    };
    fields.insert("filename".into(), path.to_string_lossy().into());
    fields.insert("format".into(), format.name().into());
    fields.insert("virtual-size".into(), size.into());
    if let Some(used) = used {
        fields.insert("actual-size".into(), used.into());
    }
    Ok(Looked { fields, below })
}

fn qcow2_fields(
    image: &Qcow2,
    path: &Path,
    fields: &mut Map<String, Value>,
) -> Option<(PathBuf, Option<Format>)> {
    let header = image.header();
    let snapshots = image.snapshots().unwrap_or_default();
    if !snapshots.is_empty() {
        let snapshot = |snapshot: trimotor_storage::qcow2::Snapshot| {
            json!({
                "id": snapshot.id, "name": snapshot.name,
                "date-sec": snapshot.seconds, "date-nsec": snapshot.nanoseconds,
                "vm-clock-sec": snapshot.vm_clock_ns / 1_000_000_000,
                "vm-clock-nsec": snapshot.vm_clock_ns % 1_000_000_000,
                "vm-state-size": snapshot.vm_state_bytes,
            })
        };
        fields.insert("snapshots".into(), snapshots.into_iter().map(snapshot).collect::<Vec<_>>().into());
    }
    fields.insert("cluster-size".into(), header.cluster_bytes().into());
    fields.insert("dirty-flag".into(), header.is_dirty().into());
    let mut data = json!({
        "compat": if header.version == 2 { "0.10" } else { "1.1" },
        "compression-type": header.compression.name(),
        "refcount-bits": 1u64 << header.refcount_order,
    });
    if header.version > 2 {
        data["lazy-refcounts"] = header.has_lazy_refcounts().into();
        data["corrupt"] = header.is_corrupt().into();
        data["extended-l2"] = false.into();
    }
    fields.insert("format-specific".into(), json!({ "type": "qcow2", "data": data }));
    let backing = header.backing?;
    fields.insert("backing-filename".into(), backing.clone().into());
    let full = backing_path(path, &backing);
    if let Ok(full) = &full {
        fields.insert("full-backing-filename".into(), full.to_string_lossy().into());
    }
    if let Some(format) = &header.backing_format {
        fields.insert("backing-filename-format".into(), format.clone().into());
    }
    let format = header.backing_format.and_then(|format| format.parse().ok());
    full.ok().map(|path| (path, format))
}

impl Looked {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let field = |name: &str| self.fields.get(name);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let size = |value: &Value| value.as_u64().map_or_else(String::new, size_text);
        if let Some(name) = field("filename") {
            writeln!(out, "image: {}", text(name))?;
        }
        if let Some(format) = field("format") {
            writeln!(out, "format: {}", text(format))?;
        }
        if let Some(bytes) = field("virtual-size") {
            writeln!(out, "disk: {} ({bytes} bytes)", size(bytes))?;
        }
        if let Some(used) = field("actual-size") {
            writeln!(out, "space used: {}", size(used))?;
        }
        if let Some(cluster) = field("cluster-size") {
            writeln!(out, "cluster size: {}", size(cluster))?;
        }
        if field("dirty-flag") == Some(&Value::Bool(true)) {
            writeln!(
                out,
                "in use or not closed: refcounts may be out of date, the next writer computes them anew"
            )?;
        }
        if let Some(backing) = field("backing-filename") {
            writeln!(out, "backing file: {}", text(backing))?;
        }
        if let Some(format) = field("backing-filename-format") {
            writeln!(out, "backing file's format: {}", text(format))?;
        }
        if let Some(Value::Array(snapshots)) = field("snapshots") {
            writeln!(out, "snapshots: {}", snapshots.len())?;
            for snapshot in snapshots {
                let part = |name: &str| snapshot.get(name).map(text).unwrap_or_default();
                writeln!(out, "  {:<4} {}", part("id"), part("name"))?;
            }
        }
        let data =
            field("format-specific").and_then(|specific| specific.get("data")).and_then(Value::as_object);
        for (name, value) in data.into_iter().flatten() {
            writeln!(out, "{name}: {}", text(value))?;
        }
        Ok(())
    }
}
