//! What a stage is, and the list of them.
//!
//! A stage is a type whose fields are its parameters as the manifest writes them. It says what it reads and writes
//! ([`Ports`]), which files outside the store it reads ([`Source`]), what else enters its key ([`Ambient`]) and what it
//! needs to run ([`Resources`]); then it runs. To add one: write its file, add a line to [`STAGES`].

use std::env;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use crate::augment::Augment;
use crate::choose::Choose;
use crate::cluster::Cluster;
use crate::command::Command;
use crate::context::Context;
use crate::decode::Decode;
use crate::embed::Embed;
use crate::error::StageError;
use crate::evaluate::Evaluate;
use crate::init::Init;
use crate::kind::Kind;
use crate::merge::Merge;
use crate::train::Train;

/// Every stage, in the order in which a pipeline uses them.
pub const STAGES: &[StageKind] = &[
    StageKind::of::<Decode>(),
    StageKind::of::<Augment>(),
    StageKind::of::<Init>(),
    StageKind::of::<Embed>(),
    StageKind::of::<Cluster>(),
    StageKind::of::<Train>(),
    StageKind::of::<Merge>(),
    StageKind::of::<Evaluate>(),
    StageKind::of::<Choose>(),
    StageKind::of::<Command>(),
];

/// A kind of work. The fields of the type are the parameters.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in manifests.
    const NAME: &'static str;
    /// Raised whenever the bytes that the stage writes change for the same inputs and parameters.
    const VERSION: u32;
    /// One line for `dnc-run stages`.
    const SUMMARY: &'static str;
    /// Parameters that decide whether it succeeds but not what it writes, and so do not enter the key.
    const NOT_IN_KEY: &'static [&'static str] = &[];

    /// What flows in and out.
    fn ports(&self) -> Ports;

    /// What enters the key besides parameters and inputs.
    fn ambient(&self) -> Ambient {
        Ambient::default()
    }

    /// Checks the values that their types cannot.
    ///
    /// # Errors
    /// Names the parameter whose value cannot be meant.
    fn check(&self) -> Result<(), ParamError> {
        Ok(())
    }

    /// Checks the values against how a manifest uses the stage.
    ///
    /// # Errors
    /// Names the parameter whose value cannot be meant there.
    fn check_use(&self, _usage: &Usage<'_>) -> Result<(), ParamError> {
        Ok(())
    }

    /// Files and folders outside the store that the stage reads. In the key their digests stand in place of the paths.
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    /// What running it takes.
    fn resources(&self) -> Resources {
        Resources::default()
    }

    /// The width of the embedding of the model that this stage makes, where it makes one anew.
    fn embedding_dimension(&self) -> Option<usize> {
        None
    }

    /// Does the work: reads inputs, writes outputs, tells progress, stops when cancelled.
    ///
    /// # Errors
    /// Whatever keeps it from writing every output whole.
    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError>;
}

/// How a manifest uses a stage.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'m> {
    /// The names of the ports that it feeds.
    pub inputs: &'m [&'m str],
    /// The ambient values that there are: a stage that runs once has no round.
    pub there: Ambient,
}

/// What flows into and out of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    /// What it reads.
    pub inputs: Vec<Input>,
    /// What it writes. The first is meant where a manifest names only the stage and no kind decides.
    pub outputs: Vec<Output>,
}

/// A port that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name under `in` in the manifest.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// The columns that it sees.
    pub columns: Columns,
    /// How many artifacts it takes.
    pub arity: Arity,
}

impl Input {
    /// A port that takes one artifact and sees only `columns`. A column of a table that lies beside the artifact's main
    /// one is written `table.column`.
    pub fn new(name: impl Into<String>, kind: Kind, columns: &[&str]) -> Self {
        let columns = Columns::Named(columns.iter().map(|&column| column.to_owned()).collect());
        Self { name: name.into(), kind, columns, arity: Arity::One }
    }

    /// A port that takes one artifact and sees all of it.
    pub fn whole(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind, columns: Columns::All, arity: Arity::One }
    }

    /// Stands for whatever ports a manifest names besides the others: each takes any number of artifacts of any kind and
    /// sees all of them. A plan has ports of the manifest's names in its place.
    pub fn rest() -> Self {
        Self::whole(Self::REST, Kind::Files).many()
    }

    /// Whether this is [`Input::rest`].
    pub fn is_rest(&self) -> bool {
        self.name == Self::REST
    }

    /// The name of [`Input::rest`], which no port in a manifest can have.
    const REST: &'static str = "*";

    /// The same port, which may stay empty.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { arity: Arity::Optional, ..self }
    }

    /// The same port, which takes one artifact a learner, in the learners' order.
    #[must_use]
    pub fn many(self) -> Self {
        Self { arity: Arity::Many, ..self }
    }
}

/// What a port sees of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Everything.
    All,
    /// These facets and no others; only they are in the key.
    Named(Vec<String>),
}

/// How many artifacts a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// At least one; a per-learner stage gives one a learner.
    Many,
}

/// A port that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name, as in `train.history`.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Output {
    /// An output called `name` that holds `kind`.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// What enters a key besides parameters and inputs. A stage that leaves a field false cannot see the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ambient {
    /// The manifest's seed.
    pub seed: bool,
    /// The number of the round.
    pub round: bool,
    /// How many learners this round has, and how many the last one had.
    pub learners: bool,
    /// Which learner this node trains.
    pub learner: bool,
    /// The instruction set or GPU that computes, since floats differ between them. Set by every stage that computes floats.
    pub arithmetic: bool,
}

/// A file or folder outside the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The parameter that names it, dotted: `root`, `script.0`.
    pub param: String,
    /// As written; relative to the manifest's folder.
    pub path: PathBuf,
    /// Whether it is run: a name without a slash then means the first file of this name on the PATH.
    pub is_program: bool,
}

impl Source {
    /// A file or folder that is read.
    pub fn file(param: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { param: param.into(), path: path.into(), is_program: false }
    }

    /// A program that is run.
    pub fn program(param: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { is_program: true, ..Self::file(param, path) }
    }

    /// Whether it is a program that is looked for on the PATH.
    pub fn is_on_path(&self) -> bool {
        self.is_program && !self.path.as_os_str().as_encoded_bytes().contains(&b'/')
    }

    /// Where it lies, seen from the manifest's folder; `None` where the PATH leads to no such program. Anything else need
    /// not be there.
    pub fn find(&self, folder: &Path) -> Option<PathBuf> {
        if !self.is_on_path() {
            return Some(folder.join(&self.path));
        }
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|folder| folder.join(&self.path)).find(|path| path.is_file())
    }
}

/// What running a node takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Threads that it can use.
    pub threads: Threads,
    /// Bytes of memory that it may need, where it knows.
    pub memory: Option<u64>,
    /// Whether it computes on the run's device, so that on a GPU it wants one to itself.
    pub device: bool,
    /// Whether it goes faster with what it left when only its files outside the store were others.
    pub earlier: bool,
}

/// How many threads a stage can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One; many such nodes run beside each other.
    #[default]
    One,
    /// As many as its share allows.
    Many,
}

/// A parameter whose value cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// The key, dotted from the stage's table: `loss.margin`. Empty for the table as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ParamError {
    /// A problem with the value of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None }
    }

    /// The same problem with advice.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A stage whose parameters are known, with its type forgotten.
pub trait Job: Send + Sync {
    /// See [`Stage::ports`].
    fn ports(&self) -> Ports;
    /// See [`Stage::ambient`].
    fn ambient(&self) -> Ambient;
    /// See [`Stage::check_use`].
    ///
    /// # Errors
    /// Names the parameter whose value cannot be meant there.
    fn check_use(&self, usage: &Usage<'_>) -> Result<(), ParamError>;
    /// See [`Stage::sources`].
    fn sources(&self) -> Vec<Source>;
    /// See [`Stage::resources`].
    fn resources(&self) -> Resources;
    /// See [`Stage::embedding_dimension`].
    fn embedding_dimension(&self) -> Option<usize>;
    /// Every parameter with its value, defaults included.
    fn params(&self) -> Value;
    /// See [`Stage::run`].
    ///
    /// # Errors
    /// Whatever keeps it from writing every output whole.
    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError>;
}

impl<S: Stage> Job for S {
    fn ports(&self) -> Ports {
        Stage::ports(self)
    }

    fn ambient(&self) -> Ambient {
        Stage::ambient(self)
    }

    fn check_use(&self, usage: &Usage<'_>) -> Result<(), ParamError> {
        Stage::check_use(self, usage)
    }

    fn sources(&self) -> Vec<Source> {
        Stage::sources(self)
    }

    fn resources(&self) -> Resources {
        Stage::resources(self)
    }

    fn embedding_dimension(&self) -> Option<usize> {
        Stage::embedding_dimension(self)
    }

    fn params(&self) -> Value {
        let mut params = serde_json::to_value(self).expect(PLAIN);
        if has_float(&params) {
            let text = serde_json::to_string(self).expect(PLAIN);
            shorten(&mut params, &serde_json::from_str(&text).expect("it was written by serde"));
        }
        params
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        Stage::run(self, context)
    }
}

const PLAIN: &str = "parameters are plain structs with string keys";

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(map) => map.values().any(has_float),
        _ => false,
    }
}

/// Gives the numbers that come from an `f32` the digits that people wrote: 0.2 becomes 0.20000000298 on its way into a
/// `Value`, which only knows `f64`. In `text` every number has the digits of its own type.
fn shorten(value: &mut Value, text: &Value) {
    /// Reading digits back may be off by the last bit of an `f64`, far less than an `f32` differs from its digits.
    const LAST_BITS: f64 = 1e-14;
    match (value, text) {
        (Value::Number(number), Value::Number(digits)) => {
            if let (Some(float), Some(digits)) = (number.as_f64(), digits.as_f64())
                && (float - digits).abs() > LAST_BITS * float.abs()
                && let Some(short) = (float as f32).to_string().parse().ok().and_then(Number::from_f64)
            {
                *number = short;
            }
        }
        (Value::Array(items), Value::Array(texts)) => {
            items.iter_mut().zip(texts).for_each(|(item, text)| shorten(item, text));
        }
        (Value::Object(map), Value::Object(texts)) => {
            map.values_mut().zip(texts.values()).for_each(|(item, text)| shorten(item, text));
        }
        _ => {}
    }
}

/// A stage before its parameters are known.
#[derive(Clone, Copy)]
pub struct StageKind {
    /// The name in manifests.
    pub name: &'static str,
    /// See [`Stage::VERSION`].
    pub version: u32,
    /// One line for `dnc-run stages`.
    pub summary: &'static str,
    /// See [`Stage::NOT_IN_KEY`].
    pub not_in_key: &'static [&'static str],
    parse: fn(Value) -> Result<Box<dyn Job>, ParamError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl StageKind {
    /// The entry of `S` in the list.
    pub const fn of<S: Stage>() -> Self {
        Self {
            name: S::NAME,
            version: S::VERSION,
            summary: S::SUMMARY,
            not_in_key: S::NOT_IN_KEY,
            parse: parse::<S>,
            schema: SchemaGenerator::subschema_for::<S>,
        }
    }

    /// The stage called `name`.
    pub fn find(name: &str) -> Option<&'static StageKind> {
        STAGES.iter().find(|kind| kind.name == name)
    }

    /// Reads parameters: unknown keys, wrong types and senseless values are refused.
    ///
    /// # Errors
    /// Names the parameter.
    pub fn parse(&self, params: Value) -> Result<Box<dyn Job>, ParamError> {
        (self.parse)(params)
    }

    /// The JSON Schema of the parameters.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

fn parse<S: Stage>(params: Value) -> Result<Box<dyn Job>, ParamError> {
    // Keeping track of the path costs more than the reading, so that is left to those that are refused.
    let stage = S::deserialize(&params).or_else(|_| {
        serde_path_to_error::deserialize(params)
            .map_err(|error| ParamError::new(key_of(error.path()), error.into_inner().to_string()))
    })?;
    stage.check()?;
    Ok(Box::new(stage))
}

/// The path of a parse error; empty for the table itself, which serde writes as a dot.
fn key_of(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        root if root == "." => String::new(),
        key => key,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_were_written() {
        #[derive(Serialize)]
        struct Params {
            margin: f32,
            nested: Vec<(f32, f64)>,
            count: u32,
        }
        let check = |short: f32, long: f64| {
            let params = Params { margin: short, nested: vec![(short, long)], count: 3 };
            let mut value = serde_json::to_value(&params).expect("it is plain");
            let text = serde_json::to_string(&params).expect("it is plain");
            shorten(&mut value, &serde_json::from_str(&text).expect("it was written above"));
            let digits: f64 = short.to_string().parse().expect("digits");
            assert_eq!(value, json!({ "margin": digits, "nested": [[digits, long]], "count": 3 }));
        };
        for (short, long) in
            [(0.2, 0.2), (1e-5, 0.1 + 0.2), (0.5, 2.0 / 3.0), (3.4e38, 1e300), (0.0, 0.200_000_002_980_232_24)]
        {
            check(short, long);
        }
    }
}
