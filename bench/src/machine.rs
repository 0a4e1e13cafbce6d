//! What a figure depends on besides the program: CPU time of each process, load, file system, commit.

use std::path::Path;

use serde::Serialize;

use crate::error::Error;

/// CPU time that a process has used, user and system, in microseconds; `None` once it is gone.
#[must_use]
pub fn cpu_us(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command stands in parentheses and may hold spaces; after it, times are the 12th and 13th fields.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Resident memory of a process in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages = statm.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The surroundings of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Short hash of the checked-out commit, with `+` when files are changed; `unknown` outside a repository.
    pub commit: String,
    /// One, five and fifteen minutes.
    pub load_average: [f64; 3],
    /// CPUs that the process may use.
    pub cpus: usize,
    /// Of the first CPU.
    pub cpu_model: String,
}

impl Machine {
    /// Looks around.
    #[must_use]
    pub fn look() -> Self {
        let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut loads = loads.split_whitespace().map(|text| text.parse().unwrap_or(0.0));
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        Self {
            commit: commit(),
            load_average: std::array::from_fn(|_| loads.next().unwrap_or(0.0)),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu_model: model.trim_start_matches([' ', '\t', ':']).to_owned(),
        }
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { hash + "+" } else { hash }
}

/// What a directory's disk is worth.
#[derive(Debug, Clone, Serialize)]
pub struct Disk {
    /// For example `ext4`.
    pub file_system: String,
    /// Median time of an fdatasync after 4 KiB written, in microseconds.
    pub fdatasync_us: u64,
}

impl Disk {
    /// Measures the disk under a directory.
    ///
    /// # Errors
    /// [`Error::Settings`] on tmpfs, where fsync is free and every figure would flatter; [`Error::File`].
    pub fn measure(directory: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: directory.display().to_string(), source };
        let file_system = file_system(directory).map_err(failed)?;
        if file_system == "tmpfs" || file_system == "ramfs" {
            return Err(Error::Settings(format!(
                "{} is on {file_system}, where fsync is free: give a directory on a real disk with --dir",
                directory.display()
            )));
        }
        let path = directory.join("fsync-probe");
        let mut file = std::fs::File::create(&path).map_err(failed)?;
        let mut times = Vec::new();
        for _ in 0..21 {
            std::io::Write::write_all(&mut file, &[7; 4_096]).map_err(failed)?;
            let before = std::time::Instant::now();
            file.sync_data().map_err(failed)?;
            times.push(u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        std::fs::remove_file(&path).map_err(failed)?;
        times.sort_unstable();
        Ok(Self { file_system, fdatasync_us: times[times.len() / 2] })
    }
}

/// The type of the mount that holds a directory: the longest mount point that is its prefix.
fn file_system(directory: &Path) -> std::io::Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let best = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    Ok(best.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_memory_and_has_a_cpu_time() {
        let me = std::process::id();
        assert!(resident_bytes(me).is_some_and(|bytes| bytes > 0));
        assert!(cpu_us(me).is_some());
        assert_eq!(cpu_us(u32::MAX), None);
    }

    #[test]
    fn a_disk_without_real_fsync_is_refused() {
        let shm = Path::new("/dev/shm");
        if file_system(shm).is_ok_and(|kind| kind == "tmpfs") {
            let error = Disk::measure(shm).expect_err("tmpfs").to_string();
            assert!(error.contains("fsync is free"), "{error}");
        }
    }
}
