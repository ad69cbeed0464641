//! A real broker on a disk that loses its power, fails, hangs and fills up.
//!
//! Most of these tests need root, FUSE and loop devices. Where something is missing a test says what, and is reported
//! as ignored; a test that was not run never counts as passed. So this target has a harness of its own, whose options
//! are those of any other test: `cargo test -p ringmq-broker --test faults -- --list`.

mod device;
mod disk;
#[path = "../blackbox/harness.rs"]
#[allow(dead_code, reason = "shared with the black-box tests")]
mod harness;
mod load;
mod power_cuts;
mod report;
#[path = "../blackbox/wire.rs"]
#[allow(dead_code, reason = "shared with the black-box tests")]
mod wire;

use device::Kind;
use disk::Loss;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("the_volatile_disk_keeps_its_own_rules", || {
        disk::keeps_its_own_rules();
        Ok(())
    })];
    trials.extend(power_cut_trials());
    libtest_mimic::run(&arguments, trials).exit();
}

/// Cuts of each sort: from RINGMQ_POWER_CUTS; without it a few, from which no verdict is drawn.
fn power_cut_trials() -> Vec<Trial> {
    let cuts = std::env::var("RINGMQ_POWER_CUTS").ok();
    let cuts = cuts.map(|cuts| cuts.parse().expect("RINGMQ_POWER_CUTS is a number"));
    let mut trials = Vec::new();
    for kind in [Kind::Ext4, Kind::Xfs] {
        for (loss, name) in [(Loss::All, "drop"), (Loss::Torn, "torn")] {
            let (prefix, wanted) = match cuts {
                Some(cuts) => ("power_cuts", cuts),
                None => ("a_few_power_cuts", FEW),
            };
            let name = format!("{prefix}_on_{}_{name}", kind.name());
            let missing = device::missing(kind);
            let told = name.clone();
            let test = move || {
                let report = power_cuts::campaign(kind, loss, wanted);
                say(&format!("{told}: {report}"));
                match cuts {
                    Some(_) => report.verdict().map_err(Failed::from),
                    None => Ok(()),
                }
            };
            trials.push(unless(missing, &name, test));
        }
    }
    trials
}

/// Cuts of each sort in an ordinary test run.
const FEW: usize = 2;

/// A test that needs what not every machine has.
fn unless(
    missing: Option<String>,
    name: &str,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match missing {
        None => Trial::test(name, test),
        Some(why) => {
            let kind = format!("skipped: {why}");
            let test = move || Err(format!("cannot run here: {why}").into());
            Trial::test(name, test)
                .with_kind(kind)
                .with_ignored_flag(true)
        }
    }
}

#[allow(clippy::print_stderr, reason = "a figure for people")]
fn say(text: &str) {
    eprintln!("{text}");
}
