//! Claims held against figures. A claim that is not met is said to be not met, with the figures; nothing else is done
//! about it here.

use super::outcome::Outcome;
use super::scenario::Claim;
use serde::Serialize;

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Verdict {
    Met,
    NotMet,
    /// A figure is missing.
    NotMeasured,
}

/// A claim with its figures.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Judged {
    pub(super) text: String,
    pub(super) verdict: Verdict,
    /// The figures in words.
    pub(super) because: String,
}

impl Verdict {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::NotMeasured => "not measured",
        }
    }
}

/// Holds one claim against the medians.
pub(super) fn judge(claim: &Claim, outcome: &Outcome) -> Judged {
    let (verdict, because) = weigh(claim, outcome);
    Judged {
        text: claim.text.clone(),
        verdict,
        because,
    }
}

fn weigh(claim: &Claim, outcome: &Outcome) -> (Verdict, String) {
    let Some(figure) = outcome.figure(&claim.figure) else {
        return (Verdict::NotMeasured, format!("{} is missing", claim.figure));
    };
    let figure = figure.median;
    let there = claim.against.iter().filter_map(|name| {
        let spread = outcome.figure(name)?;
        Some((spread.median, name))
    });
    // The hardest comparison: the highest where ours must be higher, the lowest where it must be lower.
    let best = match claim.at_least {
        Some(_) => there.max_by(|a, b| a.0.total_cmp(&b.0)),
        None => there.min_by(|a, b| a.0.total_cmp(&b.0)),
    };
    let (base, of) = match best {
        Some((base, name)) => (base, format!(" × {} ({name})", short(base))),
        None if claim.against.is_empty() => (1.0, String::new()),
        None => {
            return (
                Verdict::NotMeasured,
                format!("no figure of {}", claim.against.join(", ")),
            );
        }
    };
    let (met, bound) = match (claim.at_least, claim.at_most) {
        (Some(factor), _) => (figure >= factor * base, format!("at least {factor}{of}")),
        (_, Some(factor)) => (figure <= factor * base, format!("at most {factor}{of}")),
        (None, None) => (false, "no bound".to_owned()),
    };
    let mut because = format!("{} against {bound}", short(figure));
    if base != 1.0 {
        because += &format!(": {:.2} times", figure / base);
    }
    let missing: Vec<&str> = claim
        .against
        .iter()
        .filter(|name| outcome.figure(name).is_none())
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        because += &format!("; not measured: {}", missing.join(", "));
    }
    (if met { Verdict::Met } else { Verdict::NotMet }, because)
}

/// A figure for people: whole above a hundred, else as many digits as it takes.
pub(super) fn short(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => grouped(figure),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

/// A whole number with a comma every three digits.
fn grouped(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if figure < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::rig::outcome::{EntrantOutcome, Round, StepOutcome};
    use crate::rig::scenario::{Kind, Scenario};
    use serde_json::json;
    use std::path::Path;

    fn outcome(figures: &[(&str, &[f64])]) -> Outcome {
        let scenario = "title = \"t\"\ntarget = 1\n[[entrant]]\nname = \"a\"\nserver = \"null\"\n";
        let entrant = |(name, rounds): &(&str, &[f64])| EntrantOutcome {
            name: (*name).to_owned(),
            server: Kind::Null,
            version: String::new(),
            durability: String::new(),
            command: String::new(),
            missing: None,
            rounds: rounds
                .iter()
                .map(|figure| Round {
                    steps: vec![StepOutcome {
                        name: "s".to_owned(),
                        command: String::new(),
                        began_unix_ms: 0,
                        report: json!({ "throughput": { "rate": figure } }),
                    }],
                    marks: Vec::new(),
                })
                .collect(),
        };
        Outcome {
            scenario: Scenario::parse("s", scenario).expect("good"),
            machine: Machine::look(Path::new("/")),
            began_unix_ms: 0,
            entrants: figures.iter().map(entrant).collect(),
        }
    }

    fn claim(against: &[&str], at_least: Option<f64>, at_most: Option<f64>) -> Claim {
        let figure = |name: &str| format!("{name}/s/throughput.rate");
        Claim {
            text: "c".to_owned(),
            figure: figure("ours"),
            against: against.iter().map(|name| figure(name)).collect(),
            at_least,
            at_most,
        }
    }

    #[test]
    fn the_hardest_comparison_decides() {
        let outcome = outcome(&[
            ("ours", &[90.0, 100.0, 500.0]),
            ("slow", &[10.0]),
            ("fast", &[60.0]),
        ]);
        let verdict =
            |against: &[&str], least, most| judge(&claim(against, least, most), &outcome).verdict;
        assert_eq!(verdict(&["slow", "fast"], Some(1.5), None), Verdict::Met);
        assert_eq!(verdict(&["slow", "fast"], Some(2.0), None), Verdict::NotMet);
        assert_eq!(verdict(&["slow", "fast"], None, Some(2.0)), Verdict::NotMet);
        assert_eq!(verdict(&[], Some(100.0), None), Verdict::Met);
        assert_eq!(verdict(&[], None, Some(99.0)), Verdict::NotMet);
        assert_eq!(verdict(&["gone"], Some(0.1), None), Verdict::NotMeasured);
        let judged = judge(&claim(&["slow", "gone"], Some(1.0), None), &outcome);
        assert_eq!(judged.verdict, Verdict::Met);
        assert!(judged.because.contains("not measured: gone"), "{judged:?}");
    }

    #[test]
    fn figures_are_short() {
        let cases = [
            (1_234_567.8, "1,234,568"),
            (123.4, "123"),
            (12.34, "12.3"),
            (0.654_32, "0.654"),
        ];
        for (figure, text) in cases {
            assert_eq!(short(figure), text);
        }
    }
}
