//! Exports: what the folders hold, and that other programs compute the same from them where they are installed.

use std::fs::{self, File};
use std::process::Command;

use arrow::array::{Array, AsArray};
use image::{Rgb, RgbImage};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::project::Project;

const MANIFEST: &str = r#"
name = "shapes"

[stage.decode]
dataset = "folder"
root = "images"
resize = { shorter = 60 }
split = { train = 0.5 }

[stage.small]
kind = "init"
in = { images = "decode" }
backbone = "small"
dimension = 8
crop = 32
resize = 36

[stage.plain]
kind = "init"
in = { images = "decode" }
backbone = "plain"
dimension = 8
crop = 40
resize = 48
pooling = "max"

[stage.resnet18]
kind = "init"
in = { images = "decode" }
backbone = "resnet18"
dimension = 8
crop = 64
resize = 64

[stage.evaluate]
in = { images = "decode", model = "small" }
"#;

/// A project with a run of pictures of several sizes.
fn shapes() -> Project {
    let project = Project::new();
    project.write("shapes.toml", MANIFEST);
    for class in 0..10_u32 {
        for number in 0..5_u32 {
            let colour = |x: u32, y: u32| {
                let stripe = (x * (class + 1) + y * 3) / 8 % 2;
                Rgb([(class * 25) as u8, (number * 30 + x % 64) as u8, (stripe * 200) as u8])
            };
            let path = project.write(&format!("images/class {class}/{number}.png"), "");
            RgbImage::from_fn(61 + 13 * number, 97, colour).save(path).expect("the folder exists");
        }
    }
    project.run(&["shapes.toml", "--quiet"]);
    project
}

/// A Python that has these modules: that of `DNC_TEST_PYTHON`, else `python3`. The test says so if there is none.
fn python(modules: &str) -> Option<String> {
    let python = std::env::var("DNC_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    let found = output.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: `{python}` has no {modules}; set DNC_TEST_PYTHON to a Python that has them");
    }
    found.then_some(python)
}

#[test]
fn an_export_leaves_nothing_of_an_earlier_one_in_its_folder() {
    let project = shapes();
    let export = |folder: &str, more: &[&str]| {
        project.run(&[&["export", "shapes", folder, "--node", "small"], more].concat());
        let names =
            project.files_in(folder).into_iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        names
            .filter(|name| name.ends_with(".safetensors") || name.ends_with(".onnx") || name == "model.py")
            .collect::<Vec<_>>()
    };
    export("out", &[]);
    // As a run with more learners leaves it.
    project.write("out/learners.safetensors", "of another run");
    assert_eq!(export("out", &["--format", "onnx"]), ["model.onnx"]);
    assert_eq!(export("out", &[]), ["model.py", "model.safetensors"]);
    // Its test images would be a class of the next run.
    let among_data = project.call(&["export", "shapes", "images/out", "--node", "small"]);
    assert_eq!(among_data.code, Some(2));
    assert!(among_data.stderr.contains("where the run's images are"), "{}", among_data.stderr);
    assert!(!project.path().join("images/out").exists());
    // A folder that holds no export keeps what it has.
    project.write("own/learners.safetensors", "mine");
    project.write("own/README.md", "# My weights");
    assert_eq!(export("own", &["--format", "onnx"]), ["learners.safetensors", "model.onnx"]);
}

fn check(project: &Project, python: &str, folder: &str) {
    let mut command = Command::new(python);
    let output = command.arg("check.py").current_dir(project.path().join(folder)).output();
    let output = output.expect("Python can be started");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("largest difference"), "{folder}: {said}");
}

#[test]
fn an_onnx_export_has_what_is_needed_to_use_and_to_check_it() {
    let project = shapes();
    let called = project.run(&["export", "shapes", "onnx", "--format", "onnx", "--node", "small", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&called.stdout).expect("only JSON is on standard output");
    assert_eq!((&json["format"], &json["node"], &json["model"]["crop"]), (&"onnx".into(), &"small".into(), &32.into()));
    for file in ["model.json", "README.md", "check.py", "preprocess.py"] {
        assert!(!project.read(&format!("onnx/{file}")).is_empty());
    }
    let readme = project.read("onnx/README.md");
    assert!(readme.contains("u8 `[batch, 32, 32, 3]`") && readme.contains("from preprocess import load\n"), "{readme}");
    assert!(project.read("onnx/preprocess.py").contains("DECODED_SIZE = 60\n"));
    let pixels = fs::read(project.path().join("onnx/test/inputs.npy")).expect("it was written");
    assert_eq!(pixels.len(), 128 + 8 * 32 * 32 * 3);
    for number in 0..8 {
        let picture = image::open(project.path().join(format!("onnx/test/{number}.png"))).expect("it was written");
        assert_eq!(picture.width().min(picture.height()), 60);
    }
    let refused = project.call(&["export", "shapes", "no", "--raw", "--node", "small"]);
    assert_eq!((refused.code, refused.stderr.contains("`--raw` is for `--format onnx`")), (Some(2), true));
}

#[test]
fn onnx_runtime_computes_the_embeddings_of_the_run() {
    let Some(python) = python("numpy, onnxruntime") else { return };
    let project = shapes();
    for node in ["small", "plain", "resnet18"] {
        project.run(&["export", "shapes", node, "--format", "onnx", "--node", node]);
        check(&project, &python, node);
    }
    project.run(&["export", "shapes", "raw", "--format", "onnx", "--node", "small", "--raw"]);
    check(&project, &python, "raw");
}

#[test]
fn pytorch_computes_the_embeddings_of_the_run() {
    let Some(python) = python("numpy, PIL, safetensors, torch") else { return };
    let project = shapes();
    for node in ["small", "plain"] {
        project.run(&["export", "shapes", node, "--node", node]);
        check(&project, &python, node);
    }
}

#[test]
fn embeddings_are_exported_as_arrays_of_numpy() {
    let project = shapes();
    let told = project.run(&["export", "shapes", "arrays", "--format", "npy"]).stderr;
    assert!(told.contains("Wrote 25 embeddings of `evaluate` in `shapes/1` to `arrays`: 8 dimensions"), "{told}");
    let bytes = |name: &str| fs::read(project.path().join("arrays").join(name)).expect("it was written");
    assert_eq!(bytes("embeddings.npy").len(), 128 + 25 * 8 * 4);
    for name in ["labels.npy", "ids.npy"] {
        assert!(
            String::from_utf8_lossy(&bytes(name)).contains("'descr': '<i8', 'fortran_order': False, 'shape': (25,)")
        );
    }
    let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&bytes(name)).expect("it is JSON");
    assert_eq!(json("classes.json").as_object().map(serde_json::Map::len), Some(5));
    assert_eq!(json("rows.json")["split"][24], "test");
    let unknown = project.call(&["export", "shapes", "arrays", "--format", "npy", "--node", "evaluat"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("did you mean `evaluate`?"), "{}", unknown.stderr);
}

#[test]
fn embedding_atlas_gets_the_columns_that_it_reads() {
    let project = shapes();
    project.run(&["export", "shapes", "atlas", "--format", "atlas"]);
    let file = File::open(project.path().join("atlas/embeddings.parquet")).expect("it was written");
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    let batch = reader.as_mut().expect("it is Parquet").next().expect("it has rows").expect("it can be read");
    assert_eq!(batch.num_rows(), 25);
    for name in ["image_id", "class", "split", "nearest_is_right", "x", "y", "vector"] {
        assert!(batch.column_by_name(name).is_some_and(|column| column.null_count() == 0), "{name}");
    }
    let part =
        |name: &str, part: &str| batch.column_by_name(name).unwrap().as_struct().column_by_name(part).unwrap().clone();
    let rows = part("neighbors", "ids");
    let first = rows.as_list::<i32>().value(0);
    let first = first.as_primitive::<arrow::array::types::Int64Type>().values();
    assert!(first.len() == 10 && !first.contains(&0) && first.iter().all(|row| (0..25).contains(row)), "{first:?}");
    let distances = part("neighbors", "distances").as_list::<i32>().value(0);
    assert!(distances.as_primitive::<arrow::array::types::Float32Type>().values().is_sorted());
    let jpeg = part("image", "bytes");
    assert!(image::load_from_memory(jpeg.as_binary::<i32>().value(3)).is_ok());
    assert!(part("image", "path").as_string::<i32>().value(0).ends_with(".png"));
    assert!(
        project.read("atlas/README.md").contains("--x x --y y --vector vector --neighbors neighbors --image image")
    );
}

#[test]
fn tensorboard_gets_scalars_curves_and_the_projector() {
    let project = shapes();
    let told = project.run(&["export", "shapes", "logs", "--format", "tensorboard"]).stderr;
    assert!(told.contains("Wrote 25 embeddings of `evaluate`"), "{told}");
    assert_eq!(project.read("logs/vectors.tsv").lines().count(), 25);
    let metadata = project.read("logs/metadata.tsv");
    assert_eq!((metadata.lines().count(), metadata.lines().next()), (26, Some("class\tsplit\tid\tsource")));
    let sprite = image::open(project.path().join("logs/sprite.png")).expect("it was written");
    assert_eq!((sprite.width(), sprite.height()), (5 * 96, 5 * 96));
    let Some(python) = python("tensorboard, google.protobuf") else { return };
    let script = r#"
import glob
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray
[path] = glob.glob("logs/events.out.tfevents.*")
events = EventAccumulator(path)
events.Reload()
[recall] = events.Scalars("evaluate/test/recall@1")
curve = make_ndarray(events.Tensors("pairs/test")[0].tensor_proto)
[point] = text_format.Parse(open("logs/projector_config.pbtxt").read(), ProjectorConfig()).embeddings
print(recall.step, 0 <= recall.value <= 1, curve.shape, curve[5][0], list(point.sprite.single_image_dim), point.tensor_path)
"#;
    let output = Command::new(&python).args(["-c", script]).current_dir(project.path()).output();
    let output = output.expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "0 True (6, 201) 1.0 [96, 96] vectors.tsv", "{}", String::from_utf8_lossy(&output.stderr));
}
