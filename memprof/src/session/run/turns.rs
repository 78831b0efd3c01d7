//! The commands of a trace: what a signal or a cycle makes of them.

use anyhow::Result;
use nix::sys::signal::Signal;
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

use super::{
    super::{collector::Notice, targets::Targets},
    Ended, GRACE, Run,
};

impl Run {
    /// Goes on with the action of the cycles.
    pub(super) fn take_turn(&mut self) -> Result<()> {
        match &mut self.cycles {
            Some(cycles) => cycles.turn(&self.shared, self.start, self.config.quiet),
            None => Ok(()),
        }
    }

    /// The launched command has ended: if that was a cycle and there are more, launches it again.
    /// Whether it did.
    pub(super) fn launch_again(&mut self) -> Result<bool> {
        if !self
            .config
            .cycles
            .as_ref()
            .is_some_and(|cycles| cycles.launches)
        {
            return Ok(false);
        }
        let took = self.released_at.elapsed();
        self.note_final_status(&Ended::NobodyLeft);
        let status = self.command_status.map(|(_, status)| status);
        if let Some(cycles) = &mut self.cycles {
            cycles.end_one(took, status, &self.shared, self.start, self.config.quiet);
            if cycles.are_done() {
                return Ok(false);
            }
        }
        let mut targets = Targets::prepare(&self.config)?;
        self.tracer.follow(&targets)?;
        {
            let mut state = self.shared.lock();
            self.tracer.introduce(&mut targets, &mut state);
            state.code.tables().settle();
        }
        self.release(targets)?;
        Ok(true)
    }

    /// Ctrl-C reaches a launched command too: its end is part of the report.
    pub(super) async fn await_command(
        &mut self,
        signal: Signal,
        notices: &mut UnboundedReceiver<Notice>,
    ) {
        if signal != Signal::SIGINT || self.command.is_none() {
            return;
        }
        let ended = async {
            while let Some(notice) = notices.recv().await {
                if notice == Notice::AllEnded {
                    return;
                }
            }
        };
        // One that does not end goes on; the report is made all the same.
        let _ = timeout(GRACE, ended).await;
    }
}
