//! What is drawn, and what keys do to it.

use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{self, Block, Borders, Clear, Paragraph};

use super::fit::{self, Fitted};
use super::picture::Picture;
use super::table::{Order, Row, Table};

/// Below this height only the chosen table is drawn.
const HEIGHT_FOR_ALL: u16 = 32;
/// Nodes that are seen beside the other tables.
const NODES_SEEN: u16 = 6;
/// Rows of a page.
const PAGE: usize = 10;

const HELP: &str = "\
q, Esc, Ctrl-C    quit
Tab, Shift-Tab    choose another table
left, right       sort it by another column
r                 turn the order around
up, down          scroll, also PgUp, PgDn, Home
p                 pause, and go on
?                 this, and away with it

Rates are by the second, latencies estimated
from buckets; both of the last interval.";

/// What a key asks of who draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    Quit,
}

/// How a table is looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    /// As somebody has chosen it.
    order: Option<Order>,
    skipped: usize,
}

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Screen {
    interval: Duration,
    picture: Option<Arc<Picture>>,
    /// Stands in front of the newest one.
    paused: bool,
    help: bool,
    chosen: usize,
    looks: [Look; 4],
}

impl Screen {
    pub(super) fn new(interval: Duration) -> Self {
        // Machines are what most look for.
        Self { interval, picture: None, paused: false, help: false, chosen: 1, looks: [Look::default(); 4] }
    }

    /// Takes a newer picture, unless it is paused.
    pub(super) fn show(&mut self, picture: Option<Arc<Picture>>) {
        if !self.paused {
            self.picture = picture;
        }
    }

    /// Does what a key asks.
    pub(super) fn handle(&mut self, event: &Event) -> Wish {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.press(*key),
            _ => Wish::Stay,
        }
    }

    fn press(&mut self, key: KeyEvent) -> Wish {
        let tables = self.looks.len();
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Tab => self.chosen = (self.chosen + 1) % tables,
            KeyCode::BackTab => self.chosen = (self.chosen + tables - 1) % tables,
            KeyCode::Right => self.sort(|order, columns| order.column = (order.column + 1) % columns),
            KeyCode::Left => {
                self.sort(|order, columns| order.column = (order.column + columns - 1) % columns)
            }
            KeyCode::Char('r') => self.sort(|order, _| order.descending = !order.descending),
            KeyCode::Down => self.scroll(|row| row + 1),
            KeyCode::Up => self.scroll(|row| row.saturating_sub(1)),
            KeyCode::PageDown => self.scroll(|row| row + PAGE),
            KeyCode::PageUp => self.scroll(|row| row.saturating_sub(PAGE)),
            KeyCode::Home => self.scroll(|_| 0),
            _ => {}
        }
        Wish::Stay
    }

    fn sort(&mut self, change: impl FnOnce(&mut Order, usize)) {
        let Some(table) = self.picture.as_deref().and_then(|picture| picture.parts.get(self.chosen)) else {
            return;
        };
        let mut order = self.looks[self.chosen].order.unwrap_or(table.order);
        let column = order.column;
        change(&mut order, table.columns.len());
        if order.column != column {
            // The highest numbers first, and the first names.
            order.descending = !table.is_text(order.column);
        }
        self.looks[self.chosen].order = Some(order);
    }

    fn scroll(&mut self, change: impl FnOnce(usize) -> usize) {
        let rows = self.picture.as_deref().map_or(0, |picture| picture.parts[self.chosen].rows.len());
        let skipped = &mut self.looks[self.chosen].skipped;
        *skipped = change(*skipped).min(rows.saturating_sub(1));
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let [title, whole, parts, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(7),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.title(title.width), title);
        frame.render_widget(
            Line::from(" q quit  Tab table  ←→ sort  r turn  ↑↓ scroll  p pause  ? help").dim(),
            keys,
        );
        match self.picture.as_deref() {
            Some(picture) => {
                draw_whole(frame, whole, picture);
                self.draw_parts(frame, parts, picture);
            }
            None => frame.render_widget(Paragraph::new("asking the nodes …"), whole),
        }
        if self.help {
            draw_help(frame, area);
        }
    }

    fn title(&self, width: u16) -> Line<'static> {
        let (nodes, down) = match self.picture.as_deref() {
            Some(Picture { nodes, down, .. }) if down.is_empty() => {
                (format!("nodes: {nodes}").green(), String::new())
            }
            Some(Picture { nodes, down, .. }) => {
                (format!("nodes: {nodes}, down: {}", down.len()).red(), down.join("; "))
            }
            None => ("".into(), String::new()),
        };
        let paused = if self.paused { " PAUSED ".reversed() } else { "".into() };
        let every = format!("  every {:?}  ", self.interval).dim();
        let mut line = Line::from(vec!["executor top  ".bold(), nodes, every, paused, "  ".into()]);
        let left = usize::from(width).saturating_sub(line.width());
        if left > 0 {
            line.push_span(fit::cut(&down, left).red());
        }
        line
    }

    fn draw_parts(&self, frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
        let draw = |frame: &mut Frame<'_>, area, index: usize| {
            draw_part(frame, area, &picture.parts[index], self.looks[index], index == self.chosen);
        };
        if frame.area().height < HEIGHT_FOR_ALL {
            return draw(frame, area, self.chosen);
        }
        let nodes = u16::try_from(picture.nodes).unwrap_or(u16::MAX).min(NODES_SEEN) + 2;
        let areas = Layout::vertical([
            Constraint::Length(nodes),
            Constraint::Fill(3),
            Constraint::Fill(2),
            Constraint::Fill(2),
        ])
        .split(area);
        for (index, area) in areas.iter().enumerate() {
            draw(frame, *area, index);
        }
    }
}

/// Rates and latencies of all nodes, in plain columns.
fn draw_whole(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let [rates, _, latencies] =
        Layout::vertical([Constraint::Length(2), Constraint::Length(1), Constraint::Length(3)]).areas(area);
    for (area, table) in [rates, latencies].into_iter().zip(&picture.whole) {
        let rows: Vec<&Row> = table.rows.iter().collect();
        frame.render_widget(columns(table, &rows, None, &fit::fit(table, None, area.width)), area);
    }
}

fn draw_part(frame: &mut Frame<'_>, area: Rect, table: &Table, look: Look, chosen: bool) {
    let order = look.order.unwrap_or(table.order);
    let fitted = fit::fit(table, Some(order.column), area.width);
    let hidden = match table.columns.len() - fitted.len() {
        0 => String::new(),
        hidden => format!("({hidden} columns do not fit) "),
    };
    let title = format!(" {} {} {hidden}", table.title, table.rows.len());
    let title = if chosen { title.bold().reversed() } else { title.bold() };
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let seen = usize::from(inner.height.saturating_sub(1));
    // A table may have got shorter.
    let skipped = look.skipped.min(table.rows.len().saturating_sub(1));
    let rows: Vec<&Row> = table.sorted(order).into_iter().skip(skipped).take(seen).collect();
    frame.render_widget(columns(table, &rows, Some(order), &fitted), inner);
}

/// The columns of a table that fit, for the terminal.
fn columns<'a>(table: &Table, rows: &[&Row], order: Option<Order>, fitted: &[Fitted]) -> widgets::Table<'a> {
    let heads = fitted.iter().map(|Fitted { column, .. }| {
        let sorted = order.is_some_and(|order| order.column == *column);
        let style = if sorted { Style::new().bold().underlined() } else { Style::new().dim() };
        Text::from(table.columns[*column].to_owned()).style(style).alignment(side(table.is_text(*column)))
    });
    let body = rows.iter().map(|row| {
        let cells = fitted.iter().filter_map(|fitted| {
            let cell = row.cells.get(fitted.column)?;
            Some(Text::from(fit::shown(cell, *fitted)).alignment(side(cell.is_text())))
        });
        let style = if row.alarming { Style::new().red() } else { Style::new() };
        widgets::Row::new(cells.collect::<Vec<_>>()).style(style)
    });
    let body: Vec<widgets::Row<'a>> = body.collect();
    let heads: Vec<Text<'a>> = heads.collect();
    let widths = fitted.iter().map(|fitted| Constraint::Length(fitted.width));
    widgets::Table::new(body, widths).header(widgets::Row::new(heads)).column_spacing(fit::SPACING)
}

fn side(text: bool) -> Alignment {
    if text { Alignment::Left } else { Alignment::Right }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (52.min(area.width), 12.min(area.height));
    let popup =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, popup);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" KEYS ")), popup);
}

#[cfg(test)]
mod tests;
