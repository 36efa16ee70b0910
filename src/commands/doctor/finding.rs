//! What a check found.

use serde::Serialize;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What it is about: `processor`, `disk`, `gpu`, `store` or `inputs`.
    pub(super) topic: &'static str,
    /// What was looked at.
    pub(super) name: String,
    /// What was found.
    pub(super) value: String,
    /// How good or bad it is.
    pub(super) status: Status,
    /// What to do about it; every problem has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// In order.
    Ok,
    /// Worth knowing, but no hindrance.
    Note,
    /// Hinders a run.
    Problem,
}

impl Status {
    /// The name in output.
    pub(super) fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Problem => "problem",
        }
    }
}

impl Finding {
    /// Something that is in order.
    pub(super) fn ok(topic: &'static str, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { topic, name: name.into(), value: value.into(), status: Status::Ok, advice: None }
    }

    /// Something that is worth knowing.
    pub(super) fn note(topic: &'static str, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { status: Status::Note, ..Self::ok(topic, name, value) }
    }

    /// Something that hinders a run, and what to do about it.
    pub(super) fn problem(
        topic: &'static str,
        name: impl Into<String>,
        value: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { status: Status::Problem, advice: Some(advice.into()), ..Self::ok(topic, name, value) }
    }

    /// The same finding with advice.
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}
