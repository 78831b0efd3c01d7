//! Cycles, validated.

use std::ffi::OsString;

use anyhow::Result;

use crate::{bad_input, cli::CyclesArgs, cycles::MIN_STEADY};

/// The most cycles of one run: each takes a mark.
const MAX_CYCLES: u32 = 500;

/// What is to be done again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CyclesConfig {
    /// How many times.
    pub count: u32,
    /// The first ones, which don't count.
    pub warm_up: u32,
    /// Whether the traced program itself is launched each time.
    pub launches: bool,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

impl CyclesConfig {
    /// Validates; takes the command away if it is an action against running processes.
    ///
    /// # Errors
    /// The first argument that makes no sense, as bad input.
    pub fn new(
        args: &CyclesArgs,
        attaches: bool,
        command: &mut Vec<OsString>,
    ) -> Result<Option<Self>> {
        let Some(text) = &args.cycles else {
            return Ok(None);
        };
        let least = 1 + MIN_STEADY as u32;
        let count = match text.parse() {
            Ok(count) if (least..=MAX_CYCLES).contains(&count) => count,
            _ => {
                return Err(bad_input!(
                    "--cycles {text:?}: give a number from {least} to {MAX_CYCLES}"
                ));
            }
        };
        let most = count - MIN_STEADY as u32;
        let warm_up = match &args.cycles_warm_up {
            None => (count / 5).max(1),
            Some(text) => match text.parse() {
                Ok(warm_up) if warm_up <= most => warm_up,
                _ => {
                    return Err(bad_input!(
                        "--cycles-warm-up {text:?}: give a number from 0 to {most}, so that \
                         {MIN_STEADY} cycles count"
                    ));
                }
            },
        };
        if command.is_empty() {
            return Err(bad_input!(
                "--cycles needs something to do again and again: give -- COMMAND"
            ));
        }
        Ok(Some(Self {
            count,
            warm_up,
            launches: !attaches,
            command: if attaches {
                std::mem::take(command)
            } else {
                command.clone()
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(count: &str, warm_up: Option<&str>, attaches: bool) -> Result<CyclesConfig> {
        let args = CyclesArgs {
            cycles: Some(count.to_owned()),
            cycles_warm_up: warm_up.map(str::to_owned),
        };
        let mut command = vec![OsString::from("curl")];
        let config = CyclesConfig::new(&args, attaches, &mut command)?;
        assert_eq!(command.is_empty(), attaches);
        Ok(config.expect("cycles were asked for"))
    }

    #[test]
    fn a_fifth_of_the_cycles_warms_up_unless_it_is_said() {
        assert_eq!(config("20", None, true).unwrap().warm_up, 4);
        assert_eq!(config("5", None, true).unwrap().warm_up, 1);
        assert_eq!(config("10", Some("0"), true).unwrap().warm_up, 0);
        assert!(config("10", None, false).unwrap().launches);
    }

    #[test]
    fn too_few_too_many_and_all_warming_up_are_refused() {
        for count in ["0", "4", "501", "-5", "many", ""] {
            let error = config(count, None, true).unwrap_err().to_string();
            assert!(error.contains("from 5 to 500"), "{error}");
        }
        assert!(config("10", Some("7"), true).is_err());
        let none = CyclesArgs {
            cycles: Some("9".to_owned()),
            cycles_warm_up: None,
        };
        assert!(CyclesConfig::new(&none, true, &mut Vec::new()).is_err());
        let absent = CyclesArgs::default();
        assert_eq!(
            CyclesConfig::new(&absent, true, &mut Vec::new()).unwrap(),
            None
        );
    }
}
