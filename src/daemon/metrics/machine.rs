//! What this program takes of its machine, as Prometheus names it everywhere: read from Linux's `/proc` when it is asked
//! for; nothing elsewhere.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks a second that the kernel tells user programs of; the same on every Linux that we are built for.
const TICKS: f64 = 100.0;

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub struct Machine;

/// What was read; each thing only where it was there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taken {
    /// Seconds of processor time.
    pub cpu_seconds: Option<f64>,
    /// Bytes.
    pub resident_bytes: Option<f64>,
    /// Open files.
    pub open_files: Option<f64>,
    /// When the program began, in seconds since the epoch.
    pub began_seconds: Option<f64>,
}

impl Taken {
    /// From the texts of `/proc/self/stat`, `/proc/self/status` and `/proc/stat`.
    pub fn of(own: &str, status: &str, kernel: &str) -> Taken {
        // The second field is the program's name in brackets, and may hold blanks and brackets itself.
        let fields: Vec<&str> = own.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // Counted from the third field on, which is the state.
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
        let line = |text: &str, key: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        Taken {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS),
            resident_bytes: line(status, "VmRSS:").map(|kib| kib * 1024.0),
            open_files: None,
            began_seconds: ticks(22).zip(line(kernel, "btime")).map(|(after, boot)| boot + after / TICKS),
        }
    }

    fn now() -> Taken {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let taken = Taken::of(&text("/proc/self/stat"), &text("/proc/self/status"), &text("/proc/stat"));
        #[expect(clippy::cast_precision_loss, reason = "a program has few files open")]
        let open_files = std::fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as f64);
        Taken { open_files, ..taken }
    }
}

impl Collector for Machine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Taken { cpu_seconds, resident_bytes, open_files, began_seconds } = Taken::now();
        if let Some(value) = cpu_seconds {
            let help = "Processor time used, in user and system mode.";
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                EncodeMetric::metric_type(&counter),
            )?)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Memory in use.", resident_bytes),
            ("process_open_fds", "Files and connections that are open.", open_files),
            ("process_start_time_seconds", "When the program began.", began_seconds),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, EncodeMetric::metric_type(&gauge))?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read_whatever_the_program_is_called() {
        let own = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 20000 1000 200 1";
        let taken = Taken::of(own, "Name:\tx\nVmRSS:\t  2048 kB\n", "cpu 1 2\nbtime 1700000000\n");
        let wanted = Taken {
            cpu_seconds: Some(2.0),
            resident_bytes: Some(2_097_152.0),
            open_files: None,
            began_seconds: Some(1_700_000_200.0),
        };
        assert_eq!(taken, wanted);
        assert_eq!(Taken::of("", "", ""), Taken::default());
        assert_eq!(Taken::of("no brackets", "VmRSS: many", "btime\n"), Taken::default());
    }
}
