//! What the host reckons to a process.

use std::fs;
use std::path::{Path, PathBuf};

/// CPU seconds of the threads of a process (proc(5), schedstat), those that have ended left out; `None` where the host does not
/// tell.
pub fn host_seconds(pid: u32) -> Option<f64> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).ok()?;
    let of = |task: PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some(tasks.flatten().filter_map(|task| of(task.path())).sum::<f64>() / 1e9)
}
