//! The stage on small data sets of real image files.

use std::fs;
use std::io::Write;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::json;

use super::*;
use crate::context::InputArtifact;
use crate::stage::StageKind;
use crate::tables::images::Images;
use crate::testing::{Workshop, artifact, digest, on_threads};

fn stage(params: serde_json::Value) -> Decode {
    serde_json::from_value(params).unwrap()
}

fn picture(shade: u8, width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([shade, (x * 5) as u8, (y * 3) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Four classes `a` to `d` with three images each, in folders below `root`.
fn folders(shop: &Workshop) {
    for (shade, class) in ["b", "a", "d", "c"].into_iter().enumerate() {
        for number in 0..3 {
            put(shop.path(), &format!("root/{class}/{number}.png"), &picture(shade as u8 * 9 + number, 12, 8));
        }
    }
    put(shop.path(), "root/a/Thumbs.db", b"not an image");
    put(shop.path(), "root/.cache/x.png", b"hidden");
}

fn images(shop: &Workshop, params: serde_json::Value) -> Images {
    let outputs = shop.run(&stage(params), &[]).unwrap();
    Images::open(&artifact(Kind::Images, &outputs["images"].folder)).unwrap()
}

fn failure(shop: &Workshop, params: serde_json::Value) -> String {
    let message = shop.run(&stage(params), &[]).unwrap_err().to_string();
    message.replace(&shop.path().display().to_string(), "HERE")
}

#[test]
fn a_folder_for_each_class() {
    let shop = Workshop::new();
    folders(&shop);
    let split = json!({ "train": 2, "choose": "first" });
    let images = images(&shop, json!({ "dataset": "folder", "root": "root", "split": split }));
    assert_eq!(images.len(), 12);
    assert_eq!(images.labels().unwrap(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    assert_eq!(images.classes().unwrap()[3], "b");
    assert_eq!(images.sources().unwrap()[4], "b/1.png");
    assert_eq!(images.splits().unwrap()[5..7], [Split::Train, Split::Test]);
    assert_eq!(images.sizes().unwrap()[0], (8, 12));
    assert_eq!(images.pixels().unwrap().of(3).pixels[..3], [0, 0, 0]);
    assert_eq!(*shop.log.0.lock().unwrap(), ["train: 6 images of 2 classes", "test: 6 images of 2 classes"]);
}

#[test]
fn folders_below_splits() {
    let shop = Workshop::new();
    for name in ["train/x/y/1.png", "train/x/y/2.png", "query/z/1.png", "gallery/z/2.png"] {
        put(shop.path(), &format!("root/{name}"), &picture(1, 4, 4));
    }
    let dataset = json!({ "kind": "folder", "by_split": true });
    let images = images(&shop, json!({ "dataset": dataset, "root": "root" }));
    assert_eq!(images.classes().unwrap(), ["z", "z", "x/y", "x/y"]);
    assert_eq!(images.splits().unwrap(), [Split::Gallery, Split::Query, Split::Train, Split::Train]);
    put(shop.path(), "root/elsewhere/z/1.png", &picture(1, 4, 4));
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": dataset, "root": "root" })),
        @"The folder `HERE/root` cannot be read by split: `elsewhere` is no split; it must be `train`, `validation`, `test`, `query` or `gallery`"
    );
}

#[test]
fn splits_are_made_of_whole_classes() {
    let mut shop = Workshop::new();
    for class in 0..20 {
        put(shop.path(), &format!("root/{class:02}/x.png"), &picture(class, 4, 4));
    }
    let split = json!({ "train": 0.5, "validation": 0.2 });
    let params = json!({ "dataset": "folder", "root": "root", "split": split });
    let first = images(&shop, params.clone()).splits().unwrap();
    let count = |split| first.iter().filter(|&&found| found == split).count();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (8, 2, 10));
    assert_eq!(images(&shop, params.clone()).splits().unwrap(), first);
    shop.ambient.seed = Some(1);
    assert_ne!(images(&shop, params).splits().unwrap(), first);
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "folder", "root": "root", "split": { "train": 21 } })),
        @"`split.train` asks for 21 of 20 classes"
    );
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "folder", "root": "root", "split": { "train": 20 } })),
        @"All 20 classes would be trained on and none tested"
    );
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "folder", "root": "root" })),
        @"The data set does not say what `00/x.png` is for; write for instance `split = { train = 0.5 }` to train on half of the classes"
    );
}

/// The four files of a tiny Fashion-MNIST: 3 × 2 pixels.
fn idx(shop: &Workshop, packed: bool) {
    let put = |name: &str, bytes: Vec<u8>| {
        if packed {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&bytes).unwrap();
            put(shop.path(), &format!("root/{name}.gz"), &packer.finish().unwrap());
        } else {
            put(shop.path(), &format!("root/{name}"), &bytes);
        }
    };
    for (name, labels) in [("train", vec![7_u8, 1, 7]), ("t10k", vec![1, 2])] {
        let count = labels.len() as u8;
        let pixels: Vec<u8> = (0..count * 6).collect();
        put(
            &format!("{name}-images-idx3-ubyte"),
            [&[0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 3][..], &pixels].concat(),
        );
        put(&format!("{name}-labels-idx1-ubyte"), [&[0, 0, 8, 1, 0, 0, 0, count][..], &labels].concat());
    }
}

#[test]
fn the_four_files_of_idx() {
    for packed in [false, true] {
        let shop = Workshop::new();
        idx(&shop, packed);
        let images = images(&shop, json!({ "dataset": "idx", "root": "root" }));
        assert_eq!(images.labels().unwrap(), [0, 1, 0, 1, 2]);
        assert_eq!(images.classes().unwrap(), ["7", "1", "7", "1", "2"]);
        assert_eq!(images.splits().unwrap()[2..4], [Split::Train, Split::Test]);
        assert_eq!(images.sizes().unwrap(), [(2, 3); 5]);
        assert_eq!(images.pixels().unwrap().of(1).pixels[..6], [6, 6, 6, 7, 7, 7]);
        assert_eq!(images.sources().unwrap()[4], "test/1");
    }
}

#[test]
fn damaged_idx_is_told() {
    let shop = Workshop::new();
    let params = json!({ "dataset": "idx", "root": "root" });
    let check = |name: &str, bytes: &[u8]| {
        idx(&shop, false);
        put(shop.path(), &format!("root/{name}"), bytes);
        failure(&shop, params.clone())
    };
    insta::assert_snapshot!(check("t10k-labels-idx1-ubyte", &[0, 0]), @"`HERE/root/t10k-labels-idx1-ubyte` is cut short");
    insta::assert_snapshot!(
        check("train-images-idx3-ubyte", &[0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        @"`HERE/root/train-images-idx3-ubyte` is not an IDX file of bytes with 3 axes"
    );
    insta::assert_snapshot!(
        check("train-images-idx3-ubyte", &[0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        @"`HERE/root/train-images-idx3-ubyte` claims 4294967295 × 4294967295 × 4294967295 bytes but holds 1"
    );
    insta::assert_snapshot!(
        check("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 5]),
        @"`HERE/root` has 3 images but 1 labels for train"
    );
}

/// A Parquet file of five images with the layout that `shape` says.
fn parquet(shop: &Workshop, hugging_face: bool) {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, DictionaryArray, Int64Array, RecordBatch, StringArray, StructArray};
    use arrow::datatypes::Int32Type;

    let bytes: Vec<Vec<u8>> = (0..5).map(|shade| picture(shade, 6, 6)).collect();
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(&bytes));
    let columns: Vec<(&str, ArrayRef)> = if hugging_face {
        let field = arrow::datatypes::Field::new("bytes", arrow::datatypes::DataType::Binary, true);
        let image = StructArray::from(vec![(Arc::new(field), bytes)]);
        vec![("image", Arc::new(image)), ("label", Arc::new(Int64Array::from(vec![4, 4, 2, 2, 4])))]
    } else {
        let classes = ["x", "y", "x", "y", "x"].into_iter().collect::<DictionaryArray<Int32Type>>();
        let splits = ["test", "train", "test", "train", "test"].into_iter().collect::<DictionaryArray<Int32Type>>();
        vec![
            ("class", Arc::new(classes)),
            ("source", Arc::new(StringArray::from(vec!["noto", "noto", "openmoji", "openmoji", "noto"]))),
            ("split", Arc::new(splits)),
            ("image", bytes),
            ("camera", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None, Some(5)]))),
        ]
    };
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(shop.path().join("set.parquet")).unwrap();
    let properties =
        ::parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_with_the_bytes_of_images() {
    let shop = Workshop::new();
    parquet(&shop, false);
    let images = images(&shop, json!({ "dataset": "parquet", "root": "set.parquet", "per_class": 2 }));
    assert_eq!(images.classes().unwrap(), ["x", "y", "x", "y"]);
    assert_eq!(images.labels().unwrap(), [0, 1, 0, 1]);
    assert_eq!(images.sources().unwrap(), ["noto", "noto", "openmoji", "openmoji"]);
    assert_eq!(images.cameras().unwrap(), [Some(1), None, Some(3), None]);
    assert_eq!(images.splits().unwrap()[..2], [Split::Test, Split::Train]);
    for row in 0..4 {
        assert_eq!(images.pixels().unwrap().of(row).pixels[0], row as u8);
    }
}

#[test]
fn parquet_of_hugging_face() {
    let shop = Workshop::new();
    parquet(&shop, true);
    let dataset = json!({ "kind": "parquet", "class": "label" });
    let split = json!({ "train": 1, "choose": "first" });
    let images = images(&shop, json!({ "dataset": dataset, "root": ".", "split": split }));
    assert_eq!(images.classes().unwrap(), ["4", "4", "2", "2", "4"]);
    assert_eq!(images.sources().unwrap()[4], "set.parquet#4");
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "parquet", "root": "set.parquet" })),
        @"`HERE/set.parquet` has no column `class` of classes"
    );
    let dataset = json!({ "kind": "parquet", "class": "label", "image": "label" });
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": dataset, "root": "set.parquet", "split": split })),
        @"`HERE/set.parquet` has no column `label` of images' bytes"
    );
}

#[test]
fn lists_of_files() {
    let shop = Workshop::new();
    for (shade, name) in ["one.png", "deep/two.png", "three.png"].into_iter().enumerate() {
        put(shop.path(), &format!("root/pictures/{name}"), &picture(shade as u8, 6, 6));
    }
    let rows =
        [("one.png", "cat", "train", "3"), ("deep/two.png", "dog", "test", ""), ("three.png", "cat", "query", "0")];
    for (ending, comma) in [("csv", ","), ("tsv", "\t")] {
        let line = |cells: [&str; 5]| cells.join(comma) + "\n";
        let heads = line(["class", "file", "remark", "split", "camera"]);
        let rows = rows
            .map(|(file, class, split, camera)| line([class, &format!("pictures/{file}"), "\"a, b\"", split, camera]));
        put(shop.path(), &format!("root/list.{ending}"), (heads + &rows.concat()).as_bytes());
        let dataset = json!({ "kind": "list", "file": format!("list.{ending}"), "image": "file" });
        let images = images(&shop, json!({ "dataset": dataset, "root": "root" }));
        assert_eq!(images.classes().unwrap(), ["cat", "dog", "cat"]);
        assert_eq!(images.splits().unwrap(), [Split::Train, Split::Test, Split::Query]);
        assert_eq!(images.cameras().unwrap(), [Some(3), None, Some(0)]);
        assert_eq!(images.sources().unwrap()[1], "pictures/deep/two.png");
        assert_eq!(images.pixels().unwrap().of(2).pixels[0], 2);
    }
    let told = |list: &str| {
        put(shop.path(), "root/list.csv", list.as_bytes());
        failure(&shop, json!({ "dataset": { "kind": "list", "file": "list.csv" }, "root": "root" }))
    };
    insta::assert_snapshot!(told("file,class\nx,y\n"), @"`HERE/root/list.csv` has no column `image` of files");
    insta::assert_snapshot!(told("image,kind\nx,y\n"), @"`HERE/root/list.csv` has no column `class` of classes");
    insta::assert_snapshot!(told("image,class\nx,\n"), @"Row 0 of `HERE/root/list.csv` has no class");
    insta::assert_snapshot!(
        told("image,class\nx,y\nx,y,z\n"),
        @"`HERE/root/list.csv` has 3 values in row 1 but 2 names of columns"
    );
    insta::assert_snapshot!(told(""), @"`HERE/root/list.csv` is empty");
    insta::assert_snapshot!(
        told("image,class,split\nx,y,exam\n"),
        @"Row 0 of `HERE/root/list.csv` has a wrong split: `exam` is no split; it must be `train`, `validation`, `test`, `query` or `gallery`"
    );
    insta::assert_snapshot!(told("image,class,split\n../x,y,test\n"), @"The image `../x` lies outside `HERE/root`");
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": { "kind": "list", "file": "../list.csv" }, "root": "root" })),
        @"The list `../list.csv` lies outside `HERE/root`"
    );
}

/// Ten images are added, one is renamed, one changes and one goes: what is known is not decoded again, and nobody can see
/// it in the bytes.
#[test]
fn known_images_are_not_decoded_again() {
    let mut shop = Workshop::new();
    folders(&shop);
    let params = json!({
        "dataset": "folder", "root": "root", "resize": { "exact": [5, 7] }, "split": { "train": 0.5 }, "on_error": "skip"
    });
    let before = shop.run(&stage(params.clone()), &[]).unwrap();
    for number in 0..10 {
        put(
            shop.path(),
            &format!("root/{}/new{number}.png", ["a", "bb"][number % 2]),
            &picture(99 + number as u8, 9, 9),
        );
    }
    fs::rename(shop.path().join("root/a/0.png"), shop.path().join("root/d/moved.png")).unwrap();
    put(shop.path(), "root/c/1.png", &picture(200, 12, 8));
    put(shop.path(), "root/c/2.png", b"damaged");
    let scratch = shop.run(&stage(params.clone()), &[]).unwrap();
    shop.earlier = [("images".to_owned(), artifact(Kind::Images, &before["images"].folder))].into();
    shop.log.0.lock().unwrap().clear();
    let incremental = shop.run(&stage(params), &[]).unwrap();
    assert_eq!(digest(&incremental), digest(&scratch));
    assert!(shop.log.0.lock().unwrap().iter().any(|line| line.starts_with("10 images were known, 11 decoded;")));
}

/// Parts that are as they were are kept, wherever images come and go: the bytes are those of a run from scratch.
#[test]
fn parts_that_are_known_are_kept() {
    let mut shop = Workshop::new();
    for number in 0..150_u8 {
        put(shop.path(), &format!("root/{:02}/{number:03}.png", number / 5), &picture(number, 9, 6));
    }
    let params = json!({
        "dataset": "folder", "root": "root", "resize": { "exact": [300, 300] }, "split": { "train": 0.5 }, "on_error": "skip"
    });
    let before = shop.run(&stage(params.clone()), &[]).unwrap();
    fs::remove_file(shop.path().join("root/03/017.png")).unwrap();
    for name in ["00/000a.png", "12/new.png", "zz/last.png"] {
        put(shop.path(), &format!("root/{name}"), &picture(name.len() as u8, 9, 9));
    }
    put(shop.path(), "root/29/999.png", b"damaged");
    let scratch = shop.run(&stage(params.clone()), &[]).unwrap();

    let earlier = artifact(Kind::Images, &before["images"].folder);
    let parts = earlier.files.iter().filter(|file| file.name.starts_with("pixels-")).count();
    assert!(parts > 3, "{parts}");
    let mut check = |knows_digests: bool, earlier: InputArtifact, told: &str| {
        shop.knows_digests = knows_digests;
        shop.earlier = [("images".to_owned(), earlier)].into();
        shop.log.0.lock().unwrap().clear();
        let incremental = shop.run(&stage(params.clone()), &[]).unwrap();
        assert_eq!(digest(&incremental), digest(&scratch));
        let (log, kept) = (shop.log.0.lock().unwrap(), incremental["images"].kept.len());
        let told = format!("{told}; {kept} parts stay as they are");
        assert!(log.contains(&told), "{log:?}");
        kept
    };
    for knows_digests in [true, false] {
        let kept = check(knows_digests, earlier.clone(), "149 images were known, 3 decoded");
        assert!((1..parts).contains(&kept), "{kept} of {parts} parts");
    }
    // Without its first part the earlier run knows less.
    let mut without = earlier;
    let gone = without.files.iter().position(|file| file.name == "pixels-00000.arrow").unwrap();
    let gone = without.files.remove(gone);
    let begun = crate::tables::pixels::PixelParts::of_files(&InputArtifact { files: vec![gone], ..without.clone() });
    let begun = begun.unwrap().len();
    check(true, without, &format!("{} images were known, {} decoded", 149 - begun, 3 + begun));
}

/// Lists a data set in miniature: per image its class, split, camera and first grey level, which is the number of the file.
fn listed(shop: &Workshop, dataset: &str, files: &[&str], lists: &[(&str, &str)]) -> String {
    for (number, file) in files.iter().enumerate() {
        let format = if file.ends_with("png") { ImageFormat::Png } else { ImageFormat::Jpeg };
        let image = RgbImage::from_pixel(8, 8, Rgb([number as u8 * 20; 3]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(image).write_to(&mut bytes, format).unwrap();
        put(shop.path(), &format!("root/{file}"), &bytes.into_inner());
    }
    for (name, text) in lists {
        put(shop.path(), &format!("root/{name}"), text.as_bytes());
    }
    let images = images(shop, json!({ "dataset": dataset, "root": "root" }));
    let (classes, splits) = (images.classes().unwrap(), images.splits().unwrap());
    let (cameras, pixels) = (images.cameras().unwrap(), images.pixels().unwrap());
    let row = |row: usize| {
        let camera = cameras[row].map(|camera| format!(" camera {camera}")).unwrap_or_default();
        format!("{} {}{camera} file {}\n", classes[row], splits[row], (pixels.of(row).pixels[0] + 5) / 20)
    };
    let warnings =
        shop.log.0.lock().unwrap().iter().filter(|line| line.starts_with("Warning")).cloned().collect::<Vec<_>>();
    (0..images.len()).map(row).collect::<String>() + &warnings.join("\n")
}

#[test]
fn stanford_online_products() {
    let shop = Workshop::new();
    let head = "image_id class_id super_class_id path\n";
    let train = format!("{head}1 1 1 bicycle_final/a_0.JPG\n2 1 1 bicycle_final/a_1.JPG\n");
    let test = format!("{head}3 7 2 lamp_final/b_0.JPG\n");
    let files = ["bicycle_final/a_0.JPG", "bicycle_final/a_1.JPG", "lamp_final/b_0.JPG"];
    let lists = [("Ebay_train.txt", train.as_str()), ("Ebay_test.txt", test.as_str())];
    insta::assert_snapshot!(listed(&shop, "sop", &files, &lists), @r"
    1 train file 0
    1 train file 1
    7 test file 2
    Warning: train has 2 images of 1 classes, but the data set is known to have 59551 of 11318
    Warning: test has 1 images of 1 classes, but the data set is known to have 60502 of 11316
    ");
    put(shop.path(), "root/Ebay_test.txt", b"head\n3 7 lamp_final/b_0.JPG\n");
    let params = json!({ "dataset": "sop", "root": "root" });
    insta::assert_snapshot!(failure(&shop, params.clone()), @"Line 2 of `HERE/root/Ebay_test.txt` has 3 words instead of 4");
    put(shop.path(), "root/Ebay_test.txt", b"head\n3 7 2 ../other/b_0.JPG\n");
    insta::assert_snapshot!(failure(&shop, params.clone()), @"The image `../other/b_0.JPG` lies outside `HERE/root`");
    fs::remove_file(shop.path().join("root/Ebay_test.txt")).unwrap();
    insta::assert_snapshot!(failure(&shop, params), @"Cannot read `HERE/root/Ebay_test.txt`");
}

#[test]
fn cub() {
    let files = ["images/100.Brown_Pelican/p.jpg", "images/101.White_Pelican/q.jpg", "images/001.Albatross/a.jpg"];
    let list = "1 100.Brown_Pelican/p.jpg\n2 101.White_Pelican/q.jpg\n3 001.Albatross/a.jpg\n";
    let official = listed(&Workshop::new(), "cub", &files, &[("images.txt", list)]);
    insta::assert_snapshot!(official, @r"
    100.Brown_Pelican train file 0
    101.White_Pelican test file 1
    001.Albatross train file 2
    Warning: train has 2 images of 2 classes, but the data set is known to have 5864 of 100
    Warning: test has 1 images of 1 classes, but the data set is known to have 5924 of 100
    ");
    insta::assert_snapshot!(listed(&Workshop::new(), "cub", &files, &[]).lines().next().unwrap(), @"001.Albatross train file 2");
}

#[test]
fn cars() {
    let plain = include_bytes!("../../tests/fixtures/cars_annos_plain.mat");
    let packed = include_bytes!("../../tests/fixtures/cars_annos_packed.mat");
    let files = ["car_ims/000001.jpg", "car_ims/000002.jpg", "car_ims/000003.jpg"];
    let shop = Workshop::new();
    put(shop.path(), "root/cars_annos.mat", plain);
    let from_plain = listed(&shop, "cars", &files, &[]);
    insta::assert_snapshot!(from_plain, @r"
    Model 1 2012 train file 0
    Model 98 2012 train file 1
    Model 99 2012 test file 2
    Warning: train has 2 images of 2 classes, but the data set is known to have 8054 of 98
    Warning: test has 1 images of 1 classes, but the data set is known to have 8131 of 98
    ");
    shop.log.0.lock().unwrap().clear();
    put(shop.path(), "root/cars_annos.mat", packed);
    assert_eq!(listed(&shop, "cars", &files, &[]), from_plain);
    for length in (0..plain.len()).step_by(61) {
        put(shop.path(), "root/cars_annos.mat", &plain[..length]);
        assert!(stage(json!({ "dataset": "cars", "root": "root" })).dataset.list(&shop.path().join("root")).is_err());
    }
    put(shop.path(), "root/cars_annos.mat", b"MATLAB");
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "cars", "root": "root" })),
        @"`HERE/root/cars_annos.mat` is cut short"
    );
}

#[test]
fn in_shop() {
    let files = [
        "img/WOMEN/Dresses/id_1/01_1_front.jpg",
        "img/WOMEN/Dresses/id_2/01_1_front.jpg",
        "img/WOMEN/Dresses/id_2/01_2_side.jpg",
    ];
    let list = "3\nimage_name item_id evaluation_status\n\
        img/WOMEN/Dresses/id_1/01_1_front.jpg  id_1  train\n\
        img/WOMEN/Dresses/id_2/01_1_front.jpg  id_2  query\n\
        img/WOMEN/Dresses/id_2/01_2_side.jpg   id_2  gallery\n";
    let shop = Workshop::new();
    insta::assert_snapshot!(listed(&shop, "in_shop", &files, &[("Eval/list_eval_partition.txt", list)]), @r"
    id_1 train file 0
    id_2 query file 1
    id_2 gallery file 2
    Warning: train has 1 images of 1 classes, but the data set is known to have 25882 of 3997
    Warning: query has 1 images of 1 classes, but the data set is known to have 14218 of 3985
    Warning: gallery has 1 images of 1 classes, but the data set is known to have 12612 of 3985
    ");
    put(shop.path(), "root/Eval/list_eval_partition.txt", list.replace("query", "probe").as_bytes());
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "in_shop", "root": "root" })),
        @"Line 4 of `HERE/root/Eval/list_eval_partition.txt` has the status `probe`"
    );
}

#[test]
fn vehicle_id() {
    let files = ["image/0000001.jpg", "image/0000002.jpg", "image/0000003.jpg"];
    let lists = [
        ("train_test_split/train_list.txt", "0000003 7\n"),
        ("train_test_split/test_list_2400.txt", "0000001 9\n0000002 9\n"),
    ];
    insta::assert_snapshot!(listed(&Workshop::new(), "vehicle_id", &files, &lists), @r"
    7 train file 2
    9 test file 0
    9 test file 1
    Warning: train has 1 images of 1 classes, but the data set is known to have 110178 of 13134
    Warning: test has 2 images of 1 classes, but the data set is known to have 20038 of 2400
    ");
}

#[test]
fn market() {
    let files = [
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "query/0001_c3s1_001051_00.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c2s1_000401_03.jpg",
        "bounding_box_test/0001_c6s1_001051_00.jpg",
    ];
    let shop = Workshop::new();
    insta::assert_snapshot!(listed(&shop, "market", &files, &[]), @r"
    0002 train camera 1 file 0
    0001 query camera 3 file 1
    0000 gallery camera 2 file 3
    0001 gallery camera 6 file 4
    Warning: train has 1 images of 1 classes, but the data set is known to have 12936 of 751
    Warning: query has 1 images of 1 classes, but the data set is known to have 3368 of 750
    Warning: gallery has 2 images of 2 classes, but the data set is known to have 15913 of 751
    ");
    put(shop.path(), "root/query/holiday.jpg", b"");
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "market", "root": "root" })),
        @"The file `query/holiday.jpg` is not named as Market-1501 names its images"
    );
}

#[test]
fn what_cannot_be_decoded_fails_or_is_skipped() {
    let shop = Workshop::new();
    folders(&shop);
    put(shop.path(), "root/b/1.png", &picture(0, 12, 8)[..60]);
    put(shop.path(), "root/d/2.png", b"");
    let params = |on_error: &str| json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 }, "on_error": on_error });
    insta::assert_snapshot!(failure(&shop, params("fail")), @"The image `HERE/root/b/1.png` cannot be decoded as PNG: unexpected end of file");
    let outputs = shop.run(&stage(params("skip")), &[]).unwrap();
    let images = Images::open(&artifact(Kind::Images, &outputs["images"].folder)).unwrap();
    assert_eq!(images.ids().unwrap(), (0..10).collect::<Vec<_>>());
    assert!(outputs["images"].facets.contains_key("skipped.reason"));
    let log = shop.log.0.lock().unwrap().iter().filter(|line| line.starts_with("Skipped")).cloned().collect::<Vec<_>>();
    insta::assert_snapshot!(log.join("\n"), @r"
    Skipped `b/1.png`, which cannot be decoded as PNG: unexpected end of file
    Skipped `d/2.png`, which is no JPEG, PNG, WebP, GIF, BMP or TIFF image
    ");
}

#[test]
fn nothing_to_decode_is_an_error() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path().join("root/empty")).unwrap();
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 1 } });
    insta::assert_snapshot!(failure(&shop, params.clone()), @"The class folder `HERE/root/empty` holds no image");
    fs::remove_dir(shop.path().join("root/empty")).unwrap();
    insta::assert_snapshot!(failure(&shop, params.clone()), @"There is no image in `HERE/root`");
    fs::remove_dir(shop.path().join("root")).unwrap();
    insta::assert_snapshot!(failure(&shop, params), @"Cannot read the folder `HERE/root`");
}

#[test]
fn images_are_brought_to_a_size() {
    let shop = Workshop::new();
    put(shop.path(), "root/a/1.png", &picture(3, 30, 20));
    put(shop.path(), "root/b/1.png", &picture(3, 6, 9));
    let sizes = |resize: serde_json::Value| {
        let split = json!({ "train": 1 });
        images(&shop, json!({ "dataset": "folder", "root": "root", "split": split, "resize": resize })).sizes().unwrap()
    };
    assert_eq!(sizes(json!(null)), [(20, 30), (9, 6)]);
    assert_eq!(sizes(json!({ "exact": [5, 7] })), [(5, 7), (5, 7)]);
    assert_eq!(sizes(json!({ "shorter": 10 })), [(10, 15), (9, 6)]);
}

#[test]
fn neither_threads_nor_chunks_count() {
    let shop = Workshop::new();
    for number in 0..90 {
        let class = number % 7;
        put(shop.path(), &format!("root/{class}/{number}.png"), &picture(number, 40 + u32::from(number), 30));
    }
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 }, "resize": { "shorter": 16 } });
    let digests =
        [1, 2, 5].map(|threads| on_threads(threads, || digest(&shop.run(&stage(params.clone()), &[]).unwrap())));
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn a_renamed_class_keeps_its_label_and_its_pixels() {
    let shop = Workshop::new();
    folders(&shop);
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 2, "choose": "first" } });
    let facets = || shop.run(&stage(params.clone()), &[]).unwrap()["images"].facets.clone();
    let before = facets();
    fs::rename(shop.path().join("root/b"), shop.path().join("root/bb")).unwrap();
    let after = facets();
    let changed: Vec<_> = before.keys().filter(|key| before[*key] != after[*key]).collect();
    assert_eq!(changed, ["class", "source"]);
}

#[test]
fn parameters_that_cannot_be_meant_are_refused() {
    let kind = StageKind::of::<Decode>();
    let check = |params: serde_json::Value| {
        let error = kind.parse(params).err().unwrap();
        format!("{}: {error}", error.key)
    };
    insta::assert_snapshot!(check(json!({ "dataset": "folders", "root": "x" })), @"dataset: unknown variant `folders`, expected one of `folder`, `idx`, `list`, `parquet`, `sop`, `cars`, `cub`, `in_shop`, `vehicle_id`, `market`");
    insta::assert_snapshot!(check(json!({ "dataset": { "kind": "folder", "split": true }, "root": "x" })), @"dataset: unknown field `split`, expected `by_split`");
    insta::assert_snapshot!(check(json!({ "dataset": 3, "root": "x" })), @"dataset: invalid type: integer `3`, expected the name of a data set, or a table with its `kind`");
    insta::assert_snapshot!(check(json!({ "dataset": "folder" })), @": missing field `root`");
    insta::assert_snapshot!(check(json!({ "dataset": "folder", "root": "x", "resize": { "shorter": 0 } })), @"resize: An image cannot be resized to nothing");
    insta::assert_snapshot!(check(json!({ "dataset": "folder", "root": "x", "split": { "train": 1.5 } })), @"split.train: `split.train` is neither a number of classes nor a share of them");
}

/// Law 3: whoever changes these bytes raises [`Decode::VERSION`] in the same commit, and then this digest.
#[test]
fn the_version_stands_for_these_bytes() {
    let shop = Workshop::new();
    folders(&shop);
    let split = json!({ "train": 2, "validation": 1, "choose": "first" });
    let params = json!({ "dataset": "folder", "root": "root", "split": split, "resize": { "exact": [6, 5] } });
    assert_eq!((Decode::VERSION, digest(&shop.run(&stage(params), &[]).unwrap()).as_str()), (3, "ba1f6c4b52380317"));
}
