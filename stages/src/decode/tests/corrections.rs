//! Corrected labels.

use dnc_tables::images::Images;
use serde_json::json;

use super::{failure, folders, images, put, stage};
use crate::testing::Workshop;

/// A corrected image has the class of its new neighbours, also a new one; an image of no class is left out.
#[test]
fn labels_are_corrected() {
    let shop = Workshop::new();
    folders(&shop);
    let params = |corrections: Option<&str>| {
        let mut params = json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5, "choose": "first" } });
        if let Some(file) = corrections {
            params["corrections"] = file.into();
        }
        params
    };
    put(shop.path(), "labels.csv", b"source,class,was,id\na/0.png,b,a,0\na/1.png,,a,1\nd/2.png,\"new, class\",d,11\n");
    let before = images(&shop, params(None));
    let after = images(&shop, params(Some("labels.csv")));
    let rows = |images: &Images| -> Vec<(String, String)> {
        let (sources, classes) = (images.sources().unwrap(), images.classes().unwrap());
        sources.into_iter().zip(classes).map(|(source, class)| (source.to_owned(), class.to_owned())).collect()
    };
    let expected = rows(&before).into_iter().filter_map(|(source, class)| match source.as_str() {
        "a/0.png" => Some((source, "b".to_owned())),
        "a/1.png" => None,
        "d/2.png" => Some((source, "new, class".to_owned())),
        _ => Some((source, class)),
    });
    assert_eq!(rows(&after), expected.collect::<Vec<_>>());
    put(shop.path(), "labels.csv", b"source,class\nb/0.png,b\nz/9.png,a\n");
    insta::assert_snapshot!(failure(&shop, params(Some("labels.csv"))), @"Row 2 of `HERE/labels.csv` corrects `z/9.png`, which is not among the images of the data set; remove the row, or name the image as the column `source` of the table of images does");
    let absent = serde_json::to_value(stage(params(None))).unwrap();
    assert!(absent.get("corrections").is_none(), "the key is that of a version without corrections");
}
