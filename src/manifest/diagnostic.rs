//! Problems in a manifest, shown with the line underlined.
//!
//! A manifest and the `--set` arguments that change it are several texts. [`Texts`] concatenates them, so that one [`Span`]
//! identifies both the text and the position in it.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Byte offsets into [`Texts`].
pub type Span = Range<usize>;

/// Further problems are only counted: nobody reads ten thousand of them.
const MAX_SHOWN: usize = 50;

/// A manifest and the arguments that change it, concatenated.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    texts: Vec<Text>,
}

#[derive(Clone, Debug)]
struct Text {
    name: String,
    text: String,
    start: usize,
    has_line_numbers: bool,
}

impl Texts {
    /// Appends the text of a file, whose lines are shown with numbers.
    pub fn push_file(&mut self, name: impl Into<String>, text: String) {
        self.push(name.into(), text, true);
    }

    /// Appends an argument of the command line.
    pub fn push_argument(&mut self, flag: &str, text: String) {
        self.push(flag.to_owned(), text, false);
    }

    /// The text with this index, and its offset.
    pub fn get(&self, index: usize) -> (&str, usize) {
        let text = &self.texts[index];
        (&text.text, text.start)
    }

    /// The text at `span`; empty if it lies outside all texts.
    pub fn slice(&self, span: &Span) -> &str {
        let found = self.find(span).and_then(|text| text.text.get(span.start - text.start..span.end - text.start));
        found.unwrap_or_default()
    }

    fn push(&mut self, name: String, text: String, has_line_numbers: bool) {
        // With a gap of one byte, an empty span at the end of one text differs from one at the start of the next.
        let start = self.texts.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.texts.push(Text { name, text, start, has_line_numbers });
    }

    fn find(&self, span: &Span) -> Option<&Text> {
        let after = self.texts.partition_point(|text| text.start <= span.start);
        self.texts.get(after.checked_sub(1)?)
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The problem, as a sentence without a full stop.
    pub title: String,
    /// Its position, unless it concerns the whole manifest.
    pub at: Option<Span>,
    /// The label under the underlined text.
    pub label: Option<String>,
    /// Other positions that belong to the problem, each with a label.
    pub also: Vec<(Span, String)>,
    /// How to solve it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem at `span`.
    pub fn at(span: Span, title: impl Into<String>) -> Self {
        Self { at: Some(span), ..Self::general(title) }
    }

    /// A problem of the whole manifest.
    pub fn general(title: impl Into<String>) -> Self {
        Self { title: title.into(), at: None, label: None, also: Vec::new(), hint: None }
    }

    /// Adds a label under the underlined text.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// Adds another position with a label.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }

    /// Adds a hint, if there is one.
    #[must_use]
    pub fn hint(self, hint: impl Into<Option<String>>) -> Self {
        Self { hint: hint.into().or(self.hint), ..self }
    }
}

/// All problems of a manifest, in the order of the text.
#[derive(Clone)]
pub struct Diagnostics {
    texts: Texts,
    problems: Vec<Diagnostic>,
}

/// Whether [`Diagnostics`] are shown in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Plain text.
    Plain,
    /// The terminal's colours.
    Coloured,
}

impl Paint {
    /// Colours if standard error is a terminal and `NO_COLOR` is not set.
    pub fn of_stderr() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stderr().is_terminal() && !refused { Paint::Coloured } else { Paint::Plain }
    }
}

impl Diagnostics {
    /// Sorts the `problems` found in `texts`.
    pub fn new(texts: Texts, mut problems: Vec<Diagnostic>) -> Self {
        problems.sort_by_key(|problem| problem.at.as_ref().map_or((0, 0), |at| (at.start, at.end)));
        problems.dedup();
        Self { texts, problems }
    }

    /// The problems, in the order of the text.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// The problems as text, separated by empty lines.
    pub fn render(&self, paint: Paint) -> String {
        let renderer = match paint {
            Paint::Plain => Renderer::plain(),
            Paint::Coloured => Renderer::styled(),
        };
        let shown = self.problems.iter().take(MAX_SHOWN).map(|problem| renderer.render(&[self.group(problem)]));
        let mut parts: Vec<String> = shown.collect();
        if self.problems.len() > MAX_SHOWN {
            parts.push(format!("… and {} more problems", self.problems.len() - MAX_SHOWN));
        }
        parts.join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a Diagnostic) -> Group<'a> {
        let mut group = Group::with_title(Level::ERROR.primary_title(&problem.title));
        match (&problem.at, self.texts.texts.first()) {
            (Some(_), _) => {
                let touched = self.texts.texts.iter().filter_map(|text| Some((text, marks(text, problem)?)));
                // The text of the problem itself comes first.
                let mut snippets: Vec<_> = touched.collect();
                snippets.sort_by_key(|(_, marks)| !marks.iter().any(|mark| mark.0 == AnnotationKind::Primary));
                group = group.elements(snippets.into_iter().map(|(text, marks)| snippet(text, marks)));
            }
            (None, Some(manifest)) => group = group.element(Origin::path(&manifest.name)),
            (None, None) => {}
        }
        match &problem.hint {
            Some(hint) => group.element(Level::HELP.with_name("hint").message(hint)),
            None => group,
        }
    }
}

/// A span to underline, how, and its label.
type Mark<'a> = (AnnotationKind, &'a Span, Option<&'a str>);

/// The marks of `problem` that lie in `text`; `None` if there are none.
fn marks<'a>(text: &Text, problem: &'a Diagnostic) -> Option<Vec<Mark<'a>>> {
    let inside = |span: &Span| span.start >= text.start && span.start <= text.start + text.text.len();
    let primary = problem.at.iter().map(|at| (AnnotationKind::Primary, at, problem.label.as_deref()));
    let context = problem.also.iter().map(|(span, label)| (AnnotationKind::Context, span, Some(label.as_str())));
    let marks: Vec<_> = primary.chain(context).filter(|(_, span, _)| inside(span)).collect();
    (!marks.is_empty()).then_some(marks)
}

/// The lines of `text` that have `marks`. The others are cut off first, because the renderer scans its whole input.
fn snippet<'a>(text: &'a Text, marks: Vec<Mark<'a>>) -> Snippet<'a, Annotation<'a>> {
    let starts = || marks.iter().map(|(_, span, _)| span.start - text.start);
    let (first, last) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
    let from = text.text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let to = text.text[last..].find('\n').map_or(text.text.len(), |newline| last + newline);
    let line = text.text[..from].bytes().filter(|&byte| byte == b'\n').count() + 1;

    let snippet =
        Snippet::source(&text.text[from..to]).path(&text.name).line_start(line).line_numbering(text.has_line_numbers);
    snippet.annotations(marks.into_iter().map(|(kind, span, label)| {
        let start = span.start - text.start;
        // Of a value that spans several lines only the first is underlined.
        let end = (span.end - text.start).min(text.text.len());
        let end = text.text[start..end].find('\n').map_or(end, |newline| start + newline);
        kind.span(start - from..end - from).label(label)
    }))
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(Paint::Plain))
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Diagnostics {}
