//! Each data set in miniature.

use std::fs;
use std::io::Write;

use dnc_tables::Split;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::json;

use super::super::data_folder::DataFolder;
use super::{failure, folders, images, picture, put, stage};
use crate::testing::Workshop;

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
        @"The folder `HERE/root` cannot be read with `by_split = true`, which needs a folder for each split: Unknown split `elsewhere`; it must be `train`, `validation`, `test`, `query` or `gallery`"
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
fn damaged_idx_files_are_refused() {
    let shop = Workshop::new();
    let params = json!({ "dataset": "idx", "root": "root" });
    let check = |name: &str, bytes: &[u8]| {
        idx(&shop, false);
        put(shop.path(), &format!("root/{name}"), bytes);
        failure(&shop, params.clone())
    };
    insta::assert_snapshot!(check("t10k-labels-idx1-ubyte", &[0, 0]), @"`HERE/root/t10k-labels-idx1-ubyte` is truncated");
    insta::assert_snapshot!(
        check("train-images-idx3-ubyte", &[0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        @"`HERE/root/train-images-idx3-ubyte` is not an IDX file of bytes with 3 axes"
    );
    insta::assert_snapshot!(
        check("train-images-idx3-ubyte", &[0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        @"`HERE/root/train-images-idx3-ubyte` should contain 4294967295 × 4294967295 × 4294967295 bytes but contains 1"
    );
    insta::assert_snapshot!(
        check("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 5]),
        @"`HERE/root` has 3 images but 1 labels in the split train"
    );
}

/// A Parquet file of five images, with the columns of data sets on Hugging Face or with ours.
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
        @r#"`HERE/set.parquet` has no column `class` with the classes, but `image`, `label`; name the column that has them in `dataset`, as in `class = "…"`"#
    );
    let dataset = json!({ "kind": "parquet", "class": "label", "image": "label" });
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": dataset, "root": "set.parquet", "split": split })),
        @"`HERE/set.parquet` has a column `label` of type Int64, but the bytes of image files are expected: binary, a list of `u8`, or a struct with such a field `bytes`; name the column of image bytes as `image` in `dataset`"
    );
}

/// Decodes a miniature data set and returns a line per image: its class, split, camera and first grey level, which identifies
/// the file.
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
    (0..images.len()).map(row).collect::<String>() + &shop.warnings()
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
    Warning: test is searched among images of a single class, so that every model is always right
    Warning: 1 of 1 queries in test have no image of their class to find, as `lamp_final/b_0.JPG` (test, class `7`); they are left out of the metrics
    Warning: train has 2 images of 1 classes, but a complete copy has 59551 images of 11318 classes
    Warning: test has 1 images of 1 classes, but a complete copy has 60502 images of 11316 classes
    ");
    put(shop.path(), "root/Ebay_test.txt", b"head\n3 7 lamp_final/b_0.JPG\n");
    let params = json!({ "dataset": "sop", "root": "root" });
    insta::assert_snapshot!(failure(&shop, params.clone()), @"Line 2 of `HERE/root/Ebay_test.txt` has 3 words instead of 4");
    put(shop.path(), "root/Ebay_test.txt", b"head\n3 7 2 ../other/b_0.JPG\n");
    insta::assert_snapshot!(failure(&shop, params.clone()), @r#"The image `../other/b_0.JPG` is outside the folder `HERE/root`; `on_error = "skip"` leaves out such images and lists them"#);
    fs::remove_file(shop.path().join("root/Ebay_test.txt")).unwrap();
    insta::assert_snapshot!(failure(&shop, params), @"`HERE/root` is not complete: `HERE/root/Ebay_test.txt` does not exist. Stanford Online Products is distributed at https://cvgl.stanford.edu/projects/lifted_struct/; `root` is the folder that contains `Ebay_train.txt`, `Ebay_test.txt` and the image folders such as `bicycle_final`");
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
    Warning: test is searched among images of a single class, so that every model is always right
    Warning: 1 of 1 queries in test have no image of their class to find, as `101.White_Pelican/q.jpg` (test, class `101.White_Pelican`); they are left out of the metrics
    Warning: train has 2 images of 2 classes, but a complete copy has 5864 images of 100 classes
    Warning: test has 1 images of 1 classes, but a complete copy has 5924 images of 100 classes
    ");
    insta::assert_snapshot!(listed(&Workshop::new(), "cub", &files, &[]).lines().next().unwrap(), @"001.Albatross train file 2");
}

#[test]
fn cars() {
    let plain = include_bytes!("../../../tests/fixtures/cars_annos_plain.mat");
    let packed = include_bytes!("../../../tests/fixtures/cars_annos_packed.mat");
    let files = ["car_ims/000001.jpg", "car_ims/000002.jpg", "car_ims/000003.jpg"];
    let shop = Workshop::new();
    put(shop.path(), "root/cars_annos.mat", plain);
    let from_plain = listed(&shop, "cars", &files, &[]);
    insta::assert_snapshot!(from_plain, @r"
    Model 1 2012 train file 0
    Model 98 2012 train file 1
    Model 99 2012 test file 2
    Warning: test is searched among images of a single class, so that every model is always right
    Warning: 1 of 1 queries in test have no image of their class to find, as `car_ims/000003.jpg` (test, class `Model 99 2012`); they are left out of the metrics
    Warning: train has 2 images of 2 classes, but a complete copy has 8054 images of 98 classes
    Warning: test has 1 images of 1 classes, but a complete copy has 8131 images of 98 classes
    ");
    shop.log.0.lock().unwrap().clear();
    put(shop.path(), "root/cars_annos.mat", packed);
    assert_eq!(listed(&shop, "cars", &files, &[]), from_plain);
    for length in (0..plain.len()).step_by(61) {
        put(shop.path(), "root/cars_annos.mat", &plain[..length]);
        assert!(
            stage(json!({ "dataset": "cars", "root": "root" }))
                .dataset
                .list(&DataFolder::new(&shop.path().join("root"), &[]))
                .is_err()
        );
    }
    put(shop.path(), "root/cars_annos.mat", b"MATLAB");
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "cars", "root": "root" })),
        @"`HERE/root/cars_annos.mat` is truncated"
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
    Warning: query is searched among images of a single class, so that every model is always right
    Warning: train has 1 images of 1 classes, but a complete copy has 25882 images of 3997 classes
    Warning: query has 1 images of 1 classes, but a complete copy has 14218 images of 3985 classes
    Warning: gallery has 1 images of 1 classes, but a complete copy has 12612 images of 3985 classes
    ");
    put(shop.path(), "root/Eval/list_eval_partition.txt", list.replace("query", "probe").as_bytes());
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "in_shop", "root": "root" })),
        @"Line 4 of `HERE/root/Eval/list_eval_partition.txt` has the status `probe`; it must be `train`, `query` or `gallery`"
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
    Warning: test is searched among images of a single class, so that every model is always right
    Warning: train has 1 images of 1 classes, but a complete copy has 110178 images of 13134 classes
    Warning: test has 2 images of 1 classes, but a complete copy has 20038 images of 2400 classes
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
    Warning: train has 1 images of 1 classes, but a complete copy has 12936 images of 751 classes
    Warning: query has 1 images of 1 classes, but a complete copy has 3368 images of 750 classes
    Warning: gallery has 2 images of 2 classes, but a complete copy has 15913 images of 751 classes
    ");
    put(shop.path(), "root/query/holiday.jpg", b"");
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "market", "root": "root" })),
        @r#"The image `HERE/root/query/holiday.jpg` has a name unlike those of Market-1501, such as `0002_c1s1_000451_03.jpg`; `on_error = "skip"` leaves out such images and lists them"#
    );
}
