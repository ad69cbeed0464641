//! A real broker on a disk that loses its power, fails, hangs and fills up.
//!
//! Most of these tests need root, FUSE and loop devices. Where something is missing a test says what, and is reported
//! as ignored; a test that was not run never counts as passed. So this target has a harness of its own, whose options
//! are those of any other test: `cargo test -p ringmq-broker --test faults -- --list`.

mod bad_disk;
mod clock;
mod device;
mod disk;
mod full_disk;
#[path = "../blackbox/harness.rs"]
#[allow(dead_code, reason = "shared with the black-box tests")]
mod harness;
mod idle;
mod load;
mod memory;
mod power_cuts;
#[path = "../blackbox/remoting/client.rs"]
#[allow(dead_code, reason = "shared with the black-box tests")]
mod remoting;
mod report;
mod scene;
#[path = "../blackbox/wire.rs"]
#[allow(dead_code, reason = "shared with the black-box tests")]
mod wire;

use device::Kind;
use disk::{Behaviour, Loss};
use full_disk::Shortage;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("the_volatile_disk_keeps_its_own_rules", || {
        disk::keeps_its_own_rules();
        Ok(())
    })];
    trials.extend(power_cut_trials());
    trials.extend(bad_disk_trials());
    trials.extend(full_disk_trials());
    trials.extend(process_trials());
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

/// Errors, hangs and slowness below both file systems.
fn bad_disk_trials() -> Vec<Trial> {
    let good = Behaviour::default;
    let writes_fail = Behaviour {
        writes_fail: true,
        ..good()
    };
    let flushes_fail = Behaviour {
        flushes_fail: true,
        ..good()
    };
    type Test = Box<dyn Fn(Kind) + Send>;
    let mut trials = Vec::new();
    for kind in [Kind::Ext4, Kind::Xfs] {
        let tests: [(&str, Test); 5] = [
            (
                "a_failed_write_stops_the_log_until_a_restart",
                Box::new(move |kind| bad_disk::stops_the_log(kind, writes_fail)),
            ),
            (
                "a_failed_flush_stops_the_log_until_a_restart",
                Box::new(move |kind| bad_disk::stops_the_log(kind, flushes_fail)),
            ),
            (
                "what_cannot_be_read_is_reported",
                Box::new(bad_disk::reports_what_it_cannot_read),
            ),
            (
                "a_disk_that_hangs_is_waited_for",
                Box::new(bad_disk::outlives_a_hang),
            ),
            (
                "a_slow_disk_is_only_slow",
                Box::new(bad_disk::is_as_slow_as_its_disk),
            ),
        ];
        for (name, test) in tests {
            let name = format!("{name}_{}", kind.name());
            trials.push(unless(device::missing(kind), &name, move || {
                test(kind);
                Ok(())
            }));
        }
    }
    trials
}

fn full_disk_trials() -> Vec<Trial> {
    let shortages = [
        (
            Shortage::Watermark,
            "a_disk_above_its_watermark_refuses_until_room_returns",
        ),
        (
            Shortage::Segment,
            "a_disk_without_room_for_a_segment_refuses_until_room_returns",
        ),
    ];
    let mut trials = Vec::new();
    for kind in [Kind::Ext4, Kind::Xfs] {
        for (shortage, name) in shortages {
            let name = format!("{name}_{}", kind.name());
            trials.push(unless(device::missing(kind), &name, move || {
                full_disk::refuses_and_goes_on(kind, shortage);
                Ok(())
            }));
        }
    }
    trials
}

/// What surrounds a process: clock, memory, numbers of connections.
fn process_trials() -> Vec<Trial> {
    let idle = || {
        let each = idle::cost_little();
        say(&format!("5,000 idle connections: {each} bytes each"));
        Ok(())
    };
    let clock = || {
        clock::may_jump();
        Ok(())
    };
    let memory = || {
        let most = memory::is_enough();
        say(&format!(
            "at most {} MiB in a cgroup of 288 MiB",
            most >> 20
        ));
        Ok(())
    };
    vec![
        unless(idle::missing(), "idle_connections_cost_little", idle),
        unless(clock::missing(), "the_wall_clock_may_jump", clock),
        unless(memory::missing(), "a_memory_limit_is_enough", memory),
    ]
}

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
