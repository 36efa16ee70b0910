//! The frame of a page: head, navigation, sections, script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
const MAP: &str = include_str!("map.js");

/// What a page may load: nothing but what is in it.
const POLICY: &str = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// A section of the page.
pub(super) struct Section {
    /// Its name in links.
    pub(super) id: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// What it shows, in a sentence.
    pub(super) lead: Markup,
    pub(super) body: Markup,
}

/// The whole page.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// The line below the title.
    pub(super) subtitle: Markup,
    pub(super) sections: &'a [Section],
    /// Rules of the pictures.
    pub(super) pictures: &'a str,
    /// Facts about this page: how it was made, what was left out.
    pub(super) footer: Markup,
}

impl Page<'_> {
    /// The HTML.
    pub(super) fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content=(concat!("dnc-run ", env!("CARGO_PKG_VERSION")));
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) (PreEscaped(self.pictures)) }
                }
                body {
                    nav aria-label="Sections" {
                        ol { @for section in self.sections { li { a href=(format!("#{}", section.id)) { (section.title) } } } }
                    }
                    main {
                        header { h1 { (self.title) } p.subtitle { (self.subtitle) } }
                        @for section in self.sections {
                            section id=(section.id) {
                                h2 { (section.title) }
                                p.lead { (section.lead) }
                                (section.body)
                            }
                        }
                        footer { (self.footer) }
                    }
                    div #tip hidden {}
                    script { (PreEscaped(SCRIPT)) }
                    script { (PreEscaped(MAP)) }
                }
            }
        };
        page.into_string()
    }
}
