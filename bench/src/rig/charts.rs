//! Charts of a scenario, as SVG.

use super::markdown::rows;
use super::outcome::{Outcome, StepOutcome};
use crate::BenchError;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 340);
/// A time line of fewer seconds shows nothing that the figures do not.
const SECONDS_MIN: usize = 10;

type Points = Vec<(f64, f64)>;

/// A latency distribution if there are latencies, and a time line for every long step.
pub(super) fn of(outcome: &Outcome) -> Result<Vec<String>, BenchError> {
    let mut charts = Vec::new();
    let distributions: Vec<(String, Points)> = rows(outcome)
        .iter()
        .filter_map(|row| {
            let points = distribution(row.entrant.steps(&row.step).last()?)?;
            Some((format!("{} {}", row.entrant.name, row.step), points))
        })
        .collect();
    if !distributions.is_empty() {
        charts.push(draw_distributions(&distributions)?);
    }
    for entrant in &outcome.entrants {
        let Some(round) = entrant.rounds.last() else {
            continue;
        };
        for step in &round.steps {
            let lines = timeline(step);
            if lines
                .first()
                .is_some_and(|(_, points)| points.len() >= SECONDS_MIN)
            {
                let begin = step.report["began_unix_ms"]
                    .as_u64()
                    .unwrap_or(step.began_unix_ms);
                let marks = round.marks.iter().filter_map(|mark| {
                    let at = mark.unix_ms.checked_sub(begin)? as f64 / 1e3;
                    Some((at, mark.what.as_str()))
                });
                let title = format!("{} {}: by the second", entrant.name, step.name);
                charts.push(draw_timeline(&title, &lines, &marks.collect::<Vec<_>>())?);
            }
        }
    }
    Ok(charts)
}

/// (how many nines, µs): the tail gets as much room as it deserves.
fn distribution(step: &StepOutcome) -> Option<Points> {
    let points = step.report.get("distribution")?.as_array()?;
    let points = points.iter().filter_map(|point| {
        let (quantile, us) = (point.get(0)?.as_f64()?, point.get(1)?.as_f64()?);
        Some((-(1.0 - quantile).max(1e-6).log10(), us.max(1.0)))
    });
    Some(points.collect())
}

fn timeline(step: &StepOutcome) -> Vec<(&'static str, Points)> {
    let seconds = step
        .report
        .get("timeline")
        .and_then(serde_json::Value::as_array);
    let line = |key: &str| {
        let points = seconds.into_iter().flatten().filter_map(|second| {
            Some((second["second"].as_f64()?, second[key].as_f64()?.max(1.0)))
        });
        points.collect::<Points>()
    };
    vec![
        ("p50", line("p50_us")),
        ("p99", line("p99_us")),
        ("slowest", line("max_us")),
    ]
}

fn draw_distributions(lines: &[(String, Points)]) -> Result<String, BenchError> {
    let x = |value: &f64| match *value {
        low if low < 0.05 => "0".to_owned(),
        nines => format!("{}", 100.0 * (1.0 - 10f64.powf(-nines)))
            .chars()
            .take(7)
            .collect(),
    };
    let named: Vec<(&str, &Points)> = lines.iter().map(|(n, p)| (n.as_str(), p)).collect();
    draw(
        "Time to acknowledgement: share of sends (%) answered within µs",
        &named,
        &[],
        &x,
    )
}

fn draw_timeline(
    title: &str,
    lines: &[(&'static str, Points)],
    marks: &[(f64, &str)],
) -> Result<String, BenchError> {
    let named: Vec<(&str, &Points)> = lines.iter().map(|(name, p)| (*name, p)).collect();
    draw(title, &named, marks, &|value| format!("{value:.0} s"))
}

fn draw(
    title: &str,
    lines: &[(&str, &Points)],
    marks: &[(f64, &str)],
    x_label: &dyn Fn(&f64) -> String,
) -> Result<String, BenchError> {
    let all = || lines.iter().flat_map(|(_, points)| points.iter());
    let right = all().map(|point| point.0).fold(1.0, f64::max);
    let low = all().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = all().map(|point| point.1).fold(low * 2.0, f64::max);
    let mut svg = String::new();
    let failed = |error: &dyn std::fmt::Display| {
        BenchError::Cluster(format!("cannot draw {title:?}: {error}"))
    };
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|e| failed(&e))?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..right, (low / 1.5..high * 1.5).log_scale())
            .map_err(|e| failed(&e))?;
        chart
            .configure_mesh()
            .x_label_formatter(&x_label)
            .y_label_formatter(&|us| format!("{us:.0} µs"))
            .light_line_style(WHITE)
            .draw()
            .map_err(|e| failed(&e))?;
        for (at, what) in marks.iter().filter(|(at, _)| *at <= right) {
            let color = match *what {
                "snapshot" => RGBColor(120, 60, 180),
                "segment sealed" => RGBColor(200, 120, 0),
                _ => RGBColor(0, 130, 130),
            };
            let mark = PathElement::new(vec![(*at, low / 1.5), (*at, low)], color.stroke_width(2));
            chart
                .draw_series(std::iter::once(mark))
                .map_err(|e| failed(&e))?;
        }
        for (index, (name, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(index).stroke_width(2);
            let series = LineSeries::new(points.iter().copied(), color);
            let drawn = chart.draw_series(series).map_err(|e| failed(&e))?;
            drawn
                .label(*name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(|e| failed(&e))?;
        root.present().map_err(|e| failed(&e))?;
    }
    let mut kinds: Vec<&str> = marks.iter().map(|(_, what)| *what).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if !kinds.is_empty() {
        svg += &format!(
            "<p>Marks at the lower edge: {} (orange: sealed, violet: snapshot, green: retired).</p>",
            kinds.join(", ")
        );
    }
    Ok(svg)
}
