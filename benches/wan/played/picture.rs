//! What was measured, as pictures: bars of one tool below those of another, one panel for each link.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::contest::{Run, Tool, Verdict};
use super::links::{Family, HOME};
use super::table::{Board, Row};

/// Pixels: the column of names, a panel, the bar in it, a line, what lies above and below the bars, and the room a
/// headline needs.
const NAMES: usize = 150;
const PANEL: usize = 215;
const BAR: f64 = 135.0;
const LINE: usize = 22;
const HEAD: usize = 96;
const FOOT: usize = 12;
const LEAST_WIDTH: usize = 580;

/// Ours, the others', and what did not end well.
const OURS: &str = "#1f6feb";
const OTHERS: &str = "#98a2ad";
const TROUBLE: &str = "#b42318";

/// One link, or one number.
struct Panel {
    title: String,
    bars: Vec<Bar>,
}

/// One tool's bar in a panel.
struct Bar {
    /// Share of the longest bar, 0 to 1.
    length: f64,
    label: String,
    good: bool,
}

impl Board {
    /// Writes a picture for each family of links that was measured, and one for the call beside an upload.
    pub(crate) fn draw(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        for family in Family::ALL {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.cell.family == family).collect();
            if !rows.is_empty() {
                let panels: Vec<Panel> = rows.into_iter().map(throughput).collect();
                let picture = self.picture(
                    family.title(),
                    "Whole file, as a share of what the link can carry: C(1 - p)",
                    &panels,
                );
                std::fs::write(directory.join(family.file()).with_extension("svg"), picture)?;
            }
        }
        if let Some(row) = self.rows.iter().find(|row| row.cell.name == HOME) {
            let note = format!("Round trips over {HOME}, in ms; 40 when nothing else is on the link");
            let picture = self.picture("A video call beside an upload", &note, &pings(row));
            std::fs::write(directory.join("peers-ping.svg"), picture)?;
        }
        Ok(())
    }

    fn picture(&self, title: &str, note: &str, panels: &[Panel]) -> String {
        let width = (NAMES + panels.len() * PANEL).max(LEAST_WIDTH);
        let height = HEAD + self.entrants.len() * LINE + FOOT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(&mut svg, 12.0, 24, "font-size=\"15\" font-weight=\"bold\"", title);
        text(&mut svg, 12.0, 42, "fill=\"#444c56\"", note);
        for (line, entrant) in self.entrants.iter().enumerate() {
            let weight = if is_ours(entrant.tool) {
                "font-weight=\"bold\""
            } else {
                ""
            };
            text(&mut svg, 12.0, baseline(line), weight, entrant.tool.name());
        }
        for (column, panel) in panels.iter().enumerate() {
            let left = (NAMES + column * PANEL) as f64;
            // A long name takes two lines; it breaks at a comma.
            let (first, second) = match panel.title.match_indices(", ").nth(1) {
                Some((at, _)) => panel.title.split_at(at + 1),
                None => ("", panel.title.as_str()),
            };
            text(&mut svg, left, 72, "fill=\"#444c56\"", first);
            text(&mut svg, left, 87, "fill=\"#444c56\"", second.trim_start());
            for (line, bar) in panel.bars.iter().enumerate() {
                let colour = if is_ours(self.entrants[line].tool) {
                    OURS
                } else {
                    OTHERS
                };
                let (top, long) = (HEAD + line * LINE + 3, bar.length.clamp(0.0, 1.0) * BAR);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{long:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                    LINE - 6
                );
                let fill = if bar.good { "#1c2128" } else { TROUBLE };
                let style = format!("fill=\"{fill}\"");
                text(&mut svg, left + long + 5.0, baseline(line), &style, &bar.label);
            }
        }
        svg + "</svg>\n"
    }
}

fn is_ours(tool: Tool) -> bool {
    matches!(tool, Tool::P2pcopy)
}

fn baseline(line: usize) -> usize {
    HEAD + line * LINE + 15
}

fn text(svg: &mut String, x: f64, y: usize, style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {style}>{words}</text>");
}

/// Each tool's share of what the link can carry; without a played link, of the fastest tool.
fn throughput(row: &Row) -> Panel {
    let mbit = |run: &Run| run.measured.mbit;
    let fastest = row.runs.iter().flatten().map(mbit).fold(1.0, f64::max);
    let bars = row.runs.iter().map(|run| {
        let Some(run) = run else { return nothing("-") };
        let share = mbit(run) / row.cell.ideal_mbit().unwrap_or(fastest);
        match run.measured.verdict {
            Verdict::Done => Bar {
                length: share,
                label: match row.cell.ideal_mbit() {
                    Some(_) => format!("{:.0}%", share * 100.0),
                    None => format!("{:.1} Gbit/s", mbit(run) / 1000.0),
                },
                good: true,
            },
            Verdict::Stalled => nothing("stall"),
            Verdict::Failed(_) => nothing("failed"),
        }
    });
    Panel {
        title: row.cell.name.to_owned(),
        bars: bars.collect(),
    }
}

/// The round trips beside each tool: median, 95th percentile, longest.
fn pings(row: &Row) -> Vec<Panel> {
    let longest = row.runs.iter().flatten().filter_map(|run| run.pings);
    let longest = longest.map(|delay| delay.max).max().unwrap_or_default();
    let panel = |title: &str, pick: fn(&super::ping::Delay) -> Duration| {
        let bars = row.runs.iter().map(|run| {
            let Some(delay) = run.as_ref().and_then(|run| run.pings) else {
                return nothing("-");
            };
            let trip = pick(&delay).as_secs_f64();
            Bar {
                length: trip / longest.as_secs_f64().max(1e-9),
                label: format!("{:.0}", trip * 1e3),
                good: true,
            }
        });
        Panel {
            title: title.to_owned(),
            bars: bars.collect(),
        }
    };
    vec![
        panel("median", |delay| delay.median),
        panel("95th percentile", |delay| delay.p95),
        panel("longest", |delay| delay.max),
    ]
}

fn nothing(label: &str) -> Bar {
    Bar {
        length: 0.0,
        label: label.to_owned(),
        good: false,
    }
}
