//! What is wrong with a manifest, told with the line underlined.
//!
//! A manifest and the `--set` arguments laid over it are several texts. They are laid end to end in [`Texts`], so that
//! one [`Span`] says both which text and where in it.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Byte offsets into [`Texts`].
pub type Span = Range<usize>;

/// Beyond this many problems the rest are only counted: nobody reads ten thousand of them.
const MAX_SHOWN: usize = 50;

/// The texts of one reading, laid end to end.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    texts: Vec<Text>,
}

#[derive(Clone, Debug)]
struct Text {
    name: String,
    text: String,
    start: usize,
    numbered: bool,
}

impl Texts {
    /// Lays the text of a file at the end; its lines are numbered.
    pub fn push_file(&mut self, name: impl Into<String>, text: String) {
        self.push(name.into(), text, true);
    }

    /// Lays an argument of the command line at the end.
    pub fn push_argument(&mut self, flag: &str, text: String) {
        self.push(flag.to_owned(), text, false);
    }

    /// The `index`th text and the offset where it starts.
    pub fn get(&self, index: usize) -> (&str, usize) {
        let text = &self.texts[index];
        (&text.text, text.start)
    }

    /// What stands at `span`; empty where it lies in no text.
    pub fn slice(&self, span: &Span) -> &str {
        let found = self.find(span).and_then(|text| text.text.get(span.start - text.start..span.end - text.start));
        found.unwrap_or_default()
    }

    fn push(&mut self, name: String, text: String, numbered: bool) {
        // One byte of distance keeps an empty span at the end of one text from lying at the start of the next.
        let start = self.texts.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.texts.push(Text { name, text, start, numbered });
    }

    fn find(&self, span: &Span) -> Option<&Text> {
        let after = self.texts.partition_point(|text| text.start <= span.start);
        self.texts.get(after.checked_sub(1)?)
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, as a sentence without its full stop.
    pub title: String,
    /// Where, if anywhere.
    pub at: Option<Span>,
    /// What stands under the underlined text.
    pub label: Option<String>,
    /// Other places that belong to the problem, each with what stands under it.
    pub also: Vec<(Span, String)>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem with the text at `span`.
    pub fn at(span: Span, title: impl Into<String>) -> Self {
        Self { at: Some(span), ..Self::whole(title) }
    }

    /// A problem with the manifest as a whole.
    pub fn whole(title: impl Into<String>) -> Self {
        Self { title: title.into(), at: None, label: None, also: Vec::new(), hint: None }
    }

    /// The same problem with words under the underlined text.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// The same problem with another place shown.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }

    /// The same problem with advice, where there is any.
    #[must_use]
    pub fn hint(self, hint: impl Into<Option<String>>) -> Self {
        Self { hint: hint.into().or(self.hint), ..self }
    }
}

/// Everything that is wrong with a manifest, in the order of the text.
#[derive(Clone)]
pub struct Diagnostics {
    texts: Texts,
    problems: Vec<Diagnostic>,
}

/// How [`Diagnostics`] are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As text.
    Plain,
    /// With the terminal's colours.
    Coloured,
}

impl Paint {
    /// Colours where stderr is a terminal and `NO_COLOR` is not set.
    pub fn of_stderr() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stderr().is_terminal() && !refused { Paint::Coloured } else { Paint::Plain }
    }
}

impl Diagnostics {
    /// The `problems` found in `texts`, which are sorted here.
    pub fn new(texts: Texts, mut problems: Vec<Diagnostic>) -> Self {
        problems.sort_by_key(|problem| problem.at.as_ref().map_or((0, 0), |at| (at.start, at.end)));
        problems.dedup();
        Self { texts, problems }
    }

    /// The problems, in the order of the text.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// All of them as text, an empty line between two.
    pub fn render(&self, paint: Paint) -> String {
        let renderer = match paint {
            Paint::Plain => Renderer::plain(),
            Paint::Coloured => Renderer::styled(),
        };
        let shown = self.problems.iter().take(MAX_SHOWN).map(|problem| renderer.render(&[self.group(problem)]));
        let mut parts: Vec<String> = shown.collect();
        if self.problems.len() > MAX_SHOWN {
            parts.push(format!("… and {} problems more", self.problems.len() - MAX_SHOWN));
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

/// A place to underline, how, and what stands under it.
type Mark<'a> = (AnnotationKind, &'a Span, Option<&'a str>);

/// What of `problem` lies in `text`; `None` where nothing does.
fn marks<'a>(text: &Text, problem: &'a Diagnostic) -> Option<Vec<Mark<'a>>> {
    let inside = |span: &Span| span.start >= text.start && span.start <= text.start + text.text.len();
    let primary = problem.at.iter().map(|at| (AnnotationKind::Primary, at, problem.label.as_deref()));
    let context = problem.also.iter().map(|(span, label)| (AnnotationKind::Context, span, Some(label.as_str())));
    let marks: Vec<_> = primary.chain(context).filter(|(_, span, _)| inside(span)).collect();
    (!marks.is_empty()).then_some(marks)
}

/// The lines of `text` that have `marks`. The rest is cut away first: the renderer walks all that it is given.
fn snippet<'a>(text: &'a Text, marks: Vec<Mark<'a>>) -> Snippet<'a, Annotation<'a>> {
    let starts = || marks.iter().map(|(_, span, _)| span.start - text.start);
    let (first, last) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
    let from = text.text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let to = text.text[last..].find('\n').map_or(text.text.len(), |newline| last + newline);
    let line = text.text[..from].bytes().filter(|&byte| byte == b'\n').count() + 1;

    let snippet = Snippet::source(&text.text[from..to]).path(&text.name).line_start(line).line_numbering(text.numbered);
    snippet.annotations(marks.into_iter().map(|(kind, span, label)| {
        let start = span.start - text.start;
        // A value of many lines is underlined on its first one.
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
