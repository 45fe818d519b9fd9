//! Lines, areas and texts in logical pixels, drawn with plotters into an SVG.
//!
//! plotters rounds to whole units, so its drawing is made four times as large as it is shown: what is drawn lies
//! within an eighth of a pixel of its value.

use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const UNITS: f64 = 4.0;

/// plotters divides font sizes by this when it writes SVG.
const FONT_SCALE: f64 = 1.24;

/// A colour with its opacity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ink(pub(super) u32, pub(super) f64);

impl Ink {
    fn rgba(self) -> RGBAColor {
        let [_, red, green, blue] = self.0.to_be_bytes();
        RGBAColor(red, green, blue, self.1)
    }
}

/// Where a text's point lies: at its left, middle or right, always at half its height.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
    Center,
}

/// Weight and size of a text in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) enum Font {
    Plain(f64),
    Bold(f64),
}

/// A drawing in the making.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

fn units(pixels: f64) -> i32 {
    #[allow(clippy::cast_possible_truncation, reason = "a picture has some thousand pixels")]
    let units = (pixels * UNITS).round().clamp(-1e6, 1e6) as i32;
    units
}

/// Draws a picture of `width` × `height` pixels and returns it as SVG of that size.
pub(super) fn draw(
    width: f64,
    height: f64,
    paint: impl FnOnce(&Canvas<'_>) -> Result<(), ChartError>,
) -> Result<String, ChartError> {
    let mut svg = String::new();
    {
        let size = (units(width).unsigned_abs(), units(height).unsigned_abs());
        let canvas = Canvas { area: SVGBackend::with_string(&mut svg, size).into_drawing_area() };
        paint(&canvas)?;
        canvas.area.present().map_err(|error| ChartError(error.to_string()))?;
    }
    // The drawing keeps its units in the viewBox and is shown at its logical size.
    let large = format!("width=\"{}\" height=\"{}\"", units(width), units(height));
    Ok(svg.replacen(&large, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

impl<'a> Canvas<'a> {
    pub(super) fn fill(&self, ink: Ink) -> Result<(), ChartError> {
        self.area.fill(&ink.rgba()).map_err(|error| ChartError(error.to_string()))
    }

    pub(super) fn line(&self, points: &[(f64, f64)], ink: Ink, width: f64) -> Result<(), ChartError> {
        let points: Vec<(i32, i32)> = points.iter().map(|(x, y)| (units(*x), units(*y))).collect();
        let style = ShapeStyle { color: ink.rgba(), filled: false, stroke_width: units(width).unsigned_abs() };
        self.draw(&PathElement::new(points, style))
    }

    pub(super) fn rectangle(
        &self,
        (left, top): (f64, f64),
        (right, bottom): (f64, f64),
        ink: Ink,
    ) -> Result<(), ChartError> {
        let corners = [(units(left), units(top)), (units(right), units(bottom))];
        self.draw(&Rectangle::new(corners, ink.rgba().filled()))
    }

    /// A filled shape between points.
    pub(super) fn area(&self, points: &[(f64, f64)], ink: Ink) -> Result<(), ChartError> {
        let points: Vec<(i32, i32)> = points.iter().map(|(x, y)| (units(*x), units(*y))).collect();
        self.draw(&Polygon::new(points, ink.rgba().filled()))
    }

    pub(super) fn outline(
        &self,
        (left, top): (f64, f64),
        (right, bottom): (f64, f64),
        ink: Ink,
    ) -> Result<(), ChartError> {
        self.line(&[(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], ink, 1.5)
    }

    pub(super) fn text(
        &self,
        text: &str,
        at: (f64, f64),
        align: Align,
        font: Font,
        ink: Ink,
    ) -> Result<(), ChartError> {
        let (size, style) = match font {
            Font::Plain(size) => (size, FontStyle::Normal),
            Font::Bold(size) => (size, FontStyle::Bold),
        };
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Right => HPos::Right,
            Align::Center => HPos::Center,
        };
        let style = ("sans-serif", size * UNITS * FONT_SCALE)
            .into_font()
            .style(style)
            .color(&ink.rgba())
            .pos(Pos::new(horizontal, VPos::Center));
        self.draw(&Text::new(text.to_owned(), (units(at.0), units(at.1)), style))
    }

    fn draw<'b, E>(&self, element: &'b E) -> Result<(), ChartError>
    where
        &'b E: PointCollection<'b, (i32, i32)>,
        E: Drawable<SVGBackend<'a>>,
    {
        self.area.draw(element).map_err(|error| ChartError(error.to_string()))
    }
}

/// DejaVu Sans has letters of 0.6 of its size on average.
const LETTER: f64 = 0.62;

/// About how wide a text is.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * LETTER
}

/// The text, or as much of it as has room, with a sign that it goes on.
pub(super) fn fit(text: &str, size: f64, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut letters: Vec<char> = text.chars().collect();
    while !letters.is_empty() && (letters.len() + 1) as f64 * size * LETTER > room {
        letters.pop();
    }
    letters.into_iter().chain(['…']).collect()
}

/// Why a chart cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct ChartError(pub String);
