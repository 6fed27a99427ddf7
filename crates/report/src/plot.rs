//! Plots of values over updates, or over a setting, as SVG text.

use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{self, Axis};
use super::replay::harmless;

/// A horizontal reference line, such as the return of a random policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Name, such as `random` or `optimum`.
    pub name: String,
    /// Height of the line.
    pub value: f64,
}

/// One line of a plot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Label in the legend, which is shown if a plot has several series.
    pub name: String,
    /// The (update, value) pairs in order; a value that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// Heights of the band below and above each point; empty for none.
    pub errors: Vec<(f64, f64)>,
}

/// One pair of axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plot {
    /// Title above the axes.
    pub title: String,
    /// Label of the horizontal axis, such as `update`.
    pub across: String,
    /// Lines of the plot.
    pub series: Vec<Series>,
    /// Reference lines.
    pub references: Vec<Reference>,
}

/// One picture: a single large plot, or several small ones in two columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// Title in the report.
    pub title: String,
    /// Path of its file, relative to the run's directory.
    pub file: String,
    /// Plots, row by row.
    pub plots: Vec<Plot>,
}

/// Scale of the drawing. Everything is drawn at twice its size, because plotters rounds to whole pixels, and then shown
/// at half.
pub(super) const SCALE: u32 = 2;
pub(super) const WIDTH: u32 = 700;
/// Height of a line of the legend.
const LEGEND_LINE: i32 = 18;
/// Maximum number of points of a series. Longer series are condensed, because a picture shows no more and the report
/// stays small.
const POINTS: usize = 160;

// Okabe and Ito's colours, which are safe for colour-blind readers.
pub(super) const COLORS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];
pub(super) const INK: RGBColor = RGBColor(0x33, 0x38, 0x3d);
pub(super) const FAINT_INK: RGBColor = RGBColor(0x6b, 0x72, 0x78);
pub(super) const GRID: RGBColor = RGBColor(0xe6, 0xe8, 0xeb);

/// Colours of a figure on a dark page, by those that they replace.
const DARK: [(RGBColor, &str); 8] = [
    (WHITE, "#0f1318"),
    (INK, "#d5dbe1"),
    (FAINT_INK, "#9198a1"),
    (GRID, "#2a3038"),
    (COLORS[0], "#4aa3e0"),
    (COLORS[1], "#f0883e"),
    (COLORS[2], "#3fbf95"),
    (COLORS[3], "#dd95bb"),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Figure {
    /// Renders the figure as a self-contained SVG, 700 pixels wide.
    pub fn to_svg(&self) -> String {
        let columns = if self.plots.len() > 1 { 2 } else { 1 };
        let rows = self.plots.len().max(1).div_ceil(columns);
        let height = rows as u32 * if columns == 1 { 340 } else { 210 };
        let mut svg = String::new();
        self.draw(&mut svg, (rows, columns), height).expect("drawing into a string fails on nothing");
        let drawn = format!("width=\"{}\" height=\"{}\"", WIDTH * SCALE, height * SCALE);
        let svg = svg.replacen(&drawn, &format!("width=\"{WIDTH}\" height=\"{height}\""), 1);
        svg.replacen(">\n", &format!(">\n{}\n", dark_style()), 1)
    }

    fn draw(&self, svg: &mut String, (rows, columns): (usize, usize), height: u32) -> Drawn {
        let area = SVGBackend::with_string(svg, (WIDTH * SCALE, height * SCALE)).into_drawing_area();
        area.fill(&WHITE)?;
        for (plot, cell) in self.plots.iter().zip(area.split_evenly((rows, columns))) {
            plot.draw(&cell, columns == 1)?;
        }
        area.present()?;
        Ok(())
    }
}

/// Style sheet of a figure, which replaces its colours where the reader prefers dark pages.
fn dark_style() -> String {
    let rule = |(from, to): &(RGBColor, &str)| {
        let from = format!("#{:02X}{:02X}{:02X}", from.0, from.1, from.2);
        format!("svg [fill=\"{from}\"]{{fill:{to}}}svg [stroke=\"{from}\"]{{stroke:{to}}}")
    };
    format!("<style>@media(prefers-color-scheme:dark){{{}}}</style>", DARK.iter().map(rule).collect::<String>())
}

impl Reference {
    fn label(&self) -> String {
        format!("{} {}", harmless(&self.name), palestra_display::significant(self.value))
    }
}

impl Plot {
    fn draw(&self, area: &Area, is_large: bool) -> Drawn {
        let series = self.series.iter().map(condense);
        let curves: Vec<Vec<Option<Spot>>> = series.collect();
        let spots: Vec<&Spot> = curves.iter().flatten().flatten().collect();
        let references = self.references.iter();
        let references: Vec<_> = references.filter(|line| is_drawable(line.value)).collect();

        let (first, last) = ends(&spots);
        let whole = spots.iter().all(|spot| spot.x.fract() == 0.0);
        let levels = spots.iter().flat_map(|spot| [spot.low, spot.high]);
        let (low, high) = axis::values(levels.chain(references.iter().map(|line| line.value)));
        let (x_ticks, y_ticks) = if is_large { (10, 8) } else { (6, 6) };
        let across = Axis::new(first, last, x_ticks, if whole { 1.0 } else { 0.0 });
        let up = Axis::new(low, high, y_ticks, 0.0);
        let labels = up.labels().into_iter().map(|label| text_width(&label, 11));
        let left = labels.max().map_or(48, |width| (width + 12).max(48));
        let labels = references.iter().map(|line| text_width(&line.label(), 11));
        let right = labels.max().map_or(14, |width| width + 18);

        let title_height = self.draw_title(area, is_large)?;
        let (_, area) = area.split_vertically((title_height * SCALE) as i32);
        let mut chart = ChartBuilder::on(&area)
            .margin_top(6 * SCALE)
            .margin_right(right * SCALE)
            .margin_left(4 * SCALE)
            .x_label_area_size(36 * SCALE)
            .y_label_area_size(left * SCALE)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(SCALE))
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT_INK.stroke_width(SCALE))
            .set_all_tick_mark_size(4 * SCALE)
            .label_style(font(11, FAINT_INK))
            .axis_desc_style(font(11, FAINT_INK))
            .x_desc(harmless(&self.across))
            .draw()?;
        if spots.is_empty() {
            let (width, height) = area.dim_in_pixel();
            let centre = (width as i32 / 2, height as i32 / 2);
            let style = font(13, FAINT_INK).pos(Pos::new(HPos::Center, VPos::Center));
            area.draw(&Text::new("nothing measured yet", centre, style))?;
        }
        draw_references(&area, &mut chart, &references, (first, last))?;
        let curves = || curves.iter().zip(COLORS.iter().cycle());
        curves().try_for_each(|(curve, color)| draw_band(&mut chart, curve, color))?;
        curves().try_for_each(|(curve, color)| draw_curve(&mut chart, curve, color))
    }

    /// Draws the title and, for more than one series, the legend. Returns their height.
    fn draw_title(&self, area: &Area, is_large: bool) -> Result<u32, Box<dyn std::error::Error>> {
        let size = if is_large { 15 } else { 13 };
        let (left, middle) = (14 * SCALE as i32, 16 * SCALE as i32);
        let style = || font(size, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(harmless(&self.title), (left, middle), style()))?;
        if self.series.len() < 2 {
            return Ok(28);
        }
        let right = area.dim_in_pixel().0 as i32 - left;
        let (mut x, mut middle) = (left, 34 * SCALE as i32);
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            let width = ((35 + text_width(&series.name, 11)) * SCALE) as i32;
            if x > left && x + width > right {
                (x, middle) = (left, middle + LEGEND_LINE * SCALE as i32);
            }
            let dash = vec![(x, middle), (x + 16 * SCALE as i32, middle)];
            area.draw(&PathElement::new(dash, color.stroke_width(3 * SCALE)))?;
            x += 21 * SCALE as i32;
            let style = font(11, INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(harmless(&series.name), (x, middle), style))?;
            x += width - 21 * SCALE as i32;
        }
        Ok((middle / SCALE as i32 + 10) as u32)
    }
}

/// Draws references as dashed lines over the whole width, with their names in the right margin.
fn draw_references(area: &Area, chart: &mut Chart, lines: &[&Reference], (first, last): (f64, f64)) -> Drawn {
    let (left, top) = area.get_base_pixel();
    let ends = lines.iter().map(|line| chart.backend_coord(&(last, line.value)));
    let (xs, ys): (Vec<i32>, Vec<i32>) = ends.unzip();
    for (index, ((line, x), y)) in lines.iter().zip(xs).zip(spread(ys)).enumerate() {
        let ends = [(first, line.value), (last, line.value)];
        let (dash, gap) = [(6, 4), (2, 3), (10, 4)][index % 3];
        let stroke = INK.stroke_width(SCALE);
        chart.draw_series(DashedLineSeries::new(ends, dash * SCALE, gap * SCALE, stroke))?;
        let style = font(11, INK).pos(Pos::new(HPos::Left, VPos::Center));
        let place = (x - left + 5 * SCALE as i32, y - top);
        area.draw(&Text::new(line.label(), place, style))?;
    }
    Ok(())
}

/// Draws the band of a curve: the range of the values behind each condensed point, or its error.
fn draw_band(chart: &mut Chart, curve: &[Option<Spot>], color: &RGBColor) -> Drawn {
    for run in curve.split(Option::is_none) {
        let spots = || run.iter().flatten();
        if spots().any(|spot| spot.low < spot.high) {
            let upper = spots().map(|spot| (spot.x, spot.high));
            let lower = spots().rev().map(|spot| (spot.x, spot.low));
            let outline: Vec<_> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(outline, color.mix(0.16))])?;
        }
    }
    Ok(())
}

/// Draws a line through each run of points between gaps, and a dot for a single point.
fn draw_curve(chart: &mut Chart, curve: &[Option<Spot>], color: &RGBColor) -> Drawn {
    for run in curve.split(Option::is_none) {
        let points = run.iter().flatten().map(|spot| (spot.x, spot.mean));
        let points: Vec<_> = points.collect();
        if let [point] = points[..] {
            chart.draw_series([Circle::new(point, 3 * SCALE, color.filled())])?;
        } else if !points.is_empty() {
            chart.draw_series([PathElement::new(points, color.stroke_width(2 * SCALE))])?;
        }
    }
    Ok(())
}

/// One drawn point: mean and range of the values that it represents.
struct Spot {
    x: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// Condenses a long series to few points; `None` is a gap.
fn condense(series: &Series) -> Vec<Option<Spot>> {
    let points = &series.points;
    let is_short = points.len() <= 2 * POINTS;
    let size = if is_short { 1 } else { points.len().div_ceil(POINTS) };
    let spot = |(number, chunk): (usize, &[(f64, f64)])| {
        let values = chunk.iter().map(|point| point.1);
        let values: Vec<f64> = values.filter(|&value| is_drawable(value)).collect();
        let band = series.errors.get(number * size).copied();
        let (below, above) = band.filter(|band| is_drawable(band.0) && is_drawable(band.1)).unwrap_or_default();
        (!values.is_empty()).then(|| Spot {
            x: chunk[chunk.len() / 2].0,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::INFINITY, f64::min) - below,
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + above,
        })
    };
    points.chunks(size).enumerate().map(spot).collect()
}

/// True if a value is within bounds; others would make the arithmetic of an axis overflow.
fn is_drawable(value: f64) -> bool {
    value.abs() < 1e100
}

/// Range of the horizontal axis, never empty.
fn ends(spots: &[&Spot]) -> (f64, f64) {
    let all = || spots.iter().map(|spot| spot.x);
    let (first, last) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    match first {
        _ if first < last => (first, last),
        f64::INFINITY => (0.0, 1.0),
        _ if first > 0.0 => ((first - 1.0).max(0.0), first + 1.0),
        _ => (first - 1.0, first + 1.0),
    }
}

/// Moves labels that would overlap apart and keeps their order.
fn spread(mut heights: Vec<i32>) -> Vec<i32> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    // Lowest first: a lower label has a larger coordinate.
    order.sort_by_key(|&index| -heights[index]);
    for pair in order.windows(2) {
        heights[pair[1]] = heights[pair[1]].min(heights[pair[0]] - 14 * SCALE as i32);
    }
    heights
}

/// Typical width of a sans-serif text in pixels. The actual width depends on the reader's fonts.
pub(super) fn text_width(text: &str, size: u32) -> u32 {
    (text.chars().count() as f64 * f64::from(size) * 0.56).ceil() as u32
}

/// A font that shows at this size: plotters writes a font's size into the SVG divided by 1.24.
pub(super) fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    let family = "system-ui, sans-serif";
    let mut style = TextStyle::from((family, f64::from(size * SCALE) * 1.24));
    style.color = color.to_backend_color();
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(points: Vec<(f64, f64)>) -> Figure {
        let series = Series { name: "mean".into(), points, ..Series::default() };
        let plot = Plot { title: "episode/return".into(), series: vec![series], ..Plot::default() };
        Figure { plots: vec![plot], ..Figure::default() }
    }

    #[test]
    fn every_kind_of_series_can_be_drawn() {
        // Lines and points in the colour of the first series.
        let drawn = |points| {
            let svg = figure(points).to_svg();
            let count = |tag| {
                let tags = svg.lines().filter(|line| line.starts_with(tag));
                tags.filter(|line| line.contains("#0072B2")).count()
            };
            (count("<polyline"), count("<circle"))
        };
        assert_eq!(drawn(vec![]), (0, 0));
        assert!(figure(vec![]).to_svg().contains("nothing measured yet"));
        assert_eq!(drawn(vec![(5.0, 0.5)]), (0, 1), "a point on its own is a dot");
        assert_eq!(drawn(vec![(1.0, 0.5), (2.0, 0.75), (3.0, 0.75)]), (1, 0));
        let (nan, infinite) = ((3.0, f64::NAN), (5.0, f64::INFINITY));
        let gaps = [(1.0, 0.5), (2.0, 0.75), nan, (4.0, 1.0), infinite, (6.0, 1.0), (7.0, 2.0)];
        assert_eq!(drawn(gaps.into()), (2, 1));
        for extreme in [0.0, -3.0, 1e-12, 1e-30, 1e-310, 1e17, 1e90, 1e300] {
            figure(vec![(1.0, extreme), (2.0, extreme)]).to_svg();
            figure(vec![(1.0, extreme), (2.0, extreme * 2.0), (3.0, -extreme)]).to_svg();
            figure(vec![(1.0, 1.0), (2.0, 1.0 + extreme)]).to_svg();
        }
    }

    #[test]
    fn a_long_series_keeps_its_mean_and_its_range() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|step| (f64::from(step), f64::from(step % 2))).collect();
        let series = Series { points: points.clone(), ..Series::default() };
        let spots: Vec<Spot> = condense(&series).into_iter().flatten().collect();
        assert!(spots.len() <= POINTS);
        for spot in &spots {
            assert!((spot.mean - 0.5).abs() < 0.01, "{}", spot.mean);
            assert_eq!((spot.low, spot.high), (0.0, 1.0));
        }
        assert!(figure(points).to_svg().len() < 40_000);
    }

    #[test]
    fn references_are_named_with_their_values_and_do_not_cover_each_other() {
        let mut figure = figure(vec![(1.0, 0.1), (2.0, 0.7)]);
        figure.plots[0].references = vec![Reference { name: "<optimum>".into(), value: 0.7442 }];
        assert!(figure.to_svg().contains("&lt;optimum&gt; 0.7442"));
        let heights = spread(vec![100, 101, 300]);
        assert!(heights[1] - heights[0] >= 28 && heights[2] == 300, "{heights:?}");
    }

    #[test]
    fn a_band_shows_how_sure_each_point_is() {
        let points = vec![(-1.0, 0.25), (0.5, 0.5)];
        let spots = |errors| {
            let series = Series { points: points.clone(), errors, ..Series::default() };
            condense(&series).into_iter().flatten().map(|spot| (spot.x, spot.low, spot.high)).collect::<Vec<_>>()
        };
        assert_eq!(spots(vec![]), [(-1.0, 0.25, 0.25), (0.5, 0.5, 0.5)]);
        assert_eq!(spots(vec![(0.25, 0.125), (0.5, 0.5)]), [(-1.0, 0.0, 0.375), (0.5, 0.0, 1.0)]);
    }
}
