//! The text of a manifest.

use std::fmt::Write as _;

use serde_json::Value;

use super::layout::Layout;
use super::settings::Settings;
use super::task::Task;

/// The manifest for a data set whose root is `root` as seen from the manifest's folder.
pub(super) fn manifest(layout: &Layout, settings: &Settings, root: &str, schema: &str) -> String {
    let mut text = format!("#:schema ./{schema}\n");
    let task = match settings.task {
        Task::Retrieval => "Retrieval among images of classes that are not trained on.",
        Task::Sop => "Retrieval with many classes of few images each, as in Stanford Online Products.",
        Task::Reid => "Re-identification: queries are searched in a gallery.",
        Task::FewShot => "Few-shot classification of classes that are not trained on.",
    };
    writing(&mut text, format_args!("# {task} `dnc-run stages STAGE` describes all parameters of a stage.\n\n"));
    writing(&mut text, format_args!("name = \"{}\"\nseed = 0\n\n", layout.name));
    let divides = !settings.learners.is_empty();
    if divides {
        writing(&mut text, format_args!("[rounds]\nlearners = {:?}", settings.learners));
        text += "                    # per round; [1, 1, 1] is the single metric of equal length\n\n";
    }
    decode(&mut text, layout, settings, root);
    writing(
        &mut text,
        format_args!(
            "[stage.augment]\nin = {{ images = \"decode\" }}\nviews = 16\nscale = [0.5, 1.0]                       # area of the random crop\nflip = {:?}\n\n",
            settings.flip
        ),
    );
    init(&mut text, settings);
    let model = if divides { "merge@previous or init" } else { "init" };
    if divides {
        text += "[stage.embed]\nper = \"round\"\nin = { images = \"decode\", model = \"merge@previous or init\" }\n";
        text += "vector = \"features\"\nsplits = [\"train\"]\n\n";
        text +=
            "[stage.cluster]\nper = \"round\"\nin = { embeddings = \"embed\", previous = \"cluster@previous\" }\n\n";
    }
    train(&mut text, settings, model, divides);
    if divides {
        text += "[stage.merge]\nper = \"round\"\nin = { learners = \"train\", model = \"merge@previous or init\" }\n\n";
    }
    evaluate(&mut text, settings, divides);
    text
}

fn decode(text: &mut String, layout: &Layout, settings: &Settings, root: &str) {
    *text += "[stage.decode]\ndataset = ";
    inline(text, &layout.dataset);
    *text += "\nroot = ";
    inline(text, &root.into());
    *text += "\n";
    if let Some(split) = settings.split {
        writing(
            text,
            format_args!(
                "split = {split}                 # half of the classes; add `validation = 0.1` before you choose settings\n"
            ),
        );
    }
    writing(
        text,
        format_args!(
            "resize = {{ shorter = {} }}                 # stored size; smaller images stay as they are\n",
            settings.stored
        ),
    );
    if settings.skip_unreadable {
        *text += "on_error = \"skip\"                        # some images cannot be read\n";
    }
    *text += "\n";
}

fn init(text: &mut String, settings: &Settings) {
    *text +=
        "[stage.init]\nin = { images = \"decode\" }               # the embedding begins centred on these images\n";
    writing(text, format_args!("backbone = \"{}\"\n", settings.backbone));
    match settings.weights {
        Some(weights) => writing(text, format_args!("weights = \"{weights}\"\n")),
        None => {
            *text += "# From random weights. Pretrained ones are better: `dnc-run weights fetch resnet50`, then backbone = \"resnet50\",\n";
            *text += "# weights = \"imagenet\", crop = 224, resize = 256, in train the optimiser of the comment there, and in decode\n";
            *text += "# resize = { shorter = 256 }.\n";
        }
    }
    writing(
        text,
        format_args!("dimension = 128\ncrop = {}\nresize = {}\ndropout = 0.0\n\n", settings.crop, settings.resize),
    );
}

fn train(text: &mut String, settings: &Settings, model: &str, divides: bool) {
    *text += "[stage.train]\n";
    let clusters = match divides {
        true => {
            *text += "per = \"learner\"\n";
            ", clusters = \"cluster\""
        }
        false => "",
    };
    writing(
        text,
        format_args!(
            "in = {{ images = \"decode\", views = \"augment\"{clusters}, model = \"{model}\" }}\nepochs = {}\n",
            settings.epochs
        ),
    );
    *text += "loss = { kind = \"margin\", beta = 1.2, margin = 0.2, learn_beta = \"shared\" }\n";
    writing(
        text,
        format_args!(
            "sampler = {{ kind = \"class_balanced\", batch = {}, per_class = {} }}\n",
            settings.batch, settings.per_class
        ),
    );
    *text += match settings.weights {
        Some(_) => "optimiser = { lr = 1e-4, weight_decay = 1e-4, embedding = { lr = 1e-3 } }\n\n",
        None => {
            "optimiser = { lr = 1e-3, weight_decay = 0.0 }\n# From pretrained weights: optimiser = { lr = 1e-4, weight_decay = 1e-4, embedding = { lr = 1e-3 } }\n\n"
        }
    };
}

fn evaluate(text: &mut String, settings: &Settings, divides: bool) {
    *text += "[stage.untrained]                        # what the network does before training\nkind = \"evaluate\"\n";
    *text += "in = { images = \"decode\", model = \"init\" }\n";
    measured(text, settings);
    *text += "\n[stage.evaluate]\n";
    *text += if divides {
        "per = \"round\"\nin = { images = \"decode\", model = \"merge\" }\n"
    } else {
        "in = { images = \"decode\", model = \"train\" }\n"
    };
    measured(text, settings);
}

/// Parameters that say what is measured.
fn measured(text: &mut String, settings: &Settings) {
    writing(text, format_args!("recall = {:?}\n", settings.recall));
    if settings.cameras {
        *text += "cameras = true                           # matches by the same camera do not count\n";
    }
    if let Some((ways, shots, queries)) = settings.few_shot {
        writing(text, format_args!("few_shot = {{ ways = {ways}, shots = {shots:?}, queries = {queries} }}\n"));
    }
}

fn writing(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

/// A value in TOML on one line: texts, booleans and tables of them.
fn inline(text: &mut String, value: &Value) {
    match value {
        Value::Object(table) => {
            *text += "{ ";
            // `kind` comes first, as people write it.
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| *key != "kind");
            for (position, (key, value)) in entries.into_iter().enumerate() {
                *text += if position == 0 { "" } else { ", " };
                writing(text, format_args!("{key} = "));
                inline(text, value);
            }
            *text += " }";
        }
        Value::String(string) => writing(text, format_args!("{}", toml::Value::String(string.clone()))),
        other => writing(text, format_args!("{other}")),
    }
}
