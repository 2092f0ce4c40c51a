//! A chapter as HTML: headings with an id, tables, and links between chapters as paths under which they are shown.
//!
//! Must not know: the page around it, who shows it.

use std::collections::BTreeSet;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::Chapter;

impl Chapter {
    /// Its text as a fragment of HTML. Links to other chapters lead to `base` and the chapter's name. Markup in the text
    /// that is no Markdown is shown as text.
    #[must_use]
    pub fn html(&self, base: &str) -> String {
        let events: Vec<Event<'_>> = Parser::new_ext(self.text, Options::ENABLE_TABLES)
            .map(|event| match event {
                Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    Event::Start(Tag::Link { link_type, dest_url: led(dest_url, base), title, id })
                }
                other => other,
            })
            .collect();
        let mut out = String::with_capacity(self.text.len() * 2);
        html::push_html(&mut out, with_ids(events).into_iter());
        out
    }

    /// The sections of the chapter: id and title of each heading of the second level.
    #[must_use]
    pub fn sections(&self) -> Vec<(String, String)> {
        let events: Vec<Event<'_>> = Parser::new_ext(self.text, Options::ENABLE_TABLES).collect();
        let mut titles = with_ids(events).into_iter();
        let mut found = Vec::new();
        while let Some(event) = titles.next() {
            if let Event::Start(Tag::Heading { level: HeadingLevel::H2, id: Some(id), .. }) = event {
                let inner =
                    titles.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
                found.push((id.to_string(), inner.map(|event| text_of(&event).to_owned()).collect()));
            }
        }
        found
    }
}

/// Where a link leads: `events.md#order` to the chapter `events` under `base`.
fn led<'t>(link: CowStr<'t>, base: &str) -> CowStr<'t> {
    let (file, place) = link.split_once('#').unwrap_or((&link, ""));
    match file.strip_suffix(".md").filter(|name| super::chapter(name).is_some()) {
        Some(name) if place.is_empty() => format!("{base}{name}").into(),
        Some(name) => format!("{base}{name}#{place}").into(),
        None => link,
    }
}

/// Gives every heading an id made of its words, as the usual readers of Markdown do.
fn with_ids(mut events: Vec<Event<'_>>) -> Vec<Event<'_>> {
    let mut known = BTreeSet::new();
    for at in 0..events.len() {
        if !matches!(events.get(at), Some(Event::Start(Tag::Heading { .. }))) {
            continue;
        }
        let inner =
            events.iter().skip(at + 1).take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
        let words: String = inner.map(text_of).collect();
        let mut slug: String = words.chars().filter_map(in_slug).collect();
        while !known.insert(slug.clone()) {
            slug.push('-');
        }
        if let Some(Event::Start(Tag::Heading { id, .. })) = events.get_mut(at) {
            *id = Some(slug.into());
        }
    }
    events
}

fn in_slug(letter: char) -> Option<char> {
    match letter {
        ' ' | '-' => Some('-'),
        letter if letter.is_alphanumeric() || letter == '_' => Some(letter.to_ascii_lowercase()),
        _ => None,
    }
}

fn text_of<'e>(event: &'e Event<'_>) -> &'e str {
    match event {
        Event::Text(text) | Event::Code(text) => text,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &'static str) -> String {
        Chapter { name: "sample", text }.html("/docs/")
    }

    #[test]
    fn links_between_chapters_lead_to_where_they_are_shown() {
        assert_eq!(html("[a](events.md)"), "<p><a href=\"/docs/events\">a</a></p>\n");
        assert_eq!(html("[a](events.md#lists)"), "<p><a href=\"/docs/events#lists\">a</a></p>\n");
        assert_eq!(html("[a](https://x.example/y.md)"), "<p><a href=\"https://x.example/y.md\">a</a></p>\n");
        assert_eq!(html("[a](nothing.md)"), "<p><a href=\"nothing.md\">a</a></p>\n");
    }

    #[test]
    fn headings_have_ids_that_differ() {
        let chapter = Chapter { name: "sample", text: "# A `b` c\n\n## Over it!\n\n## Over it\n" };
        let html = chapter.html("/docs/");
        assert!(html.contains("<h1 id=\"a-b-c\">") && html.contains("<h2 id=\"over-it\">"), "{html}");
        let sections = chapter.sections();
        assert_eq!(
            sections,
            [("over-it", "Over it!"), ("over-it-", "Over it")].map(|(a, b)| (a.into(), b.into()))
        );
    }

    #[test]
    fn markup_in_the_text_is_text() {
        let html =
            html("a <script>alert(1)</script>\n\n<div onclick=\"x\">b</div>\n\n| `<c>` |\n|---|\n| 1 |\n");
        assert!(!html.contains("<script") && !html.contains("<div"), "{html}");
        assert!(
            html.contains("&lt;script&gt;") && html.contains("<th><code>&lt;c&gt;</code></th>"),
            "{html}"
        );
    }
}
