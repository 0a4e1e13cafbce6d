//! What the kernel knows of this process, read at scrape.

use rustix::process::Resource;

/// CPU seconds, resident bytes, open files and the bound on them, the start; zero where /proc cannot be read.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_fds: u64,
    pub max_fds: u64,
    /// Since the Unix epoch.
    pub start_seconds: f64,
}

impl Process {
    pub(crate) fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the command in parentheses and may hold spaces; times are fields 14 and 15, the start is the
        // 22nd.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let open_fds = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Self {
            cpu_seconds: (ticks(11) + ticks(12)) as f64 / per_second,
            resident_bytes: pages * rustix::param::page_size() as u64,
            open_fds,
            max_fds: rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(0),
            start_seconds: boot_seconds() + ticks(19) as f64 / per_second,
        }
    }
}

/// When the machine came up, since the Unix epoch.
fn boot_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_running_process_has_memory_open_files_and_a_start_in_the_past() {
        let process = Process::read();
        assert!(process.resident_bytes > 0 && process.open_fds > 0, "{process:?}");
        assert!(process.max_fds >= process.open_fds, "{process:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_secs_f64();
        assert!(process.start_seconds > 1e9 && process.start_seconds <= now + 1.0, "{process:?} at {now}");
    }
}
