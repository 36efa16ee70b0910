//! Lists and tables of images, as people and programs write them.

use std::fs;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, ListBuilder, RecordBatch, StringArray,
    UInt8Builder,
};
use dnc_tables::Split;
use serde_json::json;

use super::{failure, images, picture, put};
use crate::testing::Workshop;

/// Three pictures in `root/pictures`.
fn pictures(shop: &Workshop) {
    for (shade, name) in ["one.png", "deep/two.png", "three.png"].into_iter().enumerate() {
        put(shop.path(), &format!("root/pictures/{name}"), &picture(shade as u8, 6, 6));
    }
}

#[test]
fn lists_of_files() {
    let shop = Workshop::new();
    pictures(&shop);
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
    let error = |list: &str| {
        put(shop.path(), "root/list.csv", list.as_bytes());
        failure(&shop, json!({ "dataset": { "kind": "list", "file": "list.csv" }, "root": "root" }))
    };
    insta::assert_snapshot!(error("file,class\nx,y\n"), @r#"`HERE/root/list.csv` has no column `image` with the image files, but `file`, `class`; name the column that has them in `dataset`, as in `image = "…"`"#);
    insta::assert_snapshot!(error("image,kind\nx,y\n"), @r#"`HERE/root/list.csv` has no column `class` with the classes, but `image`, `kind`; name the column that has them in `dataset`, as in `class = "…"`"#);
    insta::assert_snapshot!(error("image,class\nx,\n"), @r#"Line 2 of `HERE/root/list.csv` has no class; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class\nx,y\nx,y,z\n"), @r#"Line 3 of `HERE/root/list.csv` has 3 values, but there are 2 headings; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class\r\n\r\n\"two\r\nlines\",y\r\nx,\r\n"), @r#"Line 5 of `HERE/root/list.csv` has no class; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class\nx,\"a \"\"b\"\"\"\nx,\"y\nz,y\n"), @r#"Line 3 of `HERE/root/list.csv` has a value that begins with a quote and never ends; close the quote, or write `""` for one that belongs to the value"#);
    insta::assert_snapshot!(error(""), @"`HERE/root/list.csv` is empty");
    insta::assert_snapshot!(error("image,class\n"), @"`HERE/root/list.csv` has headings but no rows, each of which names an image");
    insta::assert_snapshot!(error("image,class,split\nx,y,exam\n"), @r#"Line 2 of `HERE/root/list.csv` has the split `exam`; it must be `train`, `validation`, `test`, `query` or `gallery`; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class,camera\nx,y,left\n"), @r#"Line 2 of `HERE/root/list.csv` has the camera `left`; it must be a whole number from 0 to 65535; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class,split\n../x,y,test\n"), @r#"The image `../x` is outside the folder `HERE/root`; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class,split\npictures/One.png,y,test\n"), @r#"The image `HERE/root/pictures/One.png` does not exist: `HERE/root/pictures` has no `One.png`, but `one.png`; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(error("image,class,split\nfotos/one.png,y,test\n"), @r#"The image `HERE/root/fotos/one.png` does not exist: `HERE/root` has no `fotos`; `on_error = "skip"` leaves out such images and lists them"#);
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": { "kind": "list", "file": "../list.csv" }, "root": "root" })),
        @"The list `../list.csv` is outside the folder `HERE/root`"
    );
    // With no image left, that is the error, and not what follows from it.
    put(shop.path(), "root/list.csv", b"image,class\n../x,y\n../z,y\n");
    let dataset = json!({ "kind": "list", "file": "list.csv" });
    let params = json!({ "dataset": dataset, "root": "root", "split": { "train": 0.5 }, "on_error": "skip" });
    insta::assert_snapshot!(failure(&shop, params), @"None of the 2 images in `HERE/root` could be read; `../x` is outside the folder `HERE/root`");
}

/// However a program writes the list, it is the same data set.
#[test]
fn lists_in_other_dress() {
    let shop = Workshop::new();
    pictures(&shop);
    let absolute = shop.path().join("root/pictures/three.png").display().to_string();
    let plain =
        "image,class,split\npictures/one.png,cat,train\npictures/deep/two.png,dog,test\npictures/three.png,cat,train\n";
    let expected = ["pictures/one.png", "pictures/deep/two.png", "pictures/three.png"];
    let check = |name: &str, list: &[u8]| {
        put(shop.path(), &format!("root/{name}"), list);
        let dataset = json!({ "kind": "list", "file": name });
        let images = images(&shop, json!({ "dataset": dataset, "root": "root" }));
        assert_eq!(images.sources().unwrap(), expected, "{}", String::from_utf8_lossy(list));
        assert_eq!(images.classes().unwrap(), ["cat", "dog", "cat"]);
        assert_eq!(images.splits().unwrap(), [Split::Train, Split::Test, Split::Train]);
    };
    check("list.csv", plain.as_bytes());
    for comma in [";", "\t", "|"] {
        check("list.csv", plain.replace(',', comma).as_bytes());
        check("list.txt", plain.replace(',', comma).as_bytes());
    }
    check("list.tsv", plain.as_bytes());
    check("list.csv", plain.replace("image,class,split", "Image,CLASS, Split").as_bytes());
    check("list.csv", format!("\u{feff}{plain}").as_bytes());
    check("list.csv", plain.replace('\n', "\r\n").as_bytes());
    check("list.csv", plain.replace("pictures/three.png", &absolute).as_bytes());
    check("list.csv", plain.replace("pictures/three.png", "./deep/../pictures/three.png").as_bytes());
    check("list.csv", plain.replace(",train", ",Training ").as_bytes());

    let utf_16: Vec<u8> = [0xff, 0xfe].into_iter().chain(plain.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    put(shop.path(), "root/list.csv", &utf_16);
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": { "kind": "list", "file": "list.csv" }, "root": "root" })),
        @"`HERE/root/list.csv` is not UTF-8 but UTF-16 (byte 0); save it as UTF-8"
    );
}

#[test]
fn outer_blanks_belong_to_names_and_accents_may_be_encoded_in_two_ways() {
    let shop = Workshop::new();
    put(shop.path(), "root/ a.png ", &picture(1, 6, 6));
    put(shop.path(), "root/cafe\u{301}.png", &picture(2, 6, 6));
    put(shop.path(), "root/list.csv", "image,class\n a.png , x\ncaf\u{e9}.png,x\n".as_bytes());
    let split = json!({ "train": 1, "choose": "first" });
    let params = json!({ "dataset": { "kind": "list", "file": "list.csv" }, "root": "root", "split": split });
    let images = images(&shop, params);
    assert_eq!(images.classes().unwrap(), [" x", "x"]);
    assert_eq!(images.sources().unwrap(), [" a.png ", "caf\u{e9}.png"]);
    assert_eq!([0, 1].map(|row| images.pixels().unwrap().of(row).pixels[0]), [1, 2]);
}

fn parquet(shop: &Workshop, columns: Vec<(&str, ArrayRef)>) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let file = fs::File::create(shop.path().join("set.parquet")).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn images_in_parquet_are_binary_or_lists_of_bytes() {
    let shop = Workshop::new();
    let classes: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let cameras: ArrayRef = Arc::new(Float64Array::from(vec![3.0, f64::NAN]));
    let mut lists = ListBuilder::new(UInt8Builder::new());
    for shade in [4, 5] {
        lists.values().append_slice(&picture(shade, 6, 6));
        lists.append(true);
    }
    let params = json!({ "dataset": "parquet", "root": "set.parquet", "split": { "train": 1 } });
    parquet(&shop, vec![("Image", Arc::new(lists.finish())), ("class", classes.clone()), ("camera", cameras)]);
    let images = images(&shop, params.clone());
    assert_eq!([0, 1].map(|row| images.pixels().unwrap().of(row).pixels[0]), [4, 5]);
    assert_eq!(images.cameras().unwrap(), [Some(3), None]);
    parquet(&shop, vec![("image", Arc::new(StringArray::from(vec!["a.png", "b.png"]))), ("class", classes.clone())]);
    insta::assert_snapshot!(failure(&shop, params.clone()), @r#"`HERE/set.parquet` has a column `image` of type Utf8, but the bytes of image files are expected: binary, a list of `u8`, or a struct with such a field `bytes`; if it names image files, use `dataset = { kind = "list", file = … }`"#);
    parquet(&shop, vec![("image", Arc::new(Float64Array::from(vec![1.0, 2.0]))), ("class", classes)]);
    insta::assert_snapshot!(failure(&shop, params.clone()), @"`HERE/set.parquet` has a column `image` of type Float64, but the bytes of image files are expected: binary, a list of `u8`, or a struct with such a field `bytes`; name the column of image bytes as `image` in `dataset`");
    let (no_bytes, no_classes) =
        (BinaryArray::from_iter_values(Vec::<Vec<u8>>::new()), StringArray::from(Vec::<&str>::new()));
    parquet(&shop, vec![("image", Arc::new(no_bytes)), ("class", Arc::new(no_classes))]);
    insta::assert_snapshot!(failure(&shop, params.clone()), @"`HERE/set.parquet` has the columns of a table of images but no rows");
    put(shop.path(), "set.parquet", b"image,class\n");
    insta::assert_snapshot!(failure(&shop, params), @"`HERE/set.parquet` is not a Parquet file");
}

#[test]
fn images_in_parquet_may_be_a_dictionary() {
    let shop = Workshop::new();
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([picture(7, 6, 6), picture(8, 6, 6)]));
    let bytes: ArrayRef = Arc::new(DictionaryArray::new(Int32Array::from(vec![1, 0]), values));
    parquet(&shop, vec![("image", bytes), ("class", Arc::new(StringArray::from(vec!["a", "b"])))]);
    let images = images(&shop, json!({ "dataset": "parquet", "root": "set.parquet", "split": { "train": 1 } }));
    assert_eq!([0, 1].map(|row| images.pixels().unwrap().of(row).pixels[0]), [8, 7]);
}

#[test]
fn parquet_of_every_compression_is_read() {
    use ::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    use ::parquet::file::properties::WriterProperties;

    let shop = Workshop::new();
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values([picture(1, 6, 6), picture(2, 6, 6)]));
    let classes: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let batch = RecordBatch::try_from_iter([("image", bytes), ("class", classes)]).unwrap();
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for codec in codecs {
        let file = fs::File::create(shop.path().join("set.parquet")).unwrap();
        let properties = WriterProperties::builder().set_compression(codec).build();
        let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let images = images(&shop, json!({ "dataset": "parquet", "root": "set.parquet", "split": { "train": 1 } }));
        assert_eq!([0, 1].map(|row| images.pixels().unwrap().of(row).pixels[0]), [1, 2], "{codec:?}");
    }
}

#[test]
fn rows_without_a_value_obey_on_error() {
    let shop = Workshop::new();
    let bytes = [Some(picture(1, 6, 6)), None, Some(picture(3, 6, 6))];
    let bytes: ArrayRef = Arc::new(bytes.iter().map(|bytes| bytes.as_deref()).collect::<BinaryArray>());
    let classes: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("b")]));
    parquet(&shop, vec![("image", bytes.clone()), ("class", classes)]);
    let params = |on_error: &str| {
        let split = json!({ "train": 1, "choose": "first" });
        json!({ "dataset": "parquet", "root": "set.parquet", "split": split, "on_error": on_error })
    };
    insta::assert_snapshot!(failure(&shop, params("fail")), @r#"The image `HERE/set.parquet#1` has no bytes in the column `image`; `on_error = "skip"` leaves out such images and lists them"#);
    assert_eq!(images(&shop, params("skip")).sources().unwrap(), ["set.parquet#0", "set.parquet#2"]);
    let classes: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None]));
    parquet(&shop, vec![("image", bytes.clone()), ("class", Arc::new(Float64Array::from(vec![1.0, 2.0, f64::NAN])))]);
    insta::assert_snapshot!(failure(&shop, params("fail")), @r#"Row 2 of `HERE/set.parquet` has no class; `on_error = "skip"` leaves out such images and lists them"#);
    parquet(&shop, vec![("image", bytes.clone()), ("class", Arc::new(StringArray::from(vec!["a", "b", ""])))]);
    insta::assert_snapshot!(failure(&shop, params("fail")), @r#"Row 2 of `HERE/set.parquet` has no class; `on_error = "skip"` leaves out such images and lists them"#);
    parquet(&shop, vec![("image", bytes), ("class", classes)]);
    insta::assert_snapshot!(failure(&shop, params("fail")), @r#"Row 2 of `HERE/set.parquet` has no class; `on_error = "skip"` leaves out such images and lists them"#);

    pictures(&shop);
    let list =
        "image,class\npictures/one.png,a\npictures/three.png,\n,b\npictures/three.png,b,c\npictures/deep/two.png,b\n";
    put(shop.path(), "root/list.csv", list.as_bytes());
    let split = json!({ "train": 1, "choose": "first" });
    let dataset = json!({ "kind": "list", "file": "list.csv" });
    let params = json!({ "dataset": dataset, "root": "root", "split": split, "on_error": "skip" });
    assert_eq!(images(&shop, params).sources().unwrap(), ["pictures/one.png", "pictures/deep/two.png"]);
}
