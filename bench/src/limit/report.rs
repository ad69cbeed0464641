//! What `limit` found: for people and as JSON.

use super::args::Arguments;
use super::processors::Gaps;
use super::serving::Shape;
use crate::histogram::{Latencies, Summary};
use crate::machine::Machine;
use crate::spread::Spread;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// One combination of the bare loop. Rates are in megabytes (10^6 bytes) a second.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) request_bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) rounds_mb_per_second: Vec<f64>,
}

/// Sequential direct reads.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DiskRead {
    pub(crate) block_bytes: usize,
    pub(crate) depth: usize,
    pub(crate) rounds_mb_per_second: Vec<f64>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Limits {
    machine: Machine,
    buffer_bytes: u32,
    pub(crate) cells: Vec<Cell>,
    /// The best median of the cells.
    best_mb_per_second: Option<f64>,
    /// The best of the sequential reads.
    best_read_mb_per_second: Option<f64>,
    /// Medians of a durable write and a loopback round trip, one after the other.
    durable_round_trip_p50_us: Option<f64>,
    pub(crate) reads: Vec<DiskRead>,
    /// 4 KiB writes with O_DSYNC into written space, one after the other; a summary a round.
    pub(crate) durable_write: Vec<Summary>,
    /// 1 KiB there, 64 bytes back, over loopback; a summary a round.
    pub(crate) round_trip: Vec<Summary>,
    pub(crate) loopback_mb_per_second: Vec<f64>,
    /// Time that the processors were taken away; a round each.
    pub(crate) processor_gaps: Vec<Gaps>,
    /// The median round's part of the time, and the longest of all.
    processor_lost_percent: Option<f64>,
    processor_gap_max_us: Option<f64>,
}

impl Limits {
    pub(super) fn new(arguments: &Arguments, directory: &Path) -> Self {
        Self {
            machine: Machine::look(directory),
            buffer_bytes: arguments.buffer_bytes,
            cells: Vec::new(),
            best_mb_per_second: None,
            best_read_mb_per_second: None,
            durable_round_trip_p50_us: None,
            reads: Vec::new(),
            durable_write: Vec::new(),
            round_trip: Vec::new(),
            loopback_mb_per_second: Vec::new(),
            processor_gaps: Vec::new(),
            processor_lost_percent: None,
            processor_gap_max_us: None,
        }
    }

    pub(super) fn add_loop(&mut self, shape: &Shape, rate: f64) {
        let is_it = |cell: &&mut Cell| {
            (cell.request_bytes, cell.in_flight) == (shape.bytes, shape.in_flight)
        };
        match self.cells.iter_mut().find(is_it) {
            Some(cell) => cell.rounds_mb_per_second.push(rate),
            None => self.cells.push(Cell {
                request_bytes: shape.bytes,
                in_flight: shape.in_flight,
                connections: shape.connections,
                rounds_mb_per_second: vec![rate],
            }),
        }
    }

    pub(super) fn add_read(&mut self, block: usize, depth: usize, rate: f64) {
        let is_it = |read: &&mut DiskRead| (read.block_bytes, read.depth) == (block, depth);
        match self.reads.iter_mut().find(is_it) {
            Some(read) => read.rounds_mb_per_second.push(rate),
            None => self.reads.push(DiskRead {
                block_bytes: block,
                depth,
                rounds_mb_per_second: vec![rate],
            }),
        }
    }

    pub(super) fn add_durable(&mut self, times: Latencies) {
        self.durable_write.extend(times.summary());
    }

    pub(super) fn add_round_trip(&mut self, times: Latencies) {
        self.round_trip.extend(times.summary());
    }

    pub(super) fn add_loopback(&mut self, rate: f64) {
        self.loopback_mb_per_second.push(rate);
    }

    pub(super) fn add_gaps(&mut self, gaps: Gaps) {
        self.processor_gaps.push(gaps);
    }

    /// Works out what the rounds come to together.
    pub(super) fn conclude(&mut self) {
        self.best_mb_per_second = self.best().map(|(rate, _)| rate);
        let reads = self.reads.iter();
        let reads = reads.filter_map(|read| Spread::of(read.rounds_mb_per_second.iter().copied()));
        self.best_read_mb_per_second = reads.map(|rate| rate.median).max_by(f64::total_cmp);
        let p50 = |rounds: &[Summary]| Spread::of(rounds.iter().map(|round| round.p50_us));
        let (write, trip) = (p50(&self.durable_write), p50(&self.round_trip));
        self.durable_round_trip_p50_us = write.zip(trip).map(|(w, t)| w.median + t.median);
        let gaps = &self.processor_gaps;
        self.processor_lost_percent =
            Spread::of(gaps.iter().map(|round| round.lost_percent)).map(|lost| lost.median);
        self.processor_gap_max_us = Spread::of(gaps.iter().map(|g| g.longest_us)).map(|g| g.max);
    }

    /// The best median of the loop, with its request size and in flight.
    pub(crate) fn best(&self) -> Option<(f64, &Cell)> {
        let medians = self.cells.iter().filter_map(|cell| {
            let rate = Spread::of(cell.rounds_mb_per_second.iter().copied())?.median;
            Some((rate, cell))
        });
        medians.max_by(|a, b| a.0.total_cmp(&b.0))
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for cell in &self.cells {
            line(
                &mut text,
                &format!(
                    "bare loop, {} KiB × {} in flight × {} connections",
                    cell.request_bytes >> 10,
                    cell.in_flight,
                    cell.connections
                ),
                &cell.rounds_mb_per_second,
            );
        }
        if let Some((rate, cell)) = self.best() {
            let (kib, in_flight) = (cell.request_bytes >> 10, cell.in_flight);
            let _ = writeln!(
                text,
                "limit: {rate:.0} MB/s, with {kib} KiB × {in_flight} in flight"
            );
        }
        for read in &self.reads {
            let (kib, depth) = (read.block_bytes >> 10, read.depth);
            let what = format!("sequential read, {kib} KiB × {depth} under way");
            line(&mut text, &what, &read.rounds_mb_per_second);
        }
        line(
            &mut text,
            "loopback, one connection",
            &self.loopback_mb_per_second,
        );
        times(&mut text, "durable write of 4 KiB", &self.durable_write);
        times(&mut text, "loopback round trip", &self.round_trip);
        if let Some((lost, longest)) = self.processor_lost_percent.zip(self.processor_gap_max_us) {
            let over = Spread::of(self.processor_gaps.iter().map(|g| g.over_1ms_per_second));
            let over = over.map_or(f64::NAN, |over| over.median);
            let what = "processors taken away";
            let _ = writeln!(
                text,
                "{what:>52}: {lost:.2} % of the time, {over:.1} times a second for over 1 ms, at most {:.1} ms",
                longest / 1e3
            );
        }
        text
    }
}

fn line(text: &mut String, what: &str, rates: &[f64]) {
    if let Some(rate) = Spread::of(rates.iter().copied()) {
        let (median, min, max) = (rate.median, rate.min, rate.max);
        let _ = writeln!(text, "{what:>52}: {median:>6.0} MB/s ({min:.0}–{max:.0})");
    }
}

fn times(text: &mut String, what: &str, rounds: &[Summary]) {
    let of = |figure: fn(&Summary) -> f64| {
        Spread::of(rounds.iter().map(figure)).map_or(f64::NAN, |spread| spread.median)
    };
    if !rounds.is_empty() {
        let _ = writeln!(
            text,
            "{what:>52}: p50 {:.1}  p99 {:.1}  p99.9 {:.1} µs",
            of(|s| s.p50_us),
            of(|s| s.p99_us),
            of(|s| s.p99_9_us)
        );
    }
}
