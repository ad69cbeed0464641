//! The report as one page that needs nothing else: verdicts, figures, latency distributions, time lines.

use super::charts;
use super::claims::{Verdict, judge};
use super::markdown::{figure, rows};
use super::outcome::Outcome;
use crate::BenchError;
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2733}\
table{border-collapse:collapse;margin:.7rem 0}td,th{border:1px solid #cfd8e0;padding:.25rem .6rem;text-align:left;vertical-align:top}\
.met{background:#dcf3e2}.missed{background:#fbdedb}.unknown{background:#f1f1f1}\
svg{max-width:100%;height:auto}code{font-size:12px;word-break:break-all}summary{cursor:pointer}h2{margin-top:2.5rem}";

/// The whole page.
pub(super) fn page(outcomes: &[Outcome]) -> Result<String, BenchError> {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>RingMQ: measured</title>\
         <style>{STYLE}</style><h1>RingMQ: measured</h1>"
    );
    if let Some(first) = outcomes.first() {
        let _ = write!(html, "<p>{}</p>", text(&first.machine.to_string()));
    }
    claims(outcomes, &mut html);
    for outcome in outcomes {
        scenario(outcome, &mut html)?;
    }
    html += "</html>\n";
    Ok(html)
}

fn claims(outcomes: &[Outcome], html: &mut String) {
    *html += "<table><tr><th>target<th>claim<th>verdict<th>figures</tr>";
    for outcome in outcomes {
        for claim in &outcome.scenario.claims {
            let judged = judge(claim, outcome);
            let class = match judged.verdict {
                Verdict::Met => "met",
                Verdict::NotMet => "missed",
                Verdict::NotMeasured => "unknown",
            };
            let _ = write!(
                html,
                "<tr class=\"{class}\"><td><a href=\"#{}\">{}</a><td>{}<td>{}<td>{}</tr>",
                outcome.scenario.name,
                outcome.scenario.target,
                text(&judged.text),
                judged.verdict.words(),
                text(&judged.because)
            );
        }
    }
    *html += "</table>";
}

fn scenario(outcome: &Outcome, html: &mut String) -> Result<(), BenchError> {
    let scenario = &outcome.scenario;
    let _ = write!(
        html,
        "<h2 id=\"{}\">{}: {}</h2><p>{}</p><table><tr><th>entrant<th>step<th>median (smallest–largest of the rounds)</tr>",
        scenario.name,
        scenario.target,
        text(&scenario.title),
        text(scenario.about.trim())
    );
    for row in rows(outcome) {
        let figures: Vec<String> = row
            .figures
            .iter()
            .map(|(unit, s)| text(&figure(unit, s)))
            .collect();
        let _ = write!(
            html,
            "<tr><td>{}<td>{}<td>{}</tr>",
            text(&row.entrant.name),
            text(&row.step),
            figures.join("<br>")
        );
    }
    *html += "</table><ul>";
    for entrant in &outcome.entrants {
        let said = match &entrant.missing {
            Some(missing) => format!("not measured, or not wholly: {missing}"),
            None => format!("{}. {}", entrant.durability, entrant.version),
        };
        let _ = write!(html, "<li>{}: {}</li>", text(&entrant.name), text(&said));
    }
    *html += "</ul>";
    for chart in charts::of(outcome)? {
        *html += &chart;
    }
    *html += "<details><summary>Commands</summary>";
    for row in rows(outcome) {
        if let Some(step) = row.entrant.steps(&row.step).next() {
            let _ = write!(html, "<p><code>{}</code></p>", text(&step.command));
        }
    }
    *html += "</details>";
    Ok(())
}

/// Text as text.
fn text(raw: &str) -> String {
    raw.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
