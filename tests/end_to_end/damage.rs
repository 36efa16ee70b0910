//! Damaged inputs, wrong programs and stores that cannot be used: each is told in words that say what to do about it, none
//! panics, and none leaves anything in the store. (Wrong manifests have their own tables in `src/manifest/tests`.)

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::project::{Called, Project, overwrite};

/// A manifest of one stage.
fn one(stage: &str) -> String {
    format!("name = \"damaged\"\n[stage.it]\n{stage}\n")
}

/// What a project says that `prepare` damaged: the message of the failed node, or of the whole call.
fn told(prepare: impl FnOnce(&Project) -> String) -> String {
    let project = Project::new();
    project.write("it.toml", prepare(&project));
    let called = project.call(&["it.toml", "--quiet"]);
    let message = message(&project, &called);
    project.assert_no_files_in(".dnc/store/records");
    if project.path().join(".dnc/store").exists() {
        assert_clean(&project);
    }
    message
}

fn assert_clean(project: &Project) {
    let verified = project.call(&["cache", "verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    project.assert_no_files_in(".dnc/store/tmp");
}

/// What a call that failed said, without what differs from machine to machine.
fn message(project: &Project, called: &Called) -> String {
    assert!(matches!(called.code, Some(1 | 2)), "{:?}: {}{}", called.code, called.stdout, called.stderr);
    assert!(!called.stderr.contains("panicked"), "{}", called.stderr);
    let here = project.path().to_str().expect("temp folders have plain names");
    let told =
        |line| ["it failed: ", "below failed: ", "error: "].iter().find_map(|start| str::strip_prefix(line, start));
    let told = called.stderr.lines().filter_map(told).collect::<Vec<_>>().join(" | ");
    assert!(!told.is_empty(), "{}", called.stderr);
    // The folder of a task has a name that no other has.
    let told = told.replace(here, "HERE");
    let mut parts = told.split("/tmp/");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told += "/tmp/TASK";
        told += &part[part.find(['/', '`']).unwrap_or(part.len())..];
    }
    format!("{} {told}", called.code.unwrap_or_default())
}

/// A line for each case: its name, the exit code and what was said.
fn table(cases: &[(&str, &dyn Fn(&Project) -> String)]) -> String {
    cases.iter().map(|(name, prepare)| format!("{name}: {}\n", told(prepare))).collect()
}

/// A bitmap of one colour.
fn bitmap(width: u32, height: u32) -> Vec<u8> {
    let row = (width as usize * 3).next_multiple_of(4);
    let size = 54 + row * height as usize;
    let mut bytes = b"BM".to_vec();
    for word in [size as u32, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(size, 90);
    bytes
}

/// The stage that decodes the folder `pictures`, which has a folder for each split.
const DECODE: &str = "kind = \"decode\"\ndataset = { kind = \"folder\", by_split = true }\nroot = \"pictures\"";

/// A manifest that decodes the folder `pictures`, with one sound picture in it beside what `damage` puts there.
fn pictures(damage: impl Fn(&Project)) -> impl Fn(&Project) -> String {
    move |project| {
        project.write("pictures/test/a/1.bmp", bitmap(4, 4));
        damage(project);
        one(DECODE)
    }
}

#[test]
fn pictures_that_are_none() {
    let damaged = |bytes: Vec<u8>| pictures(move |project| drop(project.write("pictures/test/a/2.bmp", &bytes)));
    let table = table(&[
        ("truncated", &damaged(bitmap(8, 8)[..100].to_vec())),
        ("only a header", &damaged(bitmap(8, 8)[..20].to_vec())),
        ("empty", &damaged(Vec::new())),
        ("a text", &damaged(b"<html>404</html>".to_vec())),
        (
            "beyond the limits",
            &damaged(
                bitmap(1, 1)
                    .into_iter()
                    .enumerate()
                    .map(|(i, b)| if (18..26).contains(&i) { 127 } else { b })
                    .collect(),
            ),
        ),
        ("a truncated JPEG", &damaged(b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xdb".to_vec())),
        ("a truncated PNG", &damaged(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08".to_vec())),
        (
            "a link to nothing",
            &pictures(|project| symlink("nowhere", project.path().join("pictures/test/a/2.bmp")).expect("it is new")),
        ),
        (
            "a pipe",
            &pictures(|project| {
                drop(UnixListener::bind(project.path().join("pictures/test/a/2.bmp")).expect("it is new"))
            }),
        ),
        ("a pointer", &damaged(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n".to_vec())),
    ]);
    insta::assert_snapshot!(table, @r#"
    truncated: 1 The image `HERE/pictures/test/a/2.bmp` cannot be decoded as BMP: failed to fill whole buffer; `on_error = "skip"` leaves out such images and lists them
    only a header: 1 The image `HERE/pictures/test/a/2.bmp` cannot be decoded as BMP: failed to fill whole buffer; `on_error = "skip"` leaves out such images and lists them
    empty: 1 The image `HERE/pictures/test/a/2.bmp` is empty; `on_error = "skip"` leaves out such images and lists them
    a text: 1 The image `HERE/pictures/test/a/2.bmp` is not a JPEG, PNG, WebP, GIF, BMP or TIFF image; `on_error = "skip"` leaves out such images and lists them
    beyond the limits: 1 The image `HERE/pictures/test/a/2.bmp` cannot be decoded as BMP: Format error decoding Bmp: Image too large (one of (2139062143, 2139062143) > soft limit of 65535); `on_error = "skip"` leaves out such images and lists them
    a truncated JPEG: 1 The image `HERE/pictures/test/a/2.bmp` cannot be decoded as JPEG: I/O errors Not enough bytes, expected 2 but found 0; `on_error = "skip"` leaves out such images and lists them
    a truncated PNG: 1 The image `HERE/pictures/test/a/2.bmp` cannot be decoded as PNG: unexpected end of file; `on_error = "skip"` leaves out such images and lists them
    a link to nothing: 1 The image `HERE/pictures/test/a/2.bmp` is a link that leads nowhere; `on_error = "skip"` leaves out such images and lists them
    a pipe: 1 The image `HERE/pictures/test/a/2.bmp` is a pipe, socket or device; `on_error = "skip"` leaves out such images and lists them
    a pointer: 1 The image `HERE/pictures/test/a/2.bmp` is a pointer of Git LFS; `git lfs pull` fetches the image; `on_error = "skip"` leaves out such images and lists them
    "#);
}

/// What lies beside the pictures and is no picture does not stop them.
#[test]
fn strays_among_pictures() {
    let strays: [&dyn Fn(&Path); 3] = [
        &|class| symlink(".", class.join("up")).expect("it is new"),
        &|class| fs::create_dir(class.join("2.bmp")).expect("it is new"),
        &|class| symlink("nowhere", class.join("notes.txt")).expect("it is new"),
    ];
    for stray in strays {
        let project = Project::new();
        project.write("pictures/test/a/1.bmp", bitmap(4, 4));
        stray(&project.path().join("pictures/test/a"));
        project.write("it.toml", one(DECODE));
        let called = project.run(&["it.toml"]);
        assert!(called.stderr.contains("warning: it: 1 file or folder was passed over"), "{}", called.stderr);
    }
}

#[test]
fn folders_without_pictures() {
    let folder = |dataset: &'static str, prepare: &'static dyn Fn(&Project)| {
        move |project: &Project| {
            prepare(project);
            one(&format!("kind = \"decode\"\ndataset = {dataset}\nroot = \"pictures\""))
        }
    };
    let table = table(&[
        ("no folder", &folder("\"folder\"", &|_| ())),
        ("a file", &folder("\"folder\"", &|project| drop(project.write("pictures", "x")))),
        ("zero images", &folder("\"folder\"", &|project| drop(project.write("pictures/readme.txt", "x")))),
        ("an empty class", &folder("\"folder\"", &|project| drop(project.write("pictures/test/a/readme.txt", "x")))),
        (
            "no such split",
            &folder("{ kind = \"folder\", by_split = true }", &|project| {
                drop(project.write("pictures/elsewhere/a/1.bmp", bitmap(4, 4)))
            }),
        ),
    ]);
    insta::assert_snapshot!(table, @r"
    no folder: 2 `root` of `it` does not exist: `pictures`
    a file: 1 Cannot read the folder `HERE/pictures`: Not a directory (os error 20)
    zero images: 1 There are no images in `HERE/pictures`: 1 file or folder was passed over: `readme.txt` does not end like an image file; `dnc-run stages decode` describes the layout that each data set expects
    an empty class: 1 There are no images in `HERE/pictures`: 1 file or folder was passed over: `test/a/readme.txt` does not end like an image file; `dnc-run stages decode` describes the layout that each data set expects
    no such split: 1 The folder `HERE/pictures` cannot be read with `by_split = true`, which needs a folder for each split: Unknown split `elsewhere`; it must be `train`, `validation`, `test`, `query` or `gallery`
    ");
}

#[test]
fn arrays_that_do_not_fit() {
    /// Writes the four files, one of them as `damage` makes it.
    fn idx(name: &'static str, damage: impl Fn(Vec<u8>) -> Vec<u8>) -> impl Fn(&Project) -> String {
        move |project| {
            let images = |count: u8| {
                [&[0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2][..], &vec![7; usize::from(count) * 4]].concat()
            };
            let labels = |count: u8| [&[0, 0, 8, 1, 0, 0, 0, count][..], &vec![1; count.into()]].concat();
            for (file, bytes) in [
                ("train-images-idx3-ubyte", images(3)),
                ("train-labels-idx1-ubyte", labels(3)),
                ("t10k-images-idx3-ubyte", images(2)),
                ("t10k-labels-idx1-ubyte", labels(2)),
            ] {
                let bytes = if file == name { damage(bytes) } else { bytes };
                project.write(&format!("arrays/{file}"), bytes);
            }
            if name == "missing" {
                fs::remove_file(project.path().join("arrays/t10k-labels-idx1-ubyte")).expect("it was just written");
            }
            one("kind = \"decode\"\ndataset = \"idx\"\nroot = \"arrays\"")
        }
    }
    let table = table(&[
        ("a file is missing", &idx("missing", |bytes| bytes)),
        ("cut in its head", &idx("train-images-idx3-ubyte", |bytes| bytes[..9].to_vec())),
        ("fewer pixels than it claims", &idx("train-images-idx3-ubyte", |bytes| bytes[..20].to_vec())),
        ("more images than labels", &idx("train-labels-idx1-ubyte", |_| vec![0, 0, 8, 1, 0, 0, 0, 1, 0])),
        ("an array of another type", &idx("t10k-labels-idx1-ubyte", |_| vec![0, 0, 13, 1, 0, 0, 0, 1, 0])),
        (
            "test images of another size",
            &idx("t10k-images-idx3-ubyte", |_| vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 5]),
        ),
        ("an axis beyond any memory", &idx("t10k-images-idx3-ubyte", |_| [&[0, 0, 8, 3][..], &[255; 12]].concat())),
        ("gzip cut short", &idx("t10k-images-idx3-ubyte", |_| vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2])),
    ]);
    insta::assert_snapshot!(table, @"
    a file is missing: 1 `HERE/arrays` is not complete: `HERE/arrays/t10k-labels-idx1-ubyte` does not exist. Fashion-MNIST, for example, is distributed at https://github.com/zalandoresearch/fashion-mnist; `root` is the folder that contains `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each also as `.gz`
    cut in its head: 1 `HERE/arrays/train-images-idx3-ubyte` is truncated
    fewer pixels than it claims: 1 `HERE/arrays/train-images-idx3-ubyte` should contain 3 × 2 × 2 bytes but contains 4
    more images than labels: 1 `HERE/arrays` has 3 images but 1 labels in the split train
    an array of another type: 1 `HERE/arrays/t10k-labels-idx1-ubyte` is not an IDX file of bytes with 1 axes
    test images of another size: 1 `HERE/arrays` has training and test images of different sizes
    an axis beyond any memory: 1 `HERE/arrays/t10k-images-idx3-ubyte` should contain 4294967295 × 4294967295 × 4294967295 bytes but contains 0
    gzip cut short: 1 Cannot decompress `HERE/arrays/t10k-images-idx3-ubyte`: incomplete deflate stream
    ");
}

#[test]
fn tables_that_are_damaged() {
    const MINI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/data/open-emoji-mini.parquet");
    /// The embedded data set as `damage` leaves it, read with these columns.
    fn parquet(dataset: &'static str, damage: impl Fn(&mut Vec<u8>)) -> impl Fn(&Project) -> String {
        move |project| {
            let mut bytes = fs::read(MINI).expect("it is part of the repository");
            damage(&mut bytes);
            project.write("images.parquet", bytes);
            one(&format!("kind = \"decode\"\ndataset = {dataset}\nroot = \"images.parquet\""))
        }
    }
    let table = table(&[
        ("a text", &parquet("\"parquet\"", |bytes| *bytes = b"image,class\n".to_vec())),
        ("empty", &parquet("\"parquet\"", Vec::clear)),
        ("cut short", &parquet("\"parquet\"", |bytes| bytes.truncate(100_000))),
        (
            "its foot is overwritten",
            &parquet("\"parquet\"", |bytes| {
                let end = bytes.len() - 8;
                bytes[end - 200..end].fill(0xee);
            }),
        ),
        ("a page is overwritten", &parquet("\"parquet\"", |bytes| bytes[1_000_000..1_010_000].fill(0xee))),
        ("no such column of classes", &parquet("{ kind = \"parquet\", class = \"label\" }", |_| ())),
        ("no such column of images", &parquet("{ kind = \"parquet\", image = \"picture\" }", |_| ())),
        ("text for images", &parquet("{ kind = \"parquet\", image = \"class\" }", |_| ())),
        ("a folder without tables", &|project| {
            project.write("images/readme.txt", "x");
            one("kind = \"decode\"\ndataset = \"parquet\"\nroot = \"images\"")
        }),
    ]);
    insta::assert_snapshot!(table, @r#"
    a text: 1 `HERE/images.parquet` is not a Parquet file
    empty: 1 `HERE/images.parquet` is not a Parquet file
    cut short: 1 Cannot read `HERE/images.parquet`: Parquet error: Invalid Parquet file. Corrupt footer
    its foot is overwritten: 1 Cannot read `HERE/images.parquet`: External: invalid utf-8 sequence of 1 bytes from index 362
    a page is overwritten: 1 Cannot read `HERE/images.parquet`: Parquet argument error: EOF: eof decoding byte array
    no such column of classes: 1 `HERE/images.parquet` has no column `label` with the classes, but `class`, `source`, `split`, `image`; name the column that has them in `dataset`, as in `class = "…"`
    no such column of images: 1 `HERE/images.parquet` has no column `picture` with the image files, but `class`, `source`, `split`, `image`; name the column that has them in `dataset`, as in `image = "…"`
    text for images: 1 `HERE/images.parquet` has a column `class` of type Dictionary(Int32, Utf8), but the bytes of image files are expected: binary, a list of `u8`, or a struct with such a field `bytes`; if it names image files, use `dataset = { kind = "list", file = … }`
    a folder without tables: 1 `HERE/images` contains no file `*.parquet`
    "#);
}

#[test]
fn weights_that_do_not_fit() {
    /// A file in the form of safetensors that holds what `head` says.
    fn safetensors(head: &str, values: usize) -> Vec<u8> {
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &vec![0; values]].concat()
    }
    fn weights(bytes: Vec<u8>) -> impl Fn(&Project) -> String {
        move |project| {
            project.write("model.safetensors", &bytes);
            one("kind = \"init\"\nbackbone = \"resnet18\"\ndimension = 8\nweights = \"model.safetensors\"")
        }
    }
    let table = table(&[
        ("a text", &weights(b"version https://git-lfs.github.com/spec/v1".to_vec())),
        ("empty", &weights(Vec::new())),
        (
            "cut in its head",
            &weights(
                safetensors(r#"{"conv1.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8)[..30].to_vec(),
            ),
        ),
        (
            "cut in its values",
            &weights(safetensors(r#"{"conv1.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 3)),
        ),
        (
            "another shape",
            &weights(safetensors(r#"{"conv1.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8)),
        ),
        ("none of its tensors", &weights(safetensors(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8))),
        ("a zip without a model", &weights(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec())),
        ("a file that is not there", &|_| {
            one("kind = \"init\"\nbackbone = \"small\"\ndimension = 8\nweights = \"nowhere.pth\"")
        }),
    ]);
    insta::assert_snapshot!(table, @"
    a text: 1 Cannot load the weights: Could not parse the weights file `HERE/model.safetensors`: it is a pointer of Git LFS (`git lfs pull` fetches the file), neither safetensors nor a `state_dict` saved by PyTorch
    empty: 1 Cannot load the weights: Could not parse the weights file `HERE/model.safetensors`: it is empty, neither safetensors nor a `state_dict` saved by PyTorch
    cut in its head: 1 Cannot load the weights: Could not parse the weights file `HERE/model.safetensors`: it is truncated or damaged: invalid header length
    cut in its values: 1 Cannot load the weights: Could not parse the weights file `HERE/model.safetensors`: it is truncated or damaged: incomplete metadata, file not fully covered
    another shape: 1 The weights file `HERE/model.safetensors` does not fit `resnet18`: 99 missing (`bn1.bias`, `bn1.running_mean`, `bn1.running_var`, `bn1.weight`, `layer1.0.bn1.bias`, `layer1.0.bn1.running_mean`, `layer1.0.bn1.running_var`, `layer1.0.bn1.weight`, …); 1 of another shape (`conv1.weight` is [2] instead of [64, 3, 7, 7])
    none of its tensors: 1 The weights file `HERE/model.safetensors` does not fit `resnet18`: 100 missing (`bn1.bias`, `bn1.running_mean`, `bn1.running_var`, `bn1.weight`, `conv1.weight`, `layer1.0.bn1.bias`, `layer1.0.bn1.running_mean`, `layer1.0.bn1.running_var`, …); 1 unexpected (`x`)
    a zip without a model: 1 Cannot load the weights: Could not parse the weights file `HERE/model.safetensors`: it is something else, neither safetensors nor a `state_dict` saved by PyTorch
    a file that is not there: 2 `weights` of `it` does not exist: `nowhere.pth`
    ");
}

#[test]
fn programs_that_fail() {
    fn command(run: &'static str, more: &'static str) -> impl Fn(&Project) -> String {
        move |project| {
            project.write("not-a-program", "x");
            one(&format!("kind = \"command\"\nrun = {run}\n{more}"))
        }
    }
    const FILES: &str = "outputs = { x = \"files\" }";
    const TABLE: &str = "outputs = { x = \"metrics\" }";
    let table = table(&[
        ("is not there", &command("[\"no-such-program\"]", FILES)),
        ("is not where it should be", &command("[\"./no-such-program\"]", FILES)),
        ("is no program", &command("[\"./not-a-program\"]", FILES)),
        ("ends badly", &command("'echo oh; exit 3'", FILES)),
        ("is killed", &command("'kill -9 $$'", FILES)),
        ("names no input", &command("'cat {in.y} > {out.x}/x'", FILES)),
        ("takes too long", &command("'sleep 60'", "outputs = { x = \"files\" }\ntime_limit = 0.05")),
        ("writes nothing", &command("'true'", FILES)),
        ("writes no table", &command("'true'", TABLE)),
        ("writes a text for a table", &command("'echo x > {out.x}/metrics.parquet'", TABLE)),
        ("writes a table of another name", &command("'echo x > {out.x}/table.csv'", TABLE)),
        ("writes a link", &command("'ln -s /etc/passwd {out.x}/x'", FILES)),
        ("writes a pipe", &command("'mkfifo {out.x}/x'", FILES)),
        (
            "reads a file that is not there",
            &command("'cat {file.0} > {out.x}/x'", "outputs = { x = \"files\" }\nfiles = [\"nowhere\"]"),
        ),
    ]);
    insta::assert_snapshot!(table, @"
    is not there: 2 Program `no-such-program` is not on the PATH
    is not where it should be: 2 `run.0` of `it` does not exist: `./no-such-program`
    is no program: 1 Cannot run `HERE/not-a-program`: Permission denied (os error 13)
    ends badly: 1 `sh` exited with code 3: oh
    is killed: 1 `sh` was killed by signal 9 (the system kills with signal 9, mostly because memory ran out) and wrote no output
    names no input: 2 The placeholder `{in.y}` has no value here
    takes too long: 1 `sh` was killed after its `time_limit` of 0.05 s
    writes nothing: 1 `sh` wrote no file to its output `x`, the folder `{out.x}`
    writes no table: 1 `sh` wrote no file to its output `x`, the folder `{out.x}`
    writes a text for a table: 1 The file `HERE/.dnc/store/tmp/TASK/metrics.parquet` is neither an Arrow nor a Parquet file
    writes a table of another name: 1 The output folder `HERE/.dnc/store/tmp/TASK` has kind metrics and so must contain `metrics.arrow` or `metrics.parquet`
    writes a link: 1 The link `x` in its output `x` points to `/etc/passwd`, which lies outside the output; copy the file into `{out.x}`
    writes a pipe: 1 `HERE/.dnc/store/tmp/TASK/x` is neither a file nor a folder
    reads a file that is not there: 2 `files.0` of `it` does not exist: `nowhere`
    ");
}

#[test]
fn stores_that_cannot_be_used() {
    /// Runs a sound manifest in a project whose store or runs `damage` made unusable.
    fn place(damage: impl Fn(&Project)) -> String {
        let project = Project::new();
        project.write("it.toml", one("kind = \"command\"\nrun = 'echo x > {out.x}/x'\noutputs = { x = \"files\" }"));
        damage(&project);
        message(&project, &project.call(&["it.toml", "--quiet"]))
    }
    let lines = [
        ("the store is a file", place(|project| drop(project.write(".dnc/store", "x")))),
        ("the store is something else", place(|project| drop(project.write(".dnc/store/photo.jpg", "x")))),
        (
            "the store is of another version",
            place(|project| drop(project.write(".dnc/store/format", "dnc-store 99\n"))),
        ),
        ("runs is a file", place(|project| drop(project.write("runs", "x")))),
        ("the runs of this name are a file", place(|project| drop(project.write("runs/damaged", "x")))),
    ];
    insta::assert_snapshot!(lines.map(|(name, told)| format!("{name}: {told}\n")).concat(), @"
    the store is a file: 1 The store `HERE/.dnc/store` is not a folder
    the store is something else: 1 The folder `HERE/.dnc/store` is not a store and is not empty
    the store is of another version: 1 The store `HERE/.dnc/store` has format `dnc-store 99`, but this version reads `dnc-store 3`
    runs is a file: 1 Cannot create a run folder in `HERE/runs`: Not a directory (os error 20)
    the runs of this name are a file: 1 Cannot create a run folder in `HERE/runs`: File exists (os error 17)
    ");
}

/// Runs a project whose `closed` has these permissions, as somebody whom permissions bind: root becomes another user.
fn told_to_nobody(project: &Project, closed: &str, mode: u32) -> String {
    /// The user and group called `nobody`, nearly everywhere.
    const NOBODY: u32 = 65534;
    let closed = project.path().join(closed);
    let permit = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    let open = fs::metadata(&closed).expect("it is there").permissions();
    permit(&closed, mode);
    let mut run = project.command(&["it.toml", "--quiet"]);
    if open_to_root(project) {
        // The built binary may lie where only root may go.
        let binary = project.path().join("dnc-run");
        fs::copy(run.get_program(), &binary).expect("there is room for it");
        permit(project.path(), 0o777);
        let mut other = Command::new(binary);
        other.args(run.get_args()).current_dir(project.path()).uid(NOBODY).gid(NOBODY);
        run = other;
    }
    let called = Called::of(run.output().expect("the binary was built for this test"));
    fs::set_permissions(&closed, open).expect("it is ours");
    message(project, &called)
}

/// Whether this test runs as root, who may do everything.
fn open_to_root(project: &Project) -> bool {
    fs::metadata(project.path()).expect("it is there").uid() == 0
}

#[test]
fn what_may_not_be_read_or_written() {
    let store = ran();
    let pictures = Project::new();
    pictures.write("pictures/test/a/1.bmp", bitmap(4, 4));
    pictures.write("it.toml", one(DECODE));
    fs::set_permissions(pictures.path().join(".dnc"), Permissions::from_mode(0o777)).expect("it is ours");
    let table = [
        ("a store that is read-only", told_to_nobody(&store, ".dnc/store/tmp", 0o555)),
        ("a picture that may not be read", told_to_nobody(&pictures, "pictures/test/a/1.bmp", 0o000)),
    ];
    insta::assert_snapshot!(table.map(|(name, told)| format!("{name}: {told}\n")).concat(), @r#"
    a store that is read-only: 1 The store `HERE/.dnc/store` is read-only; name a folder that can be written to: Permission denied (os error 13)
    a picture that may not be read: 1 The image `HERE/pictures/test/a/1.bmp` cannot be read: Permission denied (os error 13); `on_error = "skip"` leaves out such images and lists them
    "#);
    assert_clean(&store);
}

/// A project whose one stage has run, and a manifest that also reads what it wrote.
fn ran() -> Project {
    let project = Project::new();
    let first = "name = \"damaged\"\n[stage.it]\nkind = \"command\"\nrun = 'head -c 20000 /dev/zero > {out.x}/x'\noutputs = { x = \"files\" }\n";
    project.write("it.toml", first);
    project.run(&["it.toml"]);
    let reads = "[stage.below]\nkind = \"command\"\nin = { x = \"it\" }\nrun = 'wc -c < {in.x} > {out.y}/y'\noutputs = { y = \"files\" }\n";
    project.write("it.toml", [first, reads].concat());
    project
}

#[test]
fn a_record_that_names_a_missing_blob() {
    let project = ran();
    for blob in project.files_in(".dnc/store/blobs") {
        fs::remove_file(blob).expect("it is there");
    }
    let verified = project.call(&["cache", "verify"]);
    assert_eq!(verified.code, Some(1));
    assert!(verified.stdout.contains("referenced 1 missing blobs; its node will run again"), "{}", verified.stdout);
    project.run(&["it.toml"]);
    assert_eq!(project.nodes("damaged", "ran"), ["it", "below"]);
    assert_clean(&project);
}

/// Inputs are the store's own files. A program that writes to them all the same fails, whatever becomes of its output, and
/// nothing is made again and again.
#[test]
fn a_program_that_writes_to_its_input() {
    for end in ["true", "false"] {
        let project = ran();
        let spoils = format!("chmod u+w {{in.x}} && echo spoilt > {{in.x}}; echo y > {{out.y}}/y; {end}");
        let sound = project.read("it.toml");
        project.write("it.toml", sound.replace("wc -c < {in.x} > {out.y}/y", &spoils));
        let called = project.call(&["it.toml", "--quiet"]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(message(&project, &called), @"1 Its input `x` was modified while the node ran; inputs are the store's own files and must only be read. The damaged file was moved to quarantine; the next run restores it");
        }
        project.write("it.toml", sound);
        project.run(&["it.toml"]);
        assert_eq!(project.nodes("damaged", "ran"), ["it", "below"]);
    }
}

#[test]
fn a_standard_output_that_is_full() {
    let project = ran();
    for arguments in [
        &["plan", "it.toml"][..],
        &["graph", "it.toml"],
        &["explain", "it.toml", "it"],
        &["schema"],
        &["stages"],
        &["runs"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").expect("it is on every Linux");
        let called = Called::of(project.command(arguments).stdout(full).output().expect("it was built"));
        assert!(called.stderr.contains("error: Cannot write to standard output: No space left"), "{}", called.stderr);
        assert_eq!(called.code, Some(1), "{arguments:?}");
    }
}

/// A walk over the plan that must be repeated, as bytes turned out to be damaged, does not repeat what failed.
#[test]
fn what_failed_is_not_tried_again_in_the_same_run() {
    let project = ran();
    project.write(
        "it.toml",
        project.read("it.toml")
            + "[stage.fails]\nkind = \"command\"\nrun = 'echo x >> HERE/tries; exit 3'\noutputs = { x = \"files\" }\n"
                .replace("HERE", project.path().to_str().expect("temp folders have plain names"))
                .as_str(),
    );
    // A disk that rots changes no dates, so that the damage only shows when `below` reads.
    for blob in project.files_in(".dnc/store/blobs") {
        let before = fs::metadata(&blob).and_then(|metadata| metadata.modified()).expect("it is there");
        overwrite(&blob, |bytes| bytes[0] ^= 1);
        let rotten = fs::File::options().write(true).open(&blob).expect("it is writable now");
        rotten.set_modified(before).expect("it is ours");
    }
    let called = project.call(&["it.toml", "--jobs", "1"]);
    assert_eq!(project.read("tries"), "x\n", "{}", called.stderr);
    assert_eq!(project.nodes("damaged", "failed"), ["fails"]);
    assert_eq!(project.nodes("damaged", "ran"), ["it", "below"]);
    assert_eq!(called.stderr.matches("fails: failed").count(), 1, "{}", called.stderr);
}

/// A folder where the records should be stands for a disk that fails.
#[test]
fn what_cannot_be_recorded_has_failed() {
    let project = Project::new();
    let run = "mkdir HERE/.dnc/store/records/pack; echo x > {out.x}/x";
    let run = run.replace("HERE", project.path().to_str().expect("temp folders have plain names"));
    project.write("it.toml", one(&format!("kind = \"command\"\nrun = '{run}'\noutputs = {{ x = \"files\" }}")));
    let called = project.call(&["it.toml", "--quiet"]);
    insta::assert_snapshot!(message(&project, &called), @"1 It ran, but could not be recorded: Could not write `HERE/.dnc/store/records/pack`: Is a directory (os error 21)");
    assert_eq!(project.nodes("damaged", "failed"), ["it"]);
}

/// A run waits for records before it drops what their nodes read, and learns there that they could not be written.
#[test]
fn what_cannot_be_recorded_has_failed_also_where_rounds_are_dropped() {
    let project = Project::new();
    let manifest = r#"
name = "damaged"
[rounds]
learners = [1, 1]
[stage.it]
kind = "command"
per = "round"
retain = "last"
run = "echo {round} > {out.x}/x"
outputs = { x = "files" }
[stage.below]
kind = "command"
per = "round"
in = { x = "it" }
run = "until mkdir HERE/.dnc/store/records/pack; do rm -f HERE/.dnc/store/records/pack; done; cat {in.x} > {out.y}/y"
outputs = { y = "files" }
"#;
    let here = project.path().to_str().expect("temp folders have plain names");
    project.write("it.toml", manifest.replace("HERE", here));
    let called = project.call(&["it.toml", "--quiet", "--jobs", "1"]);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert!(called.stderr.contains("error: Could not commit"), "{}", called.stderr);
    assert!(project.nodes("damaged", "failed").contains(&"below@0".to_owned()), "{}", called.stderr);
}

#[test]
fn a_damaged_record() {
    let project = ran();
    overwrite(&project.path().join(".dnc/store/records/pack"), |bytes| bytes[100] ^= 1);
    project.run(&["it.toml"]);
    assert_eq!(project.nodes("damaged", "ran"), ["it", "below"]);
    assert_clean(&project);
}

/// A full disk, which a limit on the size of files stands for: the system refuses to write on, as it would there.
#[test]
fn a_full_disk() {
    let project = Project::new();
    project.write("pictures/test/a/1.bmp", bitmap(100, 100));
    project.write("it.toml", one(DECODE));
    let run = project.command(&["it.toml", "--quiet"]);
    let mut limited = Command::new("sh");
    // 16 blocks of 512 bytes. Without the trap the system would kill the process instead of refusing.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    limited.current_dir(project.path()).stdin(Stdio::null());
    let called = Called::of(limited.output().expect("there is a shell"));
    insta::assert_snapshot!(message(&project, &called), @"1 Cannot write `HERE/.dnc/store/tmp/TASK/pixels-00000.arrow`: Io error: File too large (os error 27)");
    assert_clean(&project);
    project.run(&["it.toml"]);
    assert_clean(&project);
}
