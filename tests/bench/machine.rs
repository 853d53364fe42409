//! The shape of the machine: all that a reader needs to judge seconds and ratios.

use support::Result;

/// Cores and memory, as `2 cores, 24 GiB`.
pub(crate) fn shape() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let kibibytes: f64 = total.ok_or("no MemTotal")?.parse()?;
    Ok(format!("{cores} cores, {:.0} GiB of memory", kibibytes / f64::from(1 << 20)))
}
