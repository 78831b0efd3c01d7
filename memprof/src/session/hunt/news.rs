//! What a hunt says on standard error while it goes on.

use std::time::Duration;

use super::{Ended, Hunt, watch::Watch};
use crate::{
    config::{HuntConfig, TargetChoice},
    export::escape,
    hunt::{Conclusion, Growth, guiltiest},
    report::Report,
    target::process::ProcessFacts,
    units::{format_count, format_duration, format_rate, format_seconds, format_size},
};

/// Processes that grow and are named in the news.
const NAMED: usize = 3;

impl Hunt {
    /// Who is watched.
    pub(super) fn say_begin(&self) {
        if self.config.tracing.quiet {
            return;
        }
        let list = self.watch.list();
        let whom = match &self.config.tracing.target {
            TargetChoice::Wide(scope) => {
                format!(" {}, and those that come", escape(&scope.to_string(), true))
            }
            _ => String::new(),
        };
        let processes = processes(list.living());
        eprintln!("memprof: watching {processes}{whom}, without a probe; Ctrl-C ends and reports");
        if list.left_out() > 0 {
            let left_out = format_count(list.left_out());
            eprintln!("memprof: {left_out} more find no room and are not watched");
        }
    }

    /// A process is about to be probed.
    pub(super) fn say_look(&self, facts: &ProcessFacts, growth: &Growth, at_most: Duration) {
        if !self.config.tracing.quiet {
            eprintln!(
                "memprof: {} grows: {} in {}, {}; probing it alone for up to {}",
                named(facts),
                format_size(growth.bytes.max(0.0) as u64),
                format_seconds(growth.seconds),
                format_rate(growth.rate),
                format_duration(at_most),
            );
        }
    }

    /// Its probes are out.
    pub(super) fn say_looked(&self, facts: &ProcessFacts, report: &Report, said: &Conclusion) {
        if self.config.tracing.quiet {
            return;
        }
        let what = match said {
            Conclusion::Find(kind, _, confidence) => {
                let sure = confidence.map(|sure| format!(", confidence {sure:.2}"));
                let function = guiltiest(report).and_then(|one| one.function.as_deref());
                let function = function.map(|name| format!(", {}", escape(name, true)));
                let [function, sure] = [function, sure].map(Option::unwrap_or_default);
                format!("{}{function}{sure}", kind.name())
            }
            Conclusion::Innocent(_) => "no leak".to_owned(),
        };
        eprintln!(
            "memprof: {}: {what}, after {}; its probes are out",
            named(facts),
            format_seconds(report.duration_seconds)
        );
    }

    /// The hunt is over.
    pub(super) fn say_end(&self, ended: &Ended) {
        if !self.config.tracing.quiet && matches!(ended, Ended::NobodyLeft) {
            eprintln!("memprof: all processes that were watched have ended");
        }
    }
}

impl Watch {
    /// Who grows.
    pub(super) fn say_news(&self, config: &HuntConfig, at: f64) {
        if config.tracing.quiet {
            return;
        }
        let list = self.list();
        let growing = list.growing();
        let mut named: Vec<String> = growing
            .iter()
            .take(NAMED)
            .map(|(process, growth)| {
                format!("{} {}", named(&process.facts), format_rate(growth.rate))
            })
            .collect();
        if growing.len() > NAMED {
            named.push(format!("and {} more", growing.len() - NAMED));
        }
        let who = match growing.len() {
            0 => "none grows".to_owned(),
            1 => format!("1 grows: {}", named.join(", ")),
            count => format!("{count} grow: {}", named.join(", ")),
        };
        let living = processes(list.living());
        eprintln!("memprof: {:>6}  {living}, {who}", format_seconds(at));
    }
}

/// `server (pid 1234)`
fn named(facts: &ProcessFacts) -> String {
    let name = facts.comm.as_deref().unwrap_or("?");
    format!("{} (pid {})", escape(name, true), facts.pid.0)
}

fn processes(count: usize) -> String {
    match count {
        1 => "1 process".to_owned(),
        _ => format!("{} processes", format_count(count as u64)),
    }
}
