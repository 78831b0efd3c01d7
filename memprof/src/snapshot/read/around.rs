//! What is around a process: the machine's memory and who waits for it, and the process's cgroup.

use procfs::{Current as _, Meminfo, MemoryPressure, PressureRecord};

use super::super::model::{CgroupMemory, Pressure, PressureShares, System};
use crate::identity::Pid;
use crate::target::{cgroups, memory_limit};

pub(super) fn system() -> Option<System> {
    let memory = Meminfo::current().ok()?;
    let pressure = MemoryPressure::current().ok();
    Some(System {
        total_bytes: memory.mem_total,
        free_bytes: memory.mem_free,
        available_bytes: memory.mem_available,
        cached_bytes: memory.cached,
        swap_total_bytes: memory.swap_total,
        swap_free_bytes: memory.swap_free,
        pressure: pressure.map(|pressure| Pressure {
            some: shares(&pressure.some),
            full: shares(&pressure.full),
        }),
    })
}

fn shares(record: &PressureRecord) -> PressureShares {
    // The kernel writes two digits after the point, which single precision blurs.
    let percent = |share: f32| (f64::from(share) * 100.0).round() / 100.0;
    PressureShares {
        percent_10s: percent(record.avg10),
        percent_60s: percent(record.avg60),
        percent_300s: percent(record.avg300),
        total_seconds: record.total as f64 / 1e6,
    }
}

pub(super) fn cgroup(pid: Pid) -> Option<CgroupMemory> {
    let found = memory_limit::accounted(pid)?;
    let container = cgroups::container(&found.path).or_else(|| {
        // A hierarchy of version 1 may know less than that of version 2.
        cgroups::of_process(pid).and_then(|path| cgroups::container(&path))
    });
    let (limit_path, limit) = found.tightest.unzip();
    Some(CgroupMemory {
        path: found.path,
        version: found.version,
        container,
        usage_bytes: found.used,
        limit_bytes: limit.map(|limit| limit.bytes),
        limit_usage_bytes: limit.map(|limit| limit.used),
        limit_path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory_and_shares_are_percent() {
        let system = system().unwrap();
        assert!(system.total_bytes > system.free_bytes);
        if let Some(pressure) = system.pressure {
            for share in [pressure.some.percent_10s, pressure.full.percent_300s] {
                assert!((0.0..=100.0).contains(&share));
            }
        }
    }

    #[test]
    fn shares_have_two_digits() {
        let record = PressureRecord {
            avg10: 0.1,
            avg60: 12.34,
            avg300: 100.0,
            total: 1_500_000,
        };
        let shares = shares(&record);
        assert_eq!(
            (
                shares.percent_10s,
                shares.percent_60s,
                shares.percent_300s,
                shares.total_seconds
            ),
            (0.1, 12.34, 100.0, 1.5)
        );
    }
}
