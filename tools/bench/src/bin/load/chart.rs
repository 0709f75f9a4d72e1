//! The curve of one run as an SVG: what was allowed, what was reached, what was refused, and what the worker chose.

use std::fmt::Write as _;

use super::goodput::Sample;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
/// Top and height of the two panels.
const RATES: (f64, f64) = (108.0, 300.0);
const CONCURRENCY: (f64, f64) = (464.0, 110.0);
/// Rates are those of the last second: one sample alone is mostly noise.
const SMOOTH_S: f64 = 1.0;
/// Above the highest value, so that it does not run along the edge.
const HEADROOM: f64 = 1.05;
/// About as many lines across a panel.
const LINES: f64 = 5.0;

const ALLOWED: &str = "#222222";
const REACHED: &str = "#0072b2";
const REFUSED: &str = "#d55e00";
const CHOSEN: &str = "#009e73";
const AT_ONCE: &str = "#aa4499";

/// One line of a panel.
struct Curve {
    name: &'static str,
    colour: &'static str,
    /// As SVG writes it; empty for a solid line.
    dashes: &'static str,
    points: Vec<(f64, f64)>,
}

/// An area with axes.
struct Panel {
    top: f64,
    height: f64,
    seconds: f64,
    most: f64,
    unit: &'static str,
}

/// The whole picture. `windows` are the seconds that were measured; the rest is shaded.
pub fn draw(title: &str, subtitle: &str, samples: &[Sample], windows: &[(f64, f64)]) -> String {
    let seconds = samples.last().map_or(1.0, |last| last.at);
    let rates = rates(samples);
    let chosen = Curve {
        name: "requests at once that the worker chose",
        colour: AT_ONCE,
        dashes: "",
        points: points(samples, |sample| sample.concurrency),
    };
    let has_concurrency = !chosen.points.is_empty();
    let height = if has_concurrency { CONCURRENCY.0 + CONCURRENCY.1 } else { RATES.0 + RATES.1 } + 56.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (LEFT, 28.0), "start", &format!("<tspan font-size=\"18\">{title}</tspan>"));
    text(&mut svg, (LEFT, 50.0), "start", subtitle);
    legend(&mut svg, 80.0, &rates);
    let panel = Panel::new(RATES, seconds, &rates, "calls per second");
    panel.draw(&mut svg, &rates, windows);
    let mut bottom = &panel;
    let below = [chosen];
    let second = Panel::new(CONCURRENCY, seconds, &below, "requests at once");
    if has_concurrency {
        legend(&mut svg, CONCURRENCY.0 - 14.0, &below);
        second.draw(&mut svg, &below, windows);
        bottom = &second;
    }
    let under = bottom.top + bottom.height + 44.0;
    text(&mut svg, (f64::midpoint(LEFT, WIDTH - RIGHT), under), "middle", "seconds (grey: not counted)");
    svg.push_str("</svg>\n");
    svg
}

fn rates(samples: &[Sample]) -> Vec<Curve> {
    let curve = |name, colour, dashes, points| Curve { name, colour, dashes, points };
    let mut curves = vec![
        curve("allowed", ALLOWED, "6 3", steps(&points(samples, |sample| Some(sample.per_second)))),
        curve("reached", REACHED, "", speeds(samples, |sample| sample.admitted)),
        curve("answered 429", REFUSED, "", speeds(samples, |sample| sample.refused)),
    ];
    // A limit that is far from limiting would press everything else down to the axis.
    let most = samples.iter().map(|sample| sample.per_second).fold(0.0, f64::max) * 2.0;
    let limit = points(samples, |sample| Some(sample.rate_limit.filter(|rate| *rate > 0.0)?.min(most)));
    if !limit.is_empty() {
        curves.push(curve("limit that the worker chose", CHOSEN, "2 2", limit));
    }
    curves
}

fn points(samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    samples.iter().filter_map(|sample| Some((sample.at, value(sample)?))).collect()
}

/// A value that holds until the next one changes at once, and not along a slope.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let corners = points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(points.last().copied()).collect()
}

/// How fast a sum grew over the last [`SMOOTH_S`].
fn speeds(samples: &[Sample], sum: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let speed = |(index, now): (usize, &Sample)| {
        let before = samples[..index].iter().rev().find(|before| now.at - before.at >= SMOOTH_S)?;
        Some((now.at, (sum(now) - sum(before)) / (now.at - before.at)))
    };
    samples.iter().enumerate().filter_map(speed).collect()
}

fn legend(svg: &mut String, y: f64, curves: &[Curve]) {
    let mut x = LEFT;
    for Curve { name, colour, dashes, .. } in curves {
        // Writing into a String cannot fail; so everywhere here.
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"{colour}\" stroke-width=\"2.5\" \
             stroke-dasharray=\"{dashes}\"/>",
            y - 4.0,
            x + 28.0
        );
        text(svg, (x + 35.0, y), "start", name);
        #[allow(clippy::cast_precision_loss)] // a few letters, each about as wide
        let width = name.len() as f64 * 7.2;
        x += 35.0 + width + 24.0;
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

impl Panel {
    fn new((top, height): (f64, f64), seconds: f64, curves: &[Curve], unit: &'static str) -> Self {
        let highest =
            curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value).fold(1.0, f64::max) * HEADROOM;
        let step = step(highest / LINES);
        Self { top, height, seconds, most: (highest / step).ceil() * step, unit }
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + second.clamp(0.0, self.seconds) / self.seconds * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - value / self.most)
    }

    fn draw(&self, svg: &mut String, curves: &[Curve], windows: &[(f64, f64)]) {
        self.shade(svg, windows);
        for value in ticks(self.most, step(self.most / LINES)) {
            let y = self.y(value);
            let (from, to) = (LEFT, WIDTH - RIGHT);
            let _ = writeln!(svg, "<line x1=\"{from}\" y1=\"{y:.1}\" x2=\"{to}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>");
            text(svg, (LEFT - 8.0, y + 4.0), "end", &value.to_string());
        }
        let bottom = self.top + self.height;
        for second in ticks(self.seconds, step(self.seconds / 10.0)) {
            let x = self.x(second);
            let to = bottom + 5.0;
            let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{to}\" stroke=\"#222222\"/>");
            text(svg, (x, bottom + 20.0), "middle", &second.to_string());
        }
        let (x, y) = (18.0, self.top + self.height / 2.0);
        let _ = writeln!(
            svg,
            "<text transform=\"translate({x} {y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.unit
        );
        for Curve { colour, dashes, points, .. } in curves {
            let place = |(second, value): &(f64, f64)| format!("{:.1},{:.1}", self.x(*second), self.y(*value));
            let path: Vec<String> = points.iter().map(place).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
                 stroke-dasharray=\"{dashes}\" stroke-linejoin=\"round\"/>",
                path.join(" ")
            );
        }
        let (from, to) = (LEFT, WIDTH - RIGHT);
        let _ = writeln!(svg, "<path d=\"M{from} {} V{bottom} H{to}\" fill=\"none\" stroke=\"#222222\"/>", self.top);
    }

    /// What lies between the windows.
    fn shade(&self, svg: &mut String, windows: &[(f64, f64)]) {
        let starts = [0.0].into_iter().chain(windows.iter().map(|window| window.1));
        let ends = windows.iter().map(|window| window.0).chain([self.seconds]);
        for (from, to) in starts.zip(ends).filter(|(from, to)| from < to) {
            let (x, width) = (self.x(from), self.x(to) - self.x(from));
            let (y, height) = (self.top, self.height);
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"#eeeeee\"/>"
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`, and a whole number.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= least).unwrap_or(power * 10.0)
}

fn ticks(most: f64, step: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(0.0), move |tick| Some(tick + step)).take_while(move |tick| *tick <= most)
}
