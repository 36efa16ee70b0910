//! A folder of pictures that changes, and what is seen of it.

use std::fs;

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
