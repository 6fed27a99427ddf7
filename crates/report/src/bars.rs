//! Histograms as SVG text, in the style of the plots.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::plot::{COLORS, Drawn, FAINT_INK, GRID, INK, SCALE, WIDTH, font, text_width};
use super::replay::harmless;

const HEIGHT: u32 = 300;

/// A histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// Title above the axes.
    pub title: String,
    /// Label of the horizontal axis: the quantity that is measured.
    pub what: String,
    /// Label of the vertical axis: the things that are counted.
    pub of: String,
    /// Edges of the bars in ascending order, the end of the last one included: one more than `counts`.
    pub edges: Vec<f64>,
    /// Count of each bar.
    pub counts: Vec<u64>,
}

/// Renders histograms below each other as one self-contained SVG, 700 pixels wide.
pub fn bars_svg(histograms: &[Bars]) -> String {
    let height = HEIGHT * histograms.len().max(1) as u32;
    let mut svg = String::new();
    draw(histograms, &mut svg, height).expect("drawing into a string fails on nothing");
    let drawn = format!("width=\"{}\" height=\"{}\"", WIDTH * SCALE, height * SCALE);
    svg.replacen(&drawn, &format!("width=\"{WIDTH}\" height=\"{height}\""), 1)
}

fn draw(histograms: &[Bars], svg: &mut String, height: u32) -> Drawn {
    let area = SVGBackend::with_string(svg, (WIDTH * SCALE, height * SCALE)).into_drawing_area();
    area.fill(&WHITE)?;
    let cells = area.split_evenly((histograms.len().max(1), 1));
    for ((bars, cell), color) in histograms.iter().zip(cells).zip(COLORS.iter().cycle()) {
        bars.draw(&cell, color)?;
    }
    area.present()?;
    Ok(())
}

impl Bars {
    fn draw(&self, area: &DrawingArea<SVGBackend, plotters::coord::Shift>, color: &RGBColor) -> Drawn {
        let left = Pos::new(HPos::Left, VPos::Center);
        let place = (14 * SCALE as i32, 16 * SCALE as i32);
        area.draw(&Text::new(harmless(&self.title), place, font(15, INK).pos(left)))?;
        let (_, area) = area.split_vertically((28 * SCALE) as i32);
        let (Some(&first), Some(&last)) = (self.edges.first(), self.edges.last()) else { return Ok(()) };
        let highest = self.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
        let across = Axis::new(first, last, 10, 0.0);
        let up = Axis::new(0.0, highest * 1.05, 6, 1.0);
        let labels = up.labels().into_iter().map(|label| text_width(&label, 11));
        let left = labels.max().map_or(48, |width| (width + 12).max(48));
        let mut chart = ChartBuilder::on(&area)
            .margin_top(6 * SCALE)
            .margin_right(20 * SCALE)
            .margin_left(4 * SCALE)
            .x_label_area_size(36 * SCALE)
            .y_label_area_size((left + 14) * SCALE)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(SCALE))
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .axis_style(FAINT_INK.stroke_width(SCALE))
            .set_all_tick_mark_size(4 * SCALE)
            .label_style(font(11, FAINT_INK))
            .axis_desc_style(font(11, FAINT_INK))
            .x_desc(harmless(&self.what))
            .y_desc(harmless(&self.of))
            .draw()?;
        let filled = self.edges.windows(2).zip(&self.counts).filter(|(_, count)| **count > 0);
        let bar = |(edges, count): (&[f64], &u64)| {
            let mut bar = Rectangle::new([(edges[0], 0.0), (edges[1], *count as f64)], color.filled());
            bar.set_margin(0, 0, SCALE, SCALE);
            bar
        };
        chart.draw_series(filled.map(bar))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_that_holds_something_is_drawn() {
        let bars = |edges: &[f64], counts: &[u64]| {
            let (edges, counts) = (edges.to_vec(), counts.to_vec());
            let histogram = Bars { title: "<returns>".into(), edges, counts, ..Bars::default() };
            let svg = bars_svg(&[histogram]);
            assert!(svg.contains("&lt;returns&gt;"));
            svg.lines().filter(|line| line.starts_with("<rect") && line.contains("#0072B2")).count()
        };
        assert_eq!(bars(&[0.0, 1.0, 2.0, 3.0], &[5, 0, 1]), 2);
        assert_eq!(bars(&[-1e-30, 0.0], &[1_000_000_000]), 1);
        assert_eq!(bars(&[1e9, 2e9, 3e9], &[0, 0]), 0);
        assert_eq!(bars(&[], &[]), 0);
        assert!(bars_svg(&[]).contains("<svg"));
        assert!(bars_svg(&[Bars::default(), Bars::default()]).contains("height=\"600\""));
    }
}
