//! Counts the instructions of each code path under callgrind and compares them with `instructions.toml`:
//! `cargo bench --workspace --bench instructions`, with `-- --update` to write the file anew.
//!
//! Counts do not depend on how busy a machine is, but on compiler, C library, valgrind and what the processor offers.
//! The file says with what it was made; where that differs the counts are shown and nothing fails.
#![allow(clippy::print_stdout, reason = "its output is what it is run for")]

mod paths;

use paths::Path;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, fs, io};

/// More than this is a regression, less is worth a new baseline.
const MARGIN: f64 = 0.05;

/// What is committed.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    made_with: String,
    instructions: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let update = arguments.iter().any(|argument| argument == "--update");
    if let Some(at) = arguments.iter().position(|argument| argument == "--path") {
        run_one(&arguments[at + 1]);
        return ExitCode::SUCCESS;
    }
    let Some(valgrind) = first_line(Command::new("valgrind").arg("--version")) else {
        println!("SKIPPED: valgrind is not installed");
        return ExitCode::SUCCESS;
    };
    let made_with = format!("{}, {valgrind}, {}", rustc(), machine());
    let counted = paths::all()
        .into_iter()
        .map(|path| (path.name.to_owned(), count(path.name)));
    let found = Baseline {
        made_with,
        instructions: counted.collect(),
    };
    if update {
        let text = toml::to_string(&found).expect("it is a table of numbers");
        fs::write(file(), text).expect("the baseline can be written");
        return ExitCode::SUCCESS;
    }
    let text = fs::read_to_string(file()).expect("the baseline is committed");
    compare(
        &toml::from_str(&text).expect("the baseline is TOML"),
        &found,
    )
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml")
}

/// Shows every count beside its baseline.
fn compare(baseline: &Baseline, found: &Baseline) -> ExitCode {
    let mut worse = 0;
    let mut better = 0;
    for (name, count) in &found.instructions {
        let Some(before) = baseline.instructions.get(name) else {
            println!("{name:32} {count:>10}   not in the baseline");
            worse += 1;
            continue;
        };
        let change = *count as f64 / *before as f64 - 1.0;
        println!(
            "{name:32} {count:>10}   {:+.1} % of {before}",
            change * 100.0
        );
        worse += usize::from(change > MARGIN);
        better += usize::from(change < -MARGIN);
    }
    if baseline.made_with != found.made_with {
        println!(
            "the baseline was made with\n  {}\nthis is\n  {}",
            baseline.made_with, found.made_with
        );
        println!("SKIPPED: such counts cannot be compared");
        return ExitCode::SUCCESS;
    }
    if better > 0 {
        println!("{better} are better by more than {MARGIN}: keep that with -- --update");
    }
    if worse > 0 {
        println!(
            "{worse} are worse by more than {MARGIN}: mend it, or say why and use -- --update"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs one path alone in callgrind.
fn count(name: &str) -> u64 {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let output = directory.path().join("counts");
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted*"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(program)
        .args(["--path", name])
        .output()
        .expect("valgrind can be run");
    let words = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{name}: {words}");
    let counts = fs::read_to_string(&output).expect("callgrind writes its counts");
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total
        .filter(|total| *total > 0)
        .unwrap_or_else(|| panic!("{name}: nothing was counted: {words}"))
}

fn run_one(name: &str) {
    let path = paths::all().into_iter().find(|path| path.name == name);
    let Path { mut run, .. } = path.expect("the name of a path");
    // What is found out once, such as what the processor can do, is not part of the path.
    run();
    counted(&mut *run);
}

/// What callgrind counts: this function and all that it calls.
#[inline(never)]
fn counted(run: &mut dyn FnMut()) {
    run();
    // Something must follow, or the call above would become a jump out of this function.
    std::hint::black_box(());
}

fn first_line(command: &mut Command) -> Option<String> {
    let output: io::Result<_> = command.output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

fn rustc() -> String {
    let program = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    first_line(Command::new(program).arg("--version"))
        .unwrap_or_else(|| "an unknown compiler".to_owned())
}

/// C library and what of the processor changes which code is chosen at run time.
fn machine() -> String {
    let libc = first_line(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let libc = libc.unwrap_or_else(|| "an unknown C library".to_owned());
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags"));
    let has = |flag: &&str| flags.is_some_and(|flags| flags.split(' ').any(|f| f == *flag));
    let features: Vec<&str> = ["avx2", "bmi2", "pclmulqdq", "sse4_2"]
        .into_iter()
        .filter(has)
        .collect();
    format!("{libc}, {} {}", env::consts::ARCH, features.join(" "))
}
