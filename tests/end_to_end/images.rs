//! A folder of images that changes: incremental decoding, contact sheets, and which nodes rerun.

use std::fs::{self, File};
use std::iter;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use dnc_cache::Store;
use image::{Rgb, RgbImage};

use crate::project::Project;

const MANIFEST: &str = r#"
name = "pictures"

[stage.decode]
dataset = "folder"
root = "images"
split = { train = 0.5 }

[stage.augment]
in = { images = "decode" }
views = 3
"#;

fn picture(project: &Project, name: &str, shade: u8) {
    let path = project.path().join("images").join(name);
    fs::create_dir_all(path.parent().expect("the path has a class folder")).expect("the folder can be created");
    RgbImage::from_pixel(20, 16, Rgb([shade; 3])).save(path).expect("the picture can be written");
}

fn pictures() -> Project {
    let project = Project::new();
    project.write("pictures.toml", MANIFEST);
    for shade in 0..6 {
        picture(&project, &format!("{}/{shade}.png", ["cat", "dog"][usize::from(shade % 2)]), shade);
    }
    project.run(&["pictures.toml"]);
    project
}

#[test]
fn only_new_images_are_decoded() {
    let project = pictures();
    picture(&project, "bird/9.png", 9);
    project.run(&["pictures.toml"]);
    let log = project.read("runs/pictures/2/logs/decode.log");
    assert!(log.contains("6 images reused from an earlier run, 1 decoded"), "{log}");
    let incremental = project.digests("pictures");
    // The bytes are the same as when decoding everything.
    project.run(&["pictures.toml", "--store", "other"]);
    assert_eq!(project.digests("pictures"), incremental);
    assert!(!project.read("runs/pictures/3/logs/decode.log").contains("reused"));
}

#[test]
fn unchanged_parts_are_kept() {
    let project = pictures();
    for number in 0..200 {
        picture(&project, &format!("many/{number:03}.png"), number);
    }
    let large = |store: &str| {
        project.run(&["pictures.toml", "--set", "stage.decode.resize={ exact = [300, 300] }", "--store", store]);
        project.digests("pictures")
    };
    large("one");
    picture(&project, "many/100a.png", 250);
    let incremental = large("one");
    let log = project.read("runs/pictures/3/logs/decode.log");
    assert!(log.contains("206 images reused from an earlier run, 1 decoded") && !log.contains("; 0 parts"), "{log}");
    assert_eq!(large("two"), incremental);
}

#[test]
fn materialised_views_are_shown() {
    let project = pictures();
    let manifest = MANIFEST.replace(r#"in = { images = "decode" }"#, r#"in = { images = "decode", model = "init" }"#);
    let init = "materialise = true\n\n[stage.init]\nbackbone = \"small\"\ndimension = 4\ncrop = 32\nresize = 32\n";
    project.write("made.toml", format!("{manifest}{init}"));
    project.run(&["made.toml"]);
    let called = project.run(&["show", "made.toml", "augment", "-o", "made.png"]);
    let sheet = image::open(project.path().join(called.stdout.trim())).unwrap().into_rgb8();
    // 32 pixels are scaled to 96 and centred in a cell of 120. Each picture has a single shade.
    assert_eq!((sheet.get_pixel(136 + 60, 8 + 60).0, sheet.get_pixel(136 + 60, 169 + 60).0), ([0; 3], [2; 3]));
}

#[test]
fn a_moved_folder_is_a_hit() {
    let project = pictures();
    fs::rename(project.path().join("images"), project.path().join("elsewhere")).expect("the folder can be moved");
    project.run(&["pictures.toml", "--set", "stage.decode.root=elsewhere"]);
    assert_eq!(project.nodes("pictures", "ran"), [""; 0]);
}

#[test]
fn contact_sheets_show_images_and_their_views() {
    let project = pictures();
    let sheet = |arguments: &[&str]| {
        let called = project.run(arguments);
        let path = project.path().join(called.stdout.trim());
        image::open(path).expect("the sheet is an image").into_rgb8()
    };
    // Six cells of 120 pixels in one row; then three rows, each an image with three views.
    assert_eq!(sheet(&["show", "pictures.toml", "decode"]).dimensions(), (8 + 6 * 128, 8 + 150));
    let views = sheet(&["show", "pictures.toml", "augment", "--count", "6", "-o", "views.png"]);
    assert_eq!(views.dimensions(), (8 + 4 * 128, 8 + 3 * 161));
    // The second image is centred in its cell, and a view of it fills the next cell.
    assert_eq!((views.get_pixel(8 + 60, 169 + 60).0, views.get_pixel(136 + 60, 169 + 1).0), ([4; 3], [4; 3]));

    let refused = project.call(&["show", "pictures.toml", "decode", "--set", "stage.decode.resize.shorter=9"]);
    assert_eq!(refused.code, Some(2));
    insta::assert_snapshot!(refused.stderr, @"error: `decode` is not up to date; run the manifest first");
}

const EMBED: &str = r#"
[stage.init]
backbone = "small"
dimension = 4
crop = 32
resize = 32

[stage.embed]
in = { images = "decode", model = "init" }
"#;

#[test]
fn a_renamed_class_does_not_rerun_embed() {
    let project = pictures();
    project.write("pictures.toml", [MANIFEST, EMBED].concat());
    project.run(&["pictures.toml"]);
    fs::rename(project.path().join("images/cat"), project.path().join("images/cheetah")).expect("the class exists");
    project.run(&["pictures.toml"]);
    assert_eq!(project.nodes("pictures", "ran"), ["decode"]);
}

/// Images written by another program, first with the columns of `decode`, then with an additional one.
#[test]
fn an_additional_column_does_not_rerun_embed() {
    let project = pictures();
    let run = project.last_run("pictures");
    let key = run["nodes"][0]["key"].as_str().expect("decode has a key").parse().expect("it is a key");
    let store = Store::open(project.path().join(".dnc/store")).expect("the run made a store");
    let outputs = store.outputs(&key).expect("the store can be read").expect("decode has a record");
    store.materialise(&outputs["images"], &project.path().join("given")).expect("its files are in the store");

    let given = r#"
name = "given"

[stage.decode]
kind = "command"
files = ["given/images.arrow", "given/pixels-00000.arrow"]
run = "cp {file.0} {out.images}/images.arrow; cp {file.1} {out.images}/pixels-00000.arrow"
outputs = { images = "images" }
"#;
    project.write("given.toml", [given, EMBED].concat());
    project.run(&["given.toml"]);
    assert_eq!(project.nodes("given", "ran"), ["decode", "init", "embed"]);

    let path = project.path().join("given/images.arrow");
    let table = File::open(&path).map(|file| FileReader::try_new(file, None).expect("the table is Arrow"));
    let rows = table.expect("the table exists").next().expect("the table has rows").expect("the rows can be read");
    let field = Arc::new(Field::new("mood", DataType::Utf8, false));
    let mood: ArrayRef = Arc::new(StringArray::from(vec!["calm"; rows.num_rows()]));
    let schema = Schema::new(rows.schema().fields().iter().cloned().chain([field]).collect::<Vec<_>>());
    let columns = rows.columns().iter().cloned().chain(iter::once(mood)).collect();
    fs::remove_file(&path).expect("the folder is writable");
    let mut writer = FileWriter::try_new(File::create(&path).expect("the folder is writable"), &schema)
        .expect("the schema is valid");
    writer
        .write(&RecordBatch::try_new(Arc::new(schema), columns).expect("the columns have the same length"))
        .expect("the file can be written");
    writer.finish().expect("the file can be written");
    project.run(&["given.toml"]);
    assert_eq!(project.nodes("given", "ran"), ["decode"]);
}

/// The manifest lies beside the classes, and so do the store, the runs and a log: none of them is data.
#[test]
fn data_store_and_runs_may_share_a_folder() {
    let project = Project::new();
    let manifest = MANIFEST.replace(r#"root = "images""#, r#"root = ".""#);
    project.write("pictures.toml", &manifest);
    for shade in 0..6 {
        let class = project.path().join(["cat", "dog"][usize::from(shade % 2)]);
        fs::create_dir_all(&class).expect("the folder can be created");
        let picture = RgbImage::from_pixel(20, 16, Rgb([shade; 3]));
        picture.save(class.join(format!("{shade}.png"))).expect("the picture can be written");
    }
    project.write("output.log", "");
    let called = project.run(&["pictures.toml"]);
    assert!(
        called.stderr.contains("warning: decode: 1 file or folder was passed over: `output.log`"),
        "{}",
        called.stderr
    );
    let first = project.digests("pictures");
    project.write("output.log", &called.stderr);
    project.write("pictures.toml", format!("# a remark\n{manifest}"));
    project.run(&["pictures.toml"]);
    assert_eq!(project.nodes("pictures", "ran"), [""; 0]);
    assert_eq!(project.digests("pictures"), first);
    // Other places for what the program writes, below the data as well.
    for _ in 0..2 {
        project.run(&["pictures.toml", "--store", "cat/store", "--runs", "cat/runs"]);
    }
    let runs: serde_json::Value = serde_json::from_str(&project.read("cat/runs/pictures/2/run.json")).unwrap();
    assert!(runs["nodes"].as_array().unwrap().iter().all(|node| node["outcome"] == "hit"), "{runs}");
    // From a folder below the data.
    project.write("cat/manifests/pictures.toml", manifest.replace(r#"root = ".""#, r#"root = "../..""#));
    project.run(&["cat/manifests/pictures.toml"]);
    project.run(&["cat/manifests/pictures.toml"]);
    assert_eq!(project.nodes("pictures", "ran"), [""; 0]);
}

/// `dnc-run … > output.log` beside the images of a list, all of whose folder counts.
#[test]
fn the_output_of_the_run_is_no_data() {
    let project = pictures();
    let rows: String = (0..6_usize).map(|n| format!("images/{0}/{n}.png,{0}\n", ["cat", "dog"][n % 2])).collect();
    project.write("images.csv", format!("image,class\n{rows}"));
    let set =
        ["--set", r#"stage.decode.dataset={ kind = "list", file = "images.csv" }"#, "--set", "stage.decode.root=."];
    for outcome in ["ran", "hit"] {
        let log = File::options().create(true).append(true).open(project.path().join("output.log")).unwrap();
        let mut command = project.command(&[&["pictures.toml", "--progress", "plain"], &set[..]].concat());
        let status = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        assert!(status.success(), "{}", project.read("output.log"));
        assert!(project.nodes("pictures", outcome).contains(&"decode".to_owned()), "{}", project.read("output.log"));
    }
}

/// What is suspicious is shown by the run that finds it and by every later one, and is kept with the run.
#[test]
fn warnings_about_the_data_are_shown_by_hits_too() {
    let project = pictures();
    fs::copy(project.path().join("images/cat/0.png"), project.path().join("images/dog/again.png")).unwrap();
    fs::write(project.path().join("images/dog/broken.png"), "text").unwrap();
    let set = ["--set", "stage.decode.on_error=skip"];
    let called = project.call(&["pictures.toml"]);
    assert!(called.code == Some(1) && called.stderr.contains("`on_error = \"skip\"`"), "{}", called.stderr);
    let expected = [
        "warning: decode: 1 of 8 images were skipped; the first is `dog/broken.png`, which is not a JPEG",
        "warning: decode: 1 picture is in training and in evaluation alike, as `cat/0.png`",
        "warning: decode: 1 picture is in several classes, as `cat/0.png`",
    ];
    for options in [&[][..], &[], &["--quiet"], &["--executor", "process", "--from", "decode"]] {
        let called = project.run(&[&["pictures.toml"], &set[..], options].concat());
        for message in expected {
            assert_eq!(called.stderr.matches(message).count(), 1, "{message}:\n{}", called.stderr);
        }
    }
    let run = project.last_run("pictures");
    assert_eq!(run["nodes"][0]["warnings"].as_array().map(Vec::len), Some(4), "{run}");
    assert!(project.path().join("runs/pictures/3/summary.parquet").exists());
    let runs = project.run(&["runs"]).stdout;
    let last = runs.lines().last().expect("there are runs").split_whitespace().collect::<Vec<_>>();
    assert_eq!(last[..5], ["pictures/6", "done", "0", "2", "4"], "{runs}");
}
