//! Draws a trace: rate, round-trip time, bytes in flight, loss, and what limited the speed, over time.

use std::fmt::Write;

use super::Sample;

/// The size of the picture and of each panel, in pixels.
const WIDTH: f64 = 960.0;
const PANEL: f64 = 150.0;
/// The room for the scale on the left, and for a panel's title above it.
const LEFT: f64 = 80.0;
const ABOVE: f64 = 34.0;
/// The room for the title of the picture.
const TITLE: f64 = 20.0;
/// The room at the right edge and below the last panel.
const MARGIN: f64 = 24.0;
/// The least height of a scale, in its unit: below this there is nothing to see.
const LEAST: f64 = 0.01;
/// The most points of a curve. A longer trace is thinned.
const POINTS: usize = 700;
/// What limited the speed: the word in the trace, the word for people, the colour.
const LIMITS: [(&str, &str, &str); 4] = [
    ("Path", "path", "#c7dcef"),
    ("Peer", "peer's disk", "#f6cf9c"),
    ("Source", "own disk", "#e6b8b7"),
    ("User", "--limit", "#d9d9d9"),
];

/// A curve: its name, its colour, its points.
struct Curve {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// The picture as SVG, with this title. `None` if there are no two samples of different times.
pub(super) fn draw(samples: &[Sample], title: &str) -> Option<String> {
    let step = samples.len() / POINTS + 1;
    let mut thin: Vec<&Sample> = samples.iter().step_by(step).collect();
    thin.dedup_by(|b, a| b.time <= a.time);
    let (first, last) = (thin.first()?.time, thin.last()?.time);
    if last <= first {
        return None;
    }
    let curve = |name, colour, value: &dyn Fn(&Sample) -> f64| Curve {
        name,
        colour,
        points: thin.iter().map(|s| (s.time, value(s))).collect(),
    };
    let change = |name, colour, value: &dyn Fn(&Sample, &Sample) -> f64| Curve {
        name,
        colour,
        points: thin.windows(2).map(|w| (w[1].time, value(w[0], w[1]))).collect(),
    };
    let panels = [
        (
            "rate, MB/s",
            vec![
                curve("paced", "#b0b0b0", &|s| s.pacing_rate / 1e6),
                change("arrived", "#1f77b4", &|a, b| {
                    (b.done - a.done).max(0.0) / (b.time - a.time) / 1e6
                }),
            ],
        ),
        (
            "round trip, ms",
            vec![
                curve("lowest", "#b0b0b0", &|s| s.min_rtt * 1e3),
                // Before the first measurement the smoothed RTT is a guess.
                curve("smoothed", "#2ca02c", &|s| {
                    if s.min_rtt > 0.0 { s.rtt * 1e3 } else { 0.0 }
                }),
            ],
        ),
        (
            "on the way, MB",
            vec![
                curve("window", "#b0b0b0", &|s| s.window / 1e6),
                curve("in flight", "#9467bd", &|s| s.in_flight / 1e6),
            ],
        ),
        (
            "lost, % of what was sent",
            vec![change("", "#d62728", &|a, b| {
                let sent = b.sent - a.sent;
                if sent > 0.0 {
                    (100.0 * (b.lost - a.lost) / sent).clamp(0.0, 100.0)
                } else {
                    0.0
                }
            })],
        ),
    ];
    let height = TITLE + panels.len() as f64 * (PANEL + ABOVE) + MARGIN + 2.0 * ABOVE;
    let mut svg = String::new();
    let x = |time: f64| LEFT + (time - first) / (last - first) * (WIDTH - LEFT - MARGIN);
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>",
        escaped(title)
    );
    let mut top = TITLE + ABOVE;
    for (title, curves) in &panels {
        draw_panel(&mut svg, top, title, curves, &x);
        top += PANEL + ABOVE;
    }
    // A receiver sends almost nothing, so its limits say nothing about the transfer.
    let strip = samples.iter().all(|s| s.side == "sender");
    if strip {
        draw_limits(&mut svg, top - ABOVE + 8.0, &thin, &x);
    }
    let axis = top + 4.0;
    for tick in ticks(last - first) {
        let at = x(first + tick);
        let _ = write!(
            svg,
            "<text x=\"{at:.0}\" y=\"{axis:.0}\" text-anchor=\"middle\">{}</text>",
            number(tick)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#555\">seconds since the connection{}</text></svg>",
        axis + 26.0,
        if strip {
            "; the strip: what limited the speed"
        } else {
            ""
        }
    );
    Some(svg)
}

/// Escapes text for XML. Control characters, which XML forbids, are left out.
fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .map(|c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            c => c.to_string(),
        })
        .collect()
}

fn draw_panel(svg: &mut String, top: f64, title: &str, curves: &[Curve], x: &impl Fn(f64) -> f64) {
    let values = || curves.iter().flat_map(|c| c.points.iter().map(|p| p.1));
    // The grey curve is for orientation and may be far above the other. So it does not determine the scale.
    let shown = curves
        .last()
        .map_or(0.0, |c| c.points.iter().fold(0.0, |m: f64, p| m.max(p.1)));
    let most = values().fold(0.0, f64::max).min(shown * 1.5).max(LEAST);
    let y = |value: f64| top + PANEL * (1.0 - value.min(most) / most);
    let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{:.0}\">{title}</text>", top - 8.0);
    for tick in ticks(most) {
        let at = y(tick);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{:.0}\" stroke=\"#e8e8e8\"/><text x=\"{:.0}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            WIDTH - MARGIN,
            LEFT - 6.0,
            at + 4.0,
            number(tick)
        );
    }
    let mut legend = WIDTH - MARGIN;
    for curve in curves {
        let mut path = String::new();
        for (i, (time, value)) in curve.points.iter().enumerate() {
            let _ = write!(
                path,
                "{}{:.1} {:.1}",
                if i == 0 { 'M' } else { 'L' },
                x(*time),
                y(*value)
            );
        }
        let colour = curve.colour;
        let _ = write!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/><text x=\"{legend:.0}\" \
             y=\"{:.0}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
            top - 8.0,
            curve.name
        );
        legend -= 8.0 * curve.name.len() as f64 + 14.0;
    }
}

/// Draws a strip that shows what limited the speed at each moment.
fn draw_limits(svg: &mut String, top: f64, samples: &[&Sample], x: &impl Fn(f64) -> f64) {
    for (name, _, colour) in LIMITS {
        let mut path = String::new();
        for pair in samples.windows(2).filter(|pair| pair[1].limit == name) {
            let (from, to) = (x(pair[0].time), x(pair[1].time));
            let _ = write!(path, "M{from:.1} {top:.0}H{to:.1}v12H{from:.1}z");
        }
        let _ = write!(svg, "<path d=\"{path}\" fill=\"{colour}\"/>");
    }
    let mut left = WIDTH - MARGIN;
    for (_, words, colour) in LIMITS.iter().rev() {
        left -= 7.0 * words.len() as f64 + 26.0;
        let _ = write!(
            svg,
            "<rect x=\"{left:.0}\" y=\"{:.0}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{:.0}\">{words}</text>",
            top + 46.0,
            left + 16.0,
            top + 56.0
        );
    }
}

/// Three to six round numbers from zero to `most`.
fn ticks(most: f64) -> impl Iterator<Item = f64> {
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|s| *s >= rough)
        .unwrap_or(rough);
    (0..=(most / step) as u32).map(move |i| f64::from(i) * step)
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time: f64, done: f64) -> Sample {
        Sample {
            time,
            side: "sender".into(),
            done,
            limit: "Path".into(),
            pacing_rate: 1e6,
            in_flight: 1e5,
            window: 2e5,
            rtt: 0.02,
            min_rtt: 0.01,
            sent: time * 100.0,
            lost: time,
        }
    }

    #[test]
    fn a_picture_needs_two_moments() {
        assert_eq!(draw(&[], "t"), None);
        assert_eq!(draw(&[sample(1.0, 0.0), sample(1.0, 5.0)], "t"), None);
        let three = [sample(1.0, 0.0), sample(2.0, 5e6), sample(3.0, 7e6)];
        let svg = draw(&three, "a<b & c").unwrap();
        assert!(svg.contains(">a&lt;b &amp; c</text>") && svg.contains("the strip"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        for bad in ["NaN", "inf"] {
            assert!(!svg.contains(bad), "{svg}");
        }
    }

    #[test]
    fn a_receiver_does_not_tell_what_bound_the_speed() {
        let samples = [1.0, 2.0].map(|time| Sample {
            side: "receiver".into(),
            ..sample(time, 5.0)
        });
        let svg = draw(&samples, "t").unwrap();
        assert!(!svg.contains("the strip") && !svg.contains("own disk"), "{svg}");
    }

    #[test]
    fn a_long_trace_makes_no_long_picture() {
        let samples: Vec<Sample> = (0..50_000)
            .map(|i| sample(f64::from(i) * 0.02, f64::from(i)))
            .collect();
        assert!(draw(&samples, "t").unwrap().len() < 200_000);
    }

    #[test]
    fn ticks_are_few_and_round() {
        for most in [0.0007, 1.0, 3.4, 99.0, 2_000_000.0] {
            let count = ticks(most).count();
            assert!((3..=6).contains(&count), "{most}: {count}");
            assert!(ticks(most).all(|t| t <= most));
        }
        assert_eq!([number(2.5), number(100.0), number(0.05)], ["2.5", "100", "0.05"]);
    }
}
