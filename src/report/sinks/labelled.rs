//! Progress of one of several runs at once: every line says which run it is about.

use serde_json::{Map, Value};

use super::plain::Plain;
use super::sink::Sink;
use crate::execute::Event;

/// Prints events with a label.
pub struct Labelled {
    form: Form,
}

enum Form {
    /// Lines after a label.
    Lines { label: String, plain: Plain },
    /// JSON objects with further fields.
    Json(Map<String, Value>),
}

impl Labelled {
    /// Lines that begin with `label` and a colon.
    pub fn lines(label: String) -> Self {
        Self { form: Form::Lines { label, plain: Plain::default() } }
    }

    /// JSON objects that begin with these fields.
    pub fn json(fields: Map<String, Value>) -> Self {
        Self { form: Form::Json(fields) }
    }

    fn line(&mut self, event: &Event) -> Option<String> {
        match &mut self.form {
            Form::Lines { label, plain } => Some(format!("{label}: {}", plain.line(event)?)),
            Form::Json(fields) => {
                let mut object = fields.clone();
                if let Ok(Value::Object(event)) = serde_json::to_value(event) {
                    object.extend(event);
                }
                Some(Value::Object(object).to_string())
            }
        }
    }
}

impl Sink for Labelled {
    fn event(&mut self, event: &Event) {
        if let Some(line) = self.line(event) {
            eprintln!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_which_run_it_is_about() {
        let event = Event::NodeStarted { node: "train@0".into(), why: "new".into() };
        let mut lines = Labelled::lines("trial 3".to_owned());
        assert_eq!(lines.line(&event).as_deref(), Some("trial 3: train@0: started (new)"));
        let fields = Map::from_iter([("trial".to_owned(), 3.into())]);
        let found: Value = serde_json::from_str(&Labelled::json(fields).line(&event).unwrap()).unwrap();
        assert_eq!(found, serde_json::json!({ "trial": 3, "event": "node_started", "node": "train@0", "why": "new" }));
    }
}
