//! Images written and read, alone and as another program may write them.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::*;
use crate::artifact::{Columns, InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, TableWriter, batch};
use crate::kind::ArtifactKind;
use crate::split::Split;
use crate::table::Table;
use crate::testing::{Written, artifact, written};
use crate::{facets_of_folder, pixels};

/// Writes `count` grey images of `side × side` pixels; `class` names the class of each.
fn write(
    output: &mut OutputArtifact,
    count: usize,
    side: u16,
    class: impl Fn(usize) -> String,
) -> Result<(), TableError> {
    let mut writer = ImagesWriter::new(output);
    for number in 0..count {
        let pixels = vec![number as u8; usize::from(side).pow(2) * 3];
        let row = ImageRow {
            label: number as u32 % 3,
            class: &class(number % 3),
            split: Split::ALL[number % 2],
            camera: (number % 2 == 0).then_some(7),
            source: &format!("{number}.png"),
            height: side,
            width: side,
            pixels: &pixels,
        };
        assert_eq!(writer.push(&row)?, number as u32);
    }
    writer.finish(output)
}

fn declaring(artifact: &InputArtifact, columns: &[&str]) -> InputArtifact {
    let columns = Columns::Named(columns.iter().map(|&column| column.to_owned()).collect());
    InputArtifact { columns, ..artifact.clone() }
}

#[test]
fn what_is_written_is_read_across_parts() {
    // At 5.3 MB per image, a part holds at most six.
    let names = |n: usize| format!("class {n}");
    let Written { input, .. } = &written(ArtifactKind::Images, |output| write(output, 8, 1330, names)).unwrap();
    let files: Vec<_> = input.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(files[..3], ["images.arrow", "pixels-00000.arrow", "pixels-00001.arrow"]);
    let images = Images::open(input).unwrap();
    assert_eq!(images.ids().unwrap(), (0..8).collect::<Vec<_>>());
    assert_eq!(images.labels().unwrap(), [0, 1, 2, 0, 1, 2, 0, 1]);
    assert_eq!(images.classes().unwrap()[5], "class 2");
    assert_eq!(images.splits().unwrap()[..2], [Split::Train, Split::Validation]);
    assert_eq!(images.cameras().unwrap()[..2], [Some(7), None]);
    assert_eq!(images.sources().unwrap()[7], "7.png");
    let pixels = images.pixels().unwrap();
    for row in 0..8 {
        let picture = pixels.of(row);
        assert_eq!((picture.height, picture.width), (1330, 1330));
        assert!(picture.pixels.iter().all(|&value| value == row as u8));
    }
}

/// Another program may write all columns into one file.
#[test]
fn pixels_among_the_other_columns_are_the_same_images() {
    let names = |n: usize| n.to_string();
    let Written { input, output, .. } = &written(ArtifactKind::Images, |output| write(output, 5, 4, names)).unwrap();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (file, schema) in input.files.iter().zip([schema(), pixels::schema(ArtifactKind::Images)]) {
        let rows = Table::read_file(&file.path, schema.clone()).unwrap();
        for field in schema.columns.fields() {
            fields.push(field.clone());
            columns.push(rows.array(field.name()).unwrap().clone());
        }
    }
    let (folder, schema) = (tempfile::tempdir().unwrap(), Arc::new(Schema::new(fields)));
    let mut writer = TableWriter::create(&folder.path().join("images.parquet"), Form::Parquet, &schema).unwrap();
    writer.write(&batch(&schema, columns).unwrap()).unwrap();
    writer.finish().unwrap();
    let (ours, theirs) = (Images::open(input).unwrap(), Images::open(&artifact(ArtifactKind::Images, folder.path())));
    let (ours, theirs) = (ours.pixels().unwrap(), theirs.unwrap());
    assert!((0..5).all(|row| ours.of(row) == theirs.pixels().unwrap().of(row)));
    assert_eq!(facets_of_folder(ArtifactKind::Images, folder.path()).unwrap(), output.facets);
    assert_eq!(facets_of_folder(ArtifactKind::Images, &output.folder).unwrap(), output.facets);
}

#[test]
fn rows_and_pixels_must_be_equally_many() {
    let write = |count| move |output: &mut OutputArtifact| write(output, count, 4, |n| n.to_string());
    let mut five = written(ArtifactKind::Images, write(5)).unwrap();
    let four = written(ArtifactKind::Images, write(4)).unwrap();
    five.input.files[1] = four.input.files[1].clone();
    insta::assert_snapshot!(
        Images::open(&five.input).err().unwrap(),
        @"The artifact `images` (images) has 5 rows in `images` but 4 in `pixels`"
    );
}

#[test]
fn a_renamed_class_changes_one_facet() {
    let facets = |class: fn(usize) -> String| {
        written(ArtifactKind::Images, |output| write(output, 5, 4, class)).unwrap().output.facets
    };
    let (before, after) = (facets(|n| format!("a{n}")), facets(|n| format!("b{n}")));
    let changed: Vec<_> = before.keys().filter(|key| before[*key] != after[*key]).collect();
    assert_eq!(changed, ["class"]);
    assert_eq!(before.len(), 9);
}

#[test]
fn an_undeclared_column_cannot_be_read() {
    let Written { input, .. } =
        &written(ArtifactKind::Images, |output| write(output, 3, 2, |n| n.to_string())).unwrap();
    let images = Images::open(&declaring(input, &["id", "label"])).unwrap();
    assert_eq!(images.labels().unwrap(), [0, 1, 2]);
    insta::assert_snapshot!(
        images.classes().unwrap_err(),
        @"The stage read the column `class` of the images without declaring it (a defect of the stage; please report it)"
    );
    assert!(matches!(images.pixels(), Err(TableError::Undeclared { .. })));
}

#[test]
fn pixels_must_have_the_size_of_the_image() {
    let refused = written(ArtifactKind::Images, |output| {
        let mut writer = ImagesWriter::new(output);
        let (split, pixels) = (Split::Test, [0; 11]);
        writer.push(&ImageRow {
            label: 0,
            class: "a",
            split,
            camera: None,
            source: "a.png",
            height: 2,
            width: 2,
            pixels: &pixels,
        })?;
        Ok(())
    });
    insta::assert_snapshot!(refused.err().unwrap(), @"The image `a.png` has 11 bytes instead of 12");
}
