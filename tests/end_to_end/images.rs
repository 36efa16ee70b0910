//! A folder of pictures that changes, and what is seen of it.

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
    fs::create_dir_all(path.parent().expect("it has a class")).expect("the folder can be made");
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
fn only_what_is_new_is_decoded() {
    let project = pictures();
    picture(&project, "bird/9.png", 9);
    project.run(&["pictures.toml"]);
    let log = project.read("runs/pictures/2/logs/decode.log");
    assert!(log.contains("6 images were known, 1 decoded"), "{log}");
    let incremental = project.digests("pictures");
    // The same bytes as from scratch.
    project.run(&["pictures.toml", "--store", "other"]);
    assert_eq!(project.digests("pictures"), incremental);
    assert!(!project.read("runs/pictures/3/logs/decode.log").contains("known"));
}

#[test]
fn parts_that_stay_are_kept() {
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
    assert!(log.contains("206 images were known, 1 decoded") && !log.contains("; 0 parts"), "{log}");
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
    // 32 pixels grow to 96 of the 120 of a cell, in its middle; all of a picture has one shade.
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
fn sheets_show_images_and_their_views() {
    let project = pictures();
    let sheet = |arguments: &[&str]| {
        let called = project.run(arguments);
        let path = project.path().join(called.stdout.trim());
        image::open(path).expect("the sheet is a picture").into_rgb8()
    };
    // Six cells of 120 pixels in one row; then three rows of an image with three views.
    assert_eq!(sheet(&["show", "pictures.toml", "decode"]).dimensions(), (8 + 6 * 128, 8 + 150));
    let views = sheet(&["show", "pictures.toml", "augment", "--count", "6", "-o", "views.png"]);
    assert_eq!(views.dimensions(), (8 + 4 * 128, 8 + 3 * 161));
    // The second image in the middle of its cell, and a view of it that fills its own.
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
fn a_renamed_class_is_not_embedded_again() {
    let project = pictures();
    project.write("pictures.toml", [MANIFEST, EMBED].concat());
    project.run(&["pictures.toml"]);
    fs::rename(project.path().join("images/cat"), project.path().join("images/cheetah")).expect("the class is there");
    project.run(&["pictures.toml"]);
    assert_eq!(project.nodes("pictures", "ran"), ["decode"]);
}

/// The images of another program, first as `decode` writes them, then with a column more.
#[test]
fn a_column_more_is_not_embedded_again() {
    let project = pictures();
    let run = project.last_run("pictures");
    let key = run["nodes"][0]["key"].as_str().expect("decode has a key").parse().expect("it is one");
    let store = Store::open(project.path().join(".dnc/store")).expect("it is there");
    let outputs = store.outputs(&key).expect("it can be read").expect("decode has a record");
    store.materialise(&outputs["images"], &project.path().join("given")).expect("its files are there");

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
    let table = File::open(&path).map(|file| FileReader::try_new(file, None).expect("it is Arrow"));
    let rows = table.expect("it is there").next().expect("it has rows").expect("they can be read");
    let field = Arc::new(Field::new("mood", DataType::Utf8, false));
    let mood: ArrayRef = Arc::new(StringArray::from(vec!["calm"; rows.num_rows()]));
    let schema = Schema::new(rows.schema().fields().iter().cloned().chain([field]).collect::<Vec<_>>());
    let columns = rows.columns().iter().cloned().chain(iter::once(mood)).collect();
    fs::remove_file(&path).expect("it is read-only, but ours");
    let mut writer = FileWriter::try_new(File::create(&path).expect("it is gone"), &schema).expect("it is a schema");
    writer.write(&RecordBatch::try_new(Arc::new(schema), columns).expect("as many rows")).expect("there is room");
    writer.finish().expect("there is room");
    project.run(&["given.toml"]);
    assert_eq!(project.nodes("given", "ran"), ["decode"]);
}
