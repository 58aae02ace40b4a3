//! What was measured, as tables of Markdown.

use std::fmt::Write;
use std::time::Duration;

use super::contest::{Run, Tool, Verdict};
use super::links::{Cell, HOME};
use super::ping::Delay;

/// Someone who could take part, and whether it can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrant {
    pub(crate) tool: Tool,
    pub(crate) installed: bool,
}

/// One link, and each entrant's run over it; none of those that are not installed.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) cell: &'static Cell,
    /// The round trip while nothing else is on the link.
    pub(crate) base: Option<Duration>,
    pub(crate) runs: Vec<Option<Run>>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) rows: Vec<Row>,
}

/// The run in the middle: by how it ended, then by its rate.
pub(crate) fn median(mut runs: Vec<Run>) -> Option<Run> {
    runs.sort_by(|a, b| {
        let done = |run: &Run| run.measured.verdict == Verdict::Done;
        let rates = a.measured.mbit.total_cmp(&b.measured.mbit);
        done(a).cmp(&done(b)).then(rates)
    });
    let middle = runs.len() / 2;
    (middle < runs.len()).then(|| runs.swap_remove(middle))
}

/// A rate in Mbit/s with as many digits as mean something.
pub(crate) fn rate(mbit: f64) -> String {
    match mbit {
        100.0.. => format!("{mbit:.0}"),
        _ => format!("{mbit:.1}"),
    }
}

/// How a run went, in a few characters.
pub(crate) fn brief(cell: &Cell, run: &Run) -> String {
    match (&run.measured.verdict, cell.ideal_mbit(), run.crossed) {
        (Verdict::Done, Some(ideal), _) => {
            let mbit = run.measured.mbit;
            format!("{} ({:.0}%)", rate(mbit), mbit * 100.0 / ideal)
        }
        (Verdict::Done, None, _) => rate(run.measured.mbit),
        (Verdict::Stalled, _, Some(crossed)) => format!("stall ({})", rate(crossed)),
        (Verdict::Stalled, _, None) => "stall".to_owned(),
        (Verdict::Failed(_), ..) => "failed".to_owned(),
    }
}

/// A run in one line, for whoever watches.
pub(crate) fn line(cell: &Cell, base: Option<Duration>, run: &Run) -> String {
    let mut text = brief(cell, run);
    if let Some((delay, base)) = run.pings.zip(base) {
        let _ = write!(
            text,
            ", ping +{} ms, {:.1}% lost",
            added(delay, base),
            delay.lost * 100.0
        );
    }
    if let Some(spent) = run.spent {
        let _ = write!(text, ", {spent:.3} B/B on the link");
    }
    if let Some(marked @ 1..) = run.marked {
        let _ = write!(text, ", {marked} marked");
    }
    if let Some(repeated) = run.measured.insight.and_then(|insight| insight.repeated) {
        let _ = write!(text, ", {:.2}% repeated", repeated * 100.0);
    }
    text
}

/// The delay beyond the idle link's, median and 95th percentile, in milliseconds.
fn added(delay: Delay, base: Duration) -> String {
    let beyond = |trip: Duration| milliseconds(trip.saturating_sub(base));
    format!("{} / {}", beyond(delay.median), beyond(delay.p95))
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    match milliseconds {
        10.0.. => format!("{milliseconds:.0}"),
        _ => format!("{milliseconds:.1}"),
    }
}

impl Board {
    /// All tables, with a headline each.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            "Whole file in Mbit/s, and its share of C(1 - p). \"stall\": not done within the bound; what \
                        left the link by then in Mbit/s, headers and repetitions included.\n\n"
                .to_owned();
        text += &self.grid(|row, run| Some(brief(row.cell, run)));
        text += "\nDelay the transfer adds to a ping beside it, median / 95th percentile in ms.\n\n";
        text += &self.grid(|row, run| Some(added(run.pings?, row.base?)));
        text += "\nBytes put on the link for each byte of the file.\n\n";
        text += &self.grid(|_, run| {
            let done = run.measured.verdict == Verdict::Done;
            run.spent.filter(|_| done).map(|spent| format!("{spent:.2}"))
        });
        text + &self.costs() + &self.call() + &self.insights() + &self.missing()
    }

    /// What the local network's transfers cost, where nothing else runs on the machine.
    fn costs(&self) -> String {
        let mut text = String::new();
        for row in self.rows.iter().filter(|row| !row.cell.is_played()) {
            let _ = write!(
                text,
                "\nCPU seconds of the whole machine for each GB, {}.\n\n| by | CPU s/GB |\n|---|---|\n",
                row.cell.name
            );
            for (entrant, run) in self.entrants.iter().zip(&row.runs) {
                if let Some(cpu) = run.as_ref().and_then(|run| run.cpu) {
                    let _ = writeln!(text, "| {} | {cpu:.2} |", entrant.tool.name());
                }
            }
        }
        text
    }

    /// Links down, tools across; an entry that is not there is a dash.
    fn grid(&self, entry: impl Fn(&Row, &Run) -> Option<String>) -> String {
        let mut text = "| link |".to_owned();
        for entrant in &self.entrants {
            let _ = write!(text, " {} |", entrant.tool.name());
        }
        let _ = writeln!(text, "\n|---|{}", "---|".repeat(self.entrants.len()));
        for row in &self.rows {
            let _ = write!(text, "| {} |", row.cell.name);
            for run in &row.runs {
                let run = run.as_ref().and_then(|run| entry(row, run));
                let _ = write!(text, " {} |", run.as_deref().unwrap_or("-"));
            }
            text.push('\n');
        }
        text
    }

    /// What a call beside an upload feels on an ordinary home's link.
    fn call(&self) -> String {
        let Some(row) = self.rows.iter().find(|row| row.cell.name == HOME) else {
            return String::new();
        };
        let mut text = format!(
            "\nA video call beside an upload: a packet every 20 ms over {HOME}, round trips in ms ({} idle).\n\n\
             | upload by | Mbit/s | median | 95% | longest | lost |\n|---|---|---|---|---|---|\n",
            row.base.map_or("?".to_owned(), milliseconds)
        );
        for (entrant, run) in self.entrants.iter().zip(&row.runs) {
            let Some((run, delay)) = run.as_ref().and_then(|run| Some((run, run.pings?))) else {
                continue;
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {:.1}% |",
                entrant.tool.name(),
                brief(row.cell, run),
                milliseconds(delay.median),
                milliseconds(delay.p95),
                milliseconds(delay.max),
                delay.lost * 100.0
            );
        }
        text
    }

    /// What p2pcopy tells about itself.
    fn insights(&self) -> String {
        let mut text = "\np2pcopy itself.\n\n| link | Mbit/s between the first and the last tenth | packets repeated | RSS sender | RSS receiver |\n\
                        |---|---|---|---|---|\n"
            .to_owned();
        let before = text.len();
        for row in &self.rows {
            let Some(insight) = row.runs.iter().flatten().find_map(|run| run.measured.insight) else {
                continue;
            };
            let [sender, receiver] = insight.memory.map(|bytes| bytes >> 20);
            let repeated = insight
                .repeated
                .map_or("-".to_owned(), |share| format!("{:.2}%", share * 100.0));
            let middle = insight.middle.map_or("-".to_owned(), rate);
            let _ = writeln!(
                text,
                "| {} | {middle} | {repeated} | {sender} MiB | {receiver} MiB |",
                row.cell.name
            );
        }
        if text.len() == before { String::new() } else { text }
    }

    /// How to have those take part that did not.
    fn missing(&self) -> String {
        let mut text = String::new();
        for entrant in self.entrants.iter().filter(|entrant| !entrant.installed) {
            if let Tool::Peer(peer) = entrant.tool {
                let _ = writeln!(text, "\n{} is not here: {}", peer.name, peer.install);
            }
        }
        text
    }
}
