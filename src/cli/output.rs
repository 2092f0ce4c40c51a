//! How the subcommands write what they found to standard output: tables for people, cut to the width of the terminal
//! and coloured only there, and JSON for programs.
//!
//! Must not know: what is shown.

use clap::Args;
use console::{Term, measure_text_width, truncate_str};
use serde::Serialize;

pub(super) use crate::app::printable;
use crate::cli::exit::Failure;
use crate::cli::print;

/// What stands between two columns of a table.
const GAP: &str = "  ";
/// No column is cut below this width.
const NARROWEST: usize = 8;

/// `--json`.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputArguments {
    /// Print JSON, one value on one line
    #[arg(long)]
    json: bool,
}

/// What the place of the output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether the place of the output shows colours.
    colours: bool,
    /// The width to which tables are cut, in characters; `None` leaves them as wide as they are.
    columns: Option<usize>,
}

/// What a colour stands for, whatever it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// All is well: the text is green.
    Good,
    /// Somebody should look at it: the text is yellow.
    Warning,
    /// Something is wrong: the text is red.
    Bad,
    /// Of little interest: the text is dimmed.
    Dim,
    /// A heading: the text is bold.
    Strong,
}

/// Rows under a header, cut to the width of the terminal.
#[derive(Debug, Clone)]
pub(super) struct TextTable {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// The header of a column and the side at which its cells stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    is_right: bool,
}

/// One cell. Control characters are shown escaped.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    colour: Option<Colour>,
}

/// A column of texts; it is cut when the terminal is too narrow.
pub(super) const fn left(name: &'static str) -> Column {
    Column { name, is_right: false }
}

/// A column of numbers; it is never cut.
pub(super) const fn right(name: &'static str) -> Column {
    Column { name, is_right: true }
}

impl OutputArguments {
    /// Whether JSON is asked for instead of text.
    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints `value` as JSON, or the text for people that `text` makes, which ends its lines itself.
    ///
    /// # Errors
    /// [`Failure`] when standard output takes nothing.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(Style) -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return print(&text(Style::of_stdout()));
        }
        let json = serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
        print(&format!("{json}\n"))
    }
}

impl Style {
    /// That of standard output: colours on a terminal, unless `NO_COLOR` is set or the terminal has none.
    pub(super) fn of_stdout() -> Self {
        let term = Term::stdout();
        let columns = term.size_checked().map(|(_, columns)| usize::from(columns));
        Self { colours: term.features().colors_supported(), columns }
    }

    /// The text in a colour, where colours are shown.
    pub(super) fn paint(self, colour: Option<Colour>, text: &str) -> String {
        let Some(colour) = colour.filter(|_| self.colours) else { return text.to_owned() };
        // Whether there are colours is decided above; the library would decide again.
        let style = console::Style::new().force_styling(true);
        let style = match colour {
            Colour::Good => style.green(),
            Colour::Warning => style.yellow(),
            Colour::Bad => style.red(),
            Colour::Dim => style.dim(),
            Colour::Strong => style.bold(),
        };
        style.apply_to(text).to_string()
    }
}

impl Cell {
    /// A cell whose text is shown in a colour.
    pub(super) fn coloured(text: impl Into<String>, colour: Option<Colour>) -> Self {
        Self { colour, ..Self::from(text.into()) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text: printable(&text), colour: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::from(number.to_string())
    }
}

impl TextTable {
    /// A table with these columns and no rows.
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row with another number of cells than columns");
        self.rows.push(cells);
    }

    /// The lines, the header first, each with its end.
    pub(super) fn render(&self, style: Style) -> String {
        let widths = self.widths(style.columns);
        let header = self.columns.iter().map(|column| Cell::coloured(column.name, Some(Colour::Strong)));
        let mut text = self.line(&header.collect::<Vec<_>>(), &widths, style);
        for row in &self.rows {
            text.push_str(&self.line(row, &widths, style));
        }
        text
    }

    fn line(&self, cells: &[Cell], widths: &[usize], style: Style) -> String {
        let mut line = String::new();
        for (at, ((cell, width), column)) in cells.iter().zip(widths).zip(&self.columns).enumerate() {
            let text = truncate_str(&cell.text, *width, "…");
            let padding = " ".repeat(width.saturating_sub(measure_text_width(&text)));
            let painted = style.paint(cell.colour, &text);
            let is_last = at + 1 == cells.len();
            line.push_str(if at == 0 { "" } else { GAP });
            match column.is_right {
                true => line.extend([padding, painted]),
                // No blanks at the end of a line.
                false if is_last => line.push_str(&painted),
                false => line.extend([painted, padding]),
            }
        }
        line.push('\n');
        line
    }

    /// As wide as the widest cell; columns of texts are cut, the widest first, until the lines fit.
    fn widths(&self, columns: Option<usize>) -> Vec<usize> {
        let of_column = |at: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| measure_text_width(&cell.text)).max().unwrap_or(0);
            widest.max(measure_text_width(column.name))
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(at, column)| of_column(at, column)).collect();
        let Some(most) = columns else { return widths };
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let mut beyond = (widths.iter().sum::<usize>() + gaps).saturating_sub(most);
        while beyond > 0 {
            let texts = widths.iter_mut().zip(&self.columns).filter(|(_, column)| !column.is_right);
            // One character at a time from the widest one, so that short columns stay whole.
            match texts.map(|(width, _)| width).max() {
                Some(width) if *width > NARROWEST => *width -= 1,
                _ => break,
            }
            beyond -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colours: false, columns: None };

    fn table() -> TextTable {
        let mut table = TextTable::new(&[left("ID"), right("WAITING"), left("HELD BY")]);
        table.row(["crm".into(), 12.into(), Cell::coloured("pause", Some(Colour::Warning))]);
        table.row(["a-rather-long-name".into(), 100_000.into(), "-".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_at_the_right() {
        let text = "ID                  WAITING  HELD BY\n\
                    crm                      12  pause\n\
                    a-rather-long-name   100000  -\n";
        assert_eq!(table().render(PLAIN), text);
    }

    #[test]
    fn a_narrow_terminal_cuts_texts_and_no_numbers() {
        let text = table().render(Style { columns: Some(30), ..PLAIN });
        assert!(text.contains("\na-rather-lo…   100000  -\n"), "{text}");
        assert!(text.lines().all(|line| measure_text_width(line) <= 30), "{text}");
        let text = table().render(Style { columns: Some(1), ..PLAIN });
        assert!(text.contains("\na-rathe…   100000  -\n"), "{text}");
    }

    #[test]
    fn colours_add_no_width_and_are_left_out_where_there_are_none() {
        let coloured = table().render(Style { colours: true, ..PLAIN });
        assert!(coloured.contains("\u{1b}[33mpause\u{1b}[0m"), "{coloured:?}");
        assert_eq!(console::strip_ansi_codes(&coloured), table().render(PLAIN));
    }

    #[test]
    fn control_characters_reach_no_terminal() {
        let mut table = TextTable::new(&[left("A")]);
        table.row(["x\u{1b}[31m\ny".into()]);
        assert_eq!(table.render(PLAIN), "A\nx\\u{1b}[31m\\ny\n");
    }
}
