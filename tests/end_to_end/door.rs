//! The way in: `init` writes manifests that run, `doctor` says what is missing, `weights` finds and downloads files, and `--json`
//! prints nothing but JSON.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::project::Project;

/// A picture whose colour is that of its class, with a pattern of its own.
fn picture(class: u8, number: u8) -> Vec<u8> {
    let image = image::RgbImage::from_fn(40, 36, |x, y| {
        let pattern = (x as u8 ^ y as u8).wrapping_mul(number + 1) % 64;
        image::Rgb([37, 91, 151].map(|factor: u8| factor.wrapping_mul(class + 1).saturating_add(pattern)))
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("memory can be written to");
    bytes.into_inner()
}

/// A project whose environment holds no weights of this machine.
fn call(project: &Project, arguments: &[&str]) -> crate::project::Called {
    let mut command = project.command(arguments);
    for name in ["TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "DNC_WEIGHTS"] {
        command.env_remove(name);
    }
    command.env("HOME", project.path().join("home"));
    crate::project::Called::of(command.output().expect("the binary was built for this test"))
}

/// Writes a manifest with `init`, and runs it for one epoch.
fn init_and_run(project: &Project, arguments: &[&str]) -> String {
    let called = call(project, &[&["init", "--yes"], arguments].concat());
    assert_eq!(called.code, Some(0), "init {arguments:?}:\n{}", called.stderr);
    let manifest = called.stdout.trim().to_owned();
    let text = project.read(&manifest);
    assert!(text.starts_with("#:schema ./manifest.schema.json\n"), "{text}");
    let run = call(project, &[&manifest, "--set", "stage.train.epochs=1", "--set", "stage.augment.views=2"]);
    assert_eq!(run.code, Some(0), "{text}\n{}", run.stderr);
    assert!(run.stdout.contains("evaluate"), "{}", run.stdout);
    called.stderr
}

#[test]
fn init_writes_manifests_that_run() {
    let project = Project::new();
    let mut list = String::from("path,label\n");
    for class in 0..6 {
        for number in 0..5 {
            let bytes = picture(class, number);
            project.write(&format!("photos/class-{class}/{number}.png"), &bytes);
            list += &format!("class-{class}/{number}.png,{class}\n");
            let split = if class < 3 { "train" } else { ["query", "gallery"][usize::from(number % 2)] };
            project.write(&format!("by-split/{split}/{class}/{number}.png"), &bytes);
        }
    }
    project.write("photos/class-0/copy.png", picture(1, 0));
    project.write("photos/class-0/damaged.png", "no image");
    project.write("photos/list.csv", list);

    // The list lies beside the folders; it has columns of other names.
    let told = init_and_run(&project, &["photos/list.csv"]);
    assert!(told.contains("list: 30 images of 6 classes") && told.contains("Images per class: 5 to 5"), "{told}");
    assert!(
        project
            .read("list.toml")
            .contains(r#"dataset = { kind = "list", class = "label", file = "list.csv", image = "path" }"#)
    );
    fs::remove_file(project.path().join("photos/list.csv")).expect("it was written above");

    let told = init_and_run(&project, &["photos"]);
    assert!(told.contains("folder: 32 images of 6 classes"), "{told}");
    assert!(
        told.contains("cannot be decoded") && told.contains("Duplicates in different classes: 1, such as"),
        "{told}"
    );
    assert!(project.read("photos.toml").contains("on_error = \"skip\""));
    let again = call(&project, &["init", "photos", "--yes"]);
    assert_eq!(again.code, Some(2), "nothing is overwritten");
    assert!(again.stderr.contains("`photos.toml` exists and is not overwritten"), "{}", again.stderr);

    init_and_run(&project, &["photos", "--template", "few-shot", "--output", "few.toml"]);
    assert!(
        project.read("few.toml").contains("few_shot = { ways = 3, shots = [1], queries = 4 }"),
        "{}",
        project.read("few.toml")
    );
    init_and_run(&project, &["photos", "--template", "sop", "--output", "sop.toml"]);
    let sop = project.read("sop.toml");
    assert!(
        sop.contains("per_class = 2") && !sop.contains("[rounds]"),
        "three training classes are not divided: {sop}"
    );
    // Episodes of queries are drawn from the gallery, in which a class has fewer images.
    init_and_run(&project, &["by-split", "--template", "few-shot", "--output", "queries.toml"]);
    assert!(project.read("queries.toml").contains("few_shot = { ways = 3, shots = [1], queries = 1 }"));
    init_and_run(&project, &["by-split"]);
    assert!(!project.read("by-split.toml").contains("split = {"));

    let parquet = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/data/open-emoji-mini.parquet");
    let called = call(&project, &["init", parquet, "--yes", "--template", "sop", "--output", "emoji.toml"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let emoji = project.read("emoji.toml");
    assert!(emoji.contains("dataset = \"parquet\"") && emoji.contains("learners = [1, 2, 4]"), "{emoji}");
    assert_eq!(call(&project, &["plan", "emoji.toml"]).code, Some(0));

    project.write("few/one/1.png", picture(0, 0));
    let refused = call(&project, &["init", "few", "--yes", "--output", "x.toml"]);
    assert_eq!((refused.code, project.path().join("x.toml").exists()), (Some(2), false));
    assert!(refused.stderr.contains("at least four are needed"), "{}", refused.stderr);
}

/// Folders as torchvision's `ImageFolder` has them, a list that a spreadsheet wrote, and images that cannot be read.
#[test]
fn init_takes_what_people_have() {
    let project = Project::new();
    let mut list = String::from("Image;Class\r\nabsent.png;\r\n");
    for class in 0..4 {
        for number in 0..4 {
            let split = if number < 2 { "train" } else { "val" };
            let path = format!("splits/{split}/{class}/{number}.png");
            project.write(&path, picture(class, number));
            list += &format!("{path};{class}\r\n");
        }
    }
    project.write("splits/annotations/all.json", "{}");
    project.write("splits/train/0/5.heic", "a photo");
    project.write("list.csv", list);

    let told = init_and_run(&project, &["splits"]);
    assert!(told.contains("Split validation: 8 images of 4 classes"), "{told}");
    assert!(told.contains("`train/0/5.heic` is an image of a form that is not read; convert it"), "{told}");
    let text = project.read("splits.toml");
    assert!(text.contains(r#"dataset = { kind = "folder", by_split = true }"#), "{text}");
    assert!(text.contains("per_class = 2"), "a class has two images for training: {text}");

    let told = init_and_run(&project, &["list.csv"]);
    assert!(told.contains("note: 1 image cannot be read and will be skipped: `absent.png` has no class"), "{told}");
    assert!(project.read("list.toml").contains("on_error = \"skip\""));

    // In the folder of the images itself, what the program writes is no data.
    let inside = Project::new();
    for class in 0..4 {
        for number in 0..2 {
            inside.write(&format!("{class}/{number}.png"), picture(class, number));
        }
    }
    init_and_run(&inside, &["--output", "m.toml"]);
    let again = call(&inside, &["m.toml", "--until", "decode"]);
    assert!(!again.stderr.contains("passed over"), "{}", again.stderr);

    let refused = |data: &str, expected: &str| {
        let called = call(&project, &["init", "--yes", data]);
        assert_eq!(called.code, Some(2), "{data}");
        assert!(called.stderr.contains(expected), "{data}: {}", called.stderr);
    };
    let first = call(&Project::new(), &[]);
    assert!(first.code == Some(2) && first.stderr.contains("`dnc-run init` writes"), "{}", first.stderr);
    project.write("phone/cat/1.heic", "a photo");
    refused("phone", "`cat/1.heic` is an image of a form that is not read; convert it to JPEG or PNG");
    project.write("outside/all.csv", "image,class\n../splits/train/0/0.png,0\n");
    refused("outside", "None of the 1 images in `outside` could be read; `../splits/train/0/0.png` is outside");
    // A manifest of this name would be read as the settings of the project.
    project.write("dnc/cat/1.png", picture(0, 0));
    refused("dnc", "`dnc.toml` is for the settings of a project; name another file with `--output`");
}

#[test]
fn the_quickstart_comes_from_the_program() {
    let project = Project::new();
    let called = call(&project, &["init", "--quickstart", "first"]);
    assert_eq!((called.code, called.stdout.trim()), (Some(0), "first/quickstart.toml"), "{}", called.stderr);
    for name in ["quickstart.toml", "manifest.schema.json", "data/open-emoji-mini.parquet", "data/README.md"] {
        let bytes = |path: std::path::PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let original = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
        assert!(bytes(project.path().join("first").join(name)) == bytes(original), "{name}");
    }
    let run = call(&project, &["first/quickstart.toml", "--until", "pixels"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    let again = call(&project, &["init", "--quickstart", "first"]);
    assert_eq!(again.code, Some(0), "what is the same may be there: {}", again.stderr);
    project.write("quickstart.toml", "name = \"mine\"\n");
    let refused = call(&project, &["init", "--quickstart"]);
    assert_eq!(refused.code, Some(2), "nothing is overwritten");
    assert!(refused.stderr.contains("`./quickstart.toml` exists, is not that of the quickstart"), "{}", refused.stderr);
    assert!(!project.path().join("data").exists(), "all or nothing");
}

#[test]
fn doctor_names_what_is_missing_and_its_command() {
    let project = Project::new();
    let stages = "[stage.decode]\ndataset = \"sop\"\nroot = \"data\"\n\n[stage.init]\nbackbone = \"resnet50\"\ndimension = 8\nweights = \"imagenet\"\n";
    project.write("m.toml", format!("name = \"m\"\n{stages}"));
    let all = call(&project, &["doctor", "--json"]);
    let json: Value = serde_json::from_str(&all.stdout).unwrap_or_else(|error| panic!("{error}: {}", all.stdout));
    let findings = json["findings"].as_array().expect("there are findings");
    for topic in ["processor", "disk", "gpu", "store", "inputs"] {
        assert!(findings.iter().any(|finding| finding["topic"] == topic), "{topic}");
    }
    assert!(findings.iter().all(|finding| finding["topic"] != "inputs" || finding["status"] == "note"));

    let named = call(&project, &["doctor", "m.toml"]);
    assert_eq!(named.code, Some(1), "{}", named.stdout);
    assert!(named.stdout.contains("Stanford Online Products is distributed at https://"), "{}", named.stdout);
    assert!(named.stdout.contains("`dnc-run weights fetch ResNet50_Weights.IMAGENET1K_V1`"), "{}", named.stdout);
    let plan = call(&project, &["plan", "m.toml"]);
    assert_eq!(plan.code, Some(2));
    assert!(plan.stderr.contains("weights fetch ResNet50_Weights.IMAGENET1K_V1"), "{}", plan.stderr);
    project.assert_no_files_in(".dnc/store");
}

/// `curl` is replaced by a script: nothing is downloaded in a test.
#[test]
fn weights_are_fetched_checked_and_found() {
    let project = Project::new();
    let script = "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ \"$1\" = --output ] && out=$2; shift; done\n\
                  echo \"$1\" >> calls\nprintf more >> \"$out\"\n";
    let curl = project.write("bin/curl", script);
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    let fetch = |name: &str| {
        let mut command = project.command(&["weights", "fetch", name]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", project.path().join("bin").display()));
        command
            .env("HOME", project.path())
            .env("DNC_WEIGHTS", "w")
            .env_remove("TORCH_HOME")
            .env_remove("XDG_CACHE_HOME");
        crate::project::Called::of(command.output().expect("the binary was built for this test"))
    };
    project.write("w/dinov2_vits14_pretrain.pth.part", "some and ");
    let fetched = fetch("dinov2");
    assert_eq!(
        (fetched.code, fetched.stdout.as_str()),
        (Some(0), "w/dinov2_vits14_pretrain.pth\n"),
        "{}",
        fetched.stderr
    );
    assert_eq!(project.read("w/dinov2_vits14_pretrain.pth"), "some and more", "the download was continued");
    assert!(fetched.stderr.contains("Apache-2.0") && fetched.stderr.contains("its publisher states none"));
    assert!(fetch("dinov2").stderr.contains("already on this machine"));
    assert_eq!(project.read("calls").lines().count(), 1);

    let wrong = fetch("resnet18");
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("begins with f37072fd; it was removed"), "{}", wrong.stderr);
    assert_eq!(project.files_in("w").len(), 1, "neither the file nor a part of it is left");
}

#[test]
fn json_is_all_that_json_prints() {
    let project = Project::new();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.toml");
    let small = ["stage.decode.per_class=2", "stage.augment.views=1"];
    let sets: Vec<&str> = small.iter().flat_map(|set| ["--set", *set]).collect();
    project.run(&[&[manifest, "--until", "augment", "--store", ".dnc/store", "--runs", "runs"], &sets[..]].concat());
    let pages = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/reference/json.md"));
    let pages = pages.expect("the page is in the repository");
    let calls: [(&[&str], bool); 11] = [
        (&["plan", manifest], true),
        (&["explain", manifest, "decode"], true),
        (&["graph", manifest], false),
        (&["show", manifest, "decode", "--output", "x.png"], true),
        (&["runs"], false),
        (&["cache", "ls"], false),
        (&["cache", "verify"], false),
        (&["cache", "gc", "--dry-run"], false),
        (&["stages"], false),
        (&["weights", "ls"], false),
        (&["doctor"], false),
    ];
    for (call, takes_sets) in calls {
        let sets = if takes_sets { &sets[..] } else { &[] };
        let folders = ["--store", ".dnc/store", "--runs", "runs", "--json"];
        let folders = if call[0] == "weights" { &folders[4..] } else { &folders[..] };
        let called = project.call(&[call, sets, folders].concat());
        let json: Value = serde_json::from_str(&called.stdout)
            .unwrap_or_else(|error| panic!("{call:?}: {error}\n{}{}", called.stdout, called.stderr));
        let object = json.as_object().unwrap_or_else(|| panic!("{call:?} prints an object"));
        for key in object.keys().cloned().chain(first_item_keys(&json)) {
            assert!(pages.contains(&format!("`{key}`")), "reference/json.md lacks `{key}` of {call:?}");
        }
    }
}

/// The keys of the first item of each list in an object.
fn first_item_keys(json: &Value) -> Vec<String> {
    let lists = json.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_array()?.first());
    lists.filter_map(Value::as_object).flat_map(|item| item.keys().cloned()).collect()
}
