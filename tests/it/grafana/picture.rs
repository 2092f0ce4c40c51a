//! The dashboard as a person would see it, roughly: one picture for each of its rows, drawn from the series that its
//! queries returned.
//!
//! Must not know: what the panels mean.

use std::path::Path;

use font8x8::legacy::BASIC_LEGACY;

use super::files::Panel;
use super::prometheus::Series;

/// Pixels of one column and one row of the dashboard's grid.
const COLUMN: usize = 64;
const LINE: usize = 30;
/// Of a letter.
const LETTER: usize = 8;
/// Lines of a panel that name its series.
const NAMED: usize = 5;

/// Background, frames, text, and the colours of series.
const PALETTE: [[u8; 3]; 11] = [
    [255, 255, 255],
    [210, 210, 210],
    [30, 30, 30],
    [31, 119, 180],
    [255, 127, 14],
    [44, 160, 44],
    [214, 39, 40],
    [148, 103, 189],
    [140, 86, 75],
    [227, 119, 194],
    [23, 160, 175],
];
const FRAME: u8 = 1;
const TEXT: u8 = 2;

/// A panel with its series, each under the text of its legend.
pub(super) struct Drawn<'a> {
    pub(super) panel: &'a Panel,
    pub(super) series: Vec<(String, Series)>,
}

/// Draws the panels of one row into a file.
pub(super) fn draw(panels: &[Drawn<'_>], file: &Path) {
    let place = |drawn: &Drawn<'_>| {
        ["x", "y", "w", "h"].map(|key| drawn.panel.json["gridPos"][key].as_u64().expect("a number") as usize)
    };
    let top = panels.iter().map(|drawn| place(drawn)[1]).min().expect("a panel");
    let bottom = panels.iter().map(|drawn| place(drawn)[1] + place(drawn)[3]).max().expect("a panel");
    let mut canvas = Canvas::new(24 * COLUMN, (bottom - top) * LINE);
    for drawn in panels {
        let [x, y, w, h] = place(drawn);
        let area = Area { x: x * COLUMN, y: (y - top) * LINE, w: w * COLUMN, h: h * LINE };
        canvas.frame(area);
        let unit = drawn.panel.json["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        canvas.write(area.x + 8, area.y + 8, &drawn.panel.title, TEXT, area.w - 16);
        match drawn.panel.json["type"].as_str() {
            Some("timeseries") => canvas.chart(area, &drawn.series, unit),
            _ => canvas.list(area, &drawn.series, unit),
        }
    }
    std::fs::write(file, canvas.png()).expect("written");
}

#[derive(Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    w: usize,
    h: usize,
}

struct Canvas {
    width: usize,
    height: usize,
    /// Places in the palette.
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![0; width * height] }
    }

    fn set(&mut self, x: usize, y: usize, colour: u8) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = colour;
        }
    }

    fn frame(&mut self, area: Area) {
        for x in area.x + 2..area.x + area.w - 2 {
            self.set(x, area.y + 2, FRAME);
            self.set(x, area.y + area.h - 3, FRAME);
        }
        for y in area.y + 2..area.y + area.h - 2 {
            self.set(area.x + 2, y, FRAME);
            self.set(area.x + area.w - 3, y, FRAME);
        }
    }

    /// As much of a text as has room.
    fn write(&mut self, x: usize, y: usize, text: &str, colour: u8, room: usize) {
        for (n, letter) in text.chars().take(room / LETTER).enumerate() {
            let glyph = BASIC_LEGACY.get(letter as usize).unwrap_or(&BASIC_LEGACY['?' as usize]);
            for (dy, bits) in glyph.iter().enumerate() {
                for dx in (0..LETTER).filter(|dx| bits >> dx & 1 == 1) {
                    self.set(x + n * LETTER + dx, y + dy, colour);
                }
            }
        }
    }

    /// The last values, one series a line, in as many columns as have room.
    fn list(&mut self, area: Area, series: &[(String, Series)], unit: &str) {
        let lines = (area.h - 36) / 14;
        for (n, (name, one)) in series.iter().enumerate() {
            let last = one.samples.last().map_or(f64::NAN, |(_, value)| *value);
            let (x, y) = (area.x + 12 + n / lines * 210, area.y + 30 + n % lines * 14);
            let room = (area.x + area.w).saturating_sub(x + 12).min(200);
            self.write(x, y, &format!("{} {name}", figure(last, unit)), colour(n), room);
        }
    }

    fn chart(&mut self, area: Area, series: &[(String, Series)], unit: &str) {
        let named = series.len().min(NAMED);
        let plot = Area { x: area.x + 80, y: area.y + 26, w: area.w - 92, h: area.h - 44 - 12 * named };
        let samples = || series.iter().flat_map(|(_, one)| &one.samples);
        let (first, last) = bounds(samples().map(|(at, _)| *at));
        let (low, high) = bounds(samples().map(|(_, value)| *value).chain([0.0]));
        let high = if high > low { high } else { low + 1.0 };
        self.write(area.x + 8, plot.y, &figure(high, unit), TEXT, 72);
        self.write(area.x + 8, plot.y + plot.h - LETTER, &figure(low, unit), TEXT, 72);
        for x in plot.x..plot.x + plot.w {
            self.set(x, plot.y + plot.h, FRAME);
        }
        for (n, (name, one)) in series.iter().enumerate() {
            let points = one.samples.iter().map(|(at, value)| {
                let x = (at - first) / (last - first).max(1.0) * plot.w as f64;
                let y = (value - low) / (high - low) * plot.h as f64;
                (plot.x + x as usize, plot.y + plot.h - y as usize)
            });
            self.line(&points.collect::<Vec<_>>(), colour(n));
            if n < NAMED {
                let more = if n + 1 == NAMED && series.len() > NAMED { ", …" } else { "" };
                let last = one.samples.last().map_or(f64::NAN, |(_, value)| *value);
                let label = format!("{name} {}{more}", figure(last, unit)).replace('…', "...");
                self.write(area.x + 8, plot.y + plot.h + 6 + n * 12, &label, colour(n), area.w - 16);
            }
        }
    }

    fn line(&mut self, points: &[(usize, usize)], colour: u8) {
        for pair in points.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (x as f64, y as f64));
            let steps = (x1 - x0).abs().max((y1 - y0).abs()).max(1.0);
            for step in 0..=steps as usize {
                let part = step as f64 / steps;
                let (x, y) = ((x0 + (x1 - x0) * part) as usize, (y0 + (y1 - y0) * part) as usize);
                self.set(x, y, colour);
                self.set(x, y + 1, colour);
            }
        }
    }

    /// As a PNG file with a palette (RFC 2083), whose data are stored as they are.
    fn png(&self) -> Vec<u8> {
        let mut data = vec![0x78, 0x01];
        let rows: Vec<u8> = self.pixels.chunks(self.width).flat_map(|row| [&[0], row].concat()).collect();
        let blocks = rows.chunks(0xffff);
        let count = blocks.len();
        for (n, block) in blocks.enumerate() {
            let length = u16::try_from(block.len()).expect("at most 65535");
            data.push(u8::from(n + 1 == count));
            data.extend(length.to_le_bytes().into_iter().chain((!length).to_le_bytes()));
            data.extend(block);
        }
        let (a, b) = rows.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        data.extend((b << 16 | a).to_be_bytes());
        let size = |pixels: usize| u32::try_from(pixels).expect("small").to_be_bytes();
        let header = [&size(self.width)[..], &size(self.height), &[8, 3, 0, 0, 0]].concat();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, body) in
            [(b"IHDR", header), (b"PLTE", PALETTE.concat()), (b"IDAT", data), (b"IEND", Vec::new())]
        {
            png.extend(size(body.len()));
            let chunk = [&kind[..], &body].concat();
            png.extend(&chunk);
            png.extend(checksum(&chunk).to_be_bytes());
        }
        png
    }
}

/// CRC-32 as PNG has it.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

fn colour(series: usize) -> u8 {
    (3 + series % (PALETTE.len() - 3)) as u8
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// A value in its unit.
fn figure(value: f64, unit: &str) -> String {
    let short = |value: f64| match value.abs() {
        size if size >= 1e9 => format!("{:.1}G", value / 1e9),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    };
    match unit {
        "percentunit" => format!("{:.1}%", value * 100.0),
        "s" => format!("{} s", short(value)),
        "bytes" => format!("{}B", short(value)),
        "cps" | "ops" | "reqps" => format!("{}/s", short(value)),
        _ => short(value),
    }
}
