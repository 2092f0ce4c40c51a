//! The terminal of `tidegate top`: taken for as long as the value lives, and given back as it was.
//!
//! Must not know: how figures come about.

use std::fmt::Write as _;
use std::net::SocketAddr;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt, Stdin};

use crate::cli::exit::Failure;
use crate::cli::output::{Colour, Style, printable};
use crate::cli::print;
use crate::cli::status::rates;
use crate::cli::top::{Sort, TopLook, rows};
use crate::cli::words::{about_seconds, count, grouped, text};

/// Switches to the alternate screen and hides the cursor.
const TAKE: &str = "\x1b[?1049h\x1b[?25l";
const GIVE_BACK: &str = "\x1b[?25h\x1b[?1049l";
const TOP_LEFT: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// Where the terminal does not say.
const LINES: usize = 24;

pub(super) struct Screen {
    before: Termios,
    keys: Stdin,
}

impl Screen {
    /// Takes the terminal: keys come at once and are not echoed, and none of them sends a signal that would end or stop
    /// the process before the terminal is given back.
    ///
    /// # Errors
    /// [`Failure`] when standard input is no terminal that can be set.
    pub(super) fn take() -> Result<Self, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut screen = Self { before, keys: tokio::io::stdin() };
        screen.take_again()?;
        Ok(screen)
    }

    /// Takes the terminal after it was given back, or after somebody else had it while the process stood still.
    ///
    /// # Errors
    /// [`Failure`] when the terminal has gone.
    pub(super) fn take_again(&mut self) -> Result<(), Failure> {
        let mut modes = self.before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &modes).map_err(std::io::Error::from)?;
        print(TAKE)
    }

    /// Gives the terminal back as it was.
    pub(super) fn give_back(&mut self) {
        // The terminal may be gone, and then nothing can be shown any more.
        let _ = print(GIVE_BACK);
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }

    /// The next key.
    ///
    /// # Errors
    /// [`Failure`] when the terminal has gone.
    pub(super) async fn key(&mut self) -> Result<u8, Failure> {
        Ok(self.keys.read_u8().await?)
    }

    /// Draws everything anew: the last look, and why there is no newer one.
    ///
    /// # Errors
    /// [`Failure`] when the terminal takes nothing.
    pub(super) fn draw(
        &mut self,
        at: SocketAddr,
        order: Sort,
        look: &TopLook,
        failed: Option<&Failure>,
    ) -> Result<(), Failure> {
        // A terminal that does not know its size says 0.
        let known = |size: u16| Some(usize::from(size)).filter(|size| *size > 0);
        let size = tcgetwinsize(std::io::stdout()).ok();
        let lines = size.and_then(|size| known(size.ws_row)).unwrap_or(LINES);
        let columns = size.and_then(|size| known(size.ws_col)).unwrap_or(usize::MAX);
        let text = page(at, order, look, failed, Style::of_stdout());
        let mut frame = TOP_LEFT.to_owned();
        // A line end on the last line would scroll.
        for (number, line) in text.lines().take(lines).enumerate() {
            let line = console::truncate_str(line, columns, "");
            let end = if number == 0 { "" } else { "\r\n" };
            // Writing to a text never fails.
            let _ = write!(frame, "{end}{line}{CLEAR_LINE}");
        }
        print(&format!("{frame}{CLEAR_BELOW}"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Two lines about the whole, then the table.
fn page(address: SocketAddr, order: Sort, look: &TopLook, failed: Option<&Failure>, style: Style) -> String {
    let keys = match order {
        Sort::Rate => "[r]ate",
        Sort::Waiting => "[w]aiting",
        Sort::Oldest => "[o]ldest",
        Sort::Name => "[n]ame",
    };
    let keys = style.paint(Some(Colour::Dim), &format!("sorted by {keys}; keys r w o n, q quits"));
    let (head, colour) = match failed {
        Some(failure) => (format!("no answer since {}: {failure}", look.at), Colour::Bad),
        None => (summary(address, look), Colour::Strong),
    };
    let table = rows::table(&look.rows, look.at).render(style);
    format!("{}\n{keys}\n\n{table}", style.paint(Some(colour), &printable(&head)))
}

fn summary(address: SocketAddr, look: &TopLook) -> String {
    let status = &look.status;
    let seconds = status.get("uptime_seconds").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    format!(
        "tidegate {} at {address}, up {}: {} ready, {} delayed, {} in flight; {}",
        text(status, "/version"),
        about_seconds(seconds),
        grouped(count(status, "/events/ready")),
        grouped(count(status, "/events/delayed")),
        grouped(count(status, "/events/inflight")),
        rates(status),
    )
}
