//! Batches from small tables.

use dnc_tables::Split;
use dnc_tables::images::{ImageRow, ImagesWriter};
use dnc_tables::pixels::PixelsWriter;
use dnc_tables::views::{Region, View, ViewRow, ViewsWriter};

use super::*;
use crate::ArtifactKind;
use crate::api::InputArtifact;
use crate::testing::{Workshop, on_threads};

const SIZE: (u16, u16) = (24, 30);

/// Six images, each of a uniform grey level: 10 times its id.
fn images(shop: &Workshop) -> InputArtifact {
    let written = shop.write(ArtifactKind::Images, |output| {
        let mut writer = ImagesWriter::new(output);
        for id in 0..6 {
            let (height, width) = if id == 5 { (16, 16) } else { SIZE };
            let pixels = vec![id * 10; usize::from(height) * usize::from(width) * 3];
            let (split, class, source) = (Split::Train, "a", "a.png");
            writer.push(&ImageRow { label: 0, class, split, camera: None, source, height, width, pixels: &pixels })?;
        }
        writer.finish(output)
    });
    written.unwrap().0
}

/// Two views of each image but the last: the second crops beyond the small image.
fn views(shop: &Workshop) -> InputArtifact {
    let written = shop.write(ArtifactKind::Views, |output| {
        let mut writer = ViewsWriter::create(output)?;
        for id in 0..6 {
            let crops = [(0, 0, 10, 12), (4, 10, 20, 20)];
            let rows = crops.into_iter().zip(0..).map(|((top, left, height, width), view)| {
                let aberration = (view == 1).then_some(0.05);
                let draws = View { aberration, ..View::of(Region { top, left, height, width }) };
                ViewRow { id, view, draws }
            });
            writer.push(&rows.collect::<Vec<_>>())?;
        }
        writer.finish(output)
    });
    written.unwrap().0
}

fn preprocessing() -> Preprocessing {
    Preprocessing { resize: 20, crop: 16, mean: [1.0, 2.0, 3.0], std: [2.0, 4.0, 5.0], ..Preprocessing::IMAGENET }
}

#[test]
fn a_batch_is_normalised_for_the_backbone() {
    let shop = Workshop::new();
    let images = Images::open(&images(&shop)).unwrap();
    let check = |preprocessing: Preprocessing, expected: [f32; 3]| {
        let loader = Loader::new(&images, None, preprocessing).unwrap();
        let request = Request { ids: vec![2, 5, 1], variant: ImageVariant::Evaluation };
        let tensor = loader.tensor(&request, &Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [3, 16, 16, 3]);
        let values = loader.batch(&request).unwrap();
        assert_eq!(values[..3], expected);
        // The backbone's own normalisation is the reference.
        let raw: Vec<u8> = [20_u8, 50, 10].into_iter().flat_map(|shade| vec![shade; 16 * 16 * 3]).collect();
        let mut defined = vec![0.0; raw.len()];
        preprocessing.normalise(&raw, &mut defined);
        assert_eq!(values, defined);
    };
    check(preprocessing(), [9.5, 4.5, 3.4]);
    check(Preprocessing { channels: ChannelOrder::Bgr, ..preprocessing() }, [9.5, 4.5, 3.4]);
}

#[test]
fn batches_come_in_order_and_do_not_depend_on_threads() {
    let shop = Workshop::new();
    let (images, views) = (Images::open(&images(&shop)).unwrap(), Views::open(&views(&shop)).unwrap());
    let loader = Loader::new(&images, Some(&views), preprocessing()).unwrap();
    let requests: Vec<Request> = (0..9_u32)
        .map(|n| Request {
            ids: vec![n % 5, (n + 2) % 5, 0],
            variant: [ImageVariant::Evaluation, ImageVariant::View(n.into())][n as usize % 2],
        })
        .collect();
    let expected: Vec<Vec<f32>> = requests.iter().map(|request| loader.batch(request).unwrap()).collect();
    for threads in [1, 4] {
        let found = on_threads(threads, || {
            let mut found = Vec::new();
            let body = |request: &Request, batch: Tensor| {
                found.push((request.clone(), batch.flatten_all().unwrap().to_vec1::<f32>().unwrap()));
                Ok(())
            };
            loader.each(requests.clone(), &Device::Cpu, body).unwrap();
            found
        });
        let (asked, batches): (Vec<Request>, Vec<Vec<f32>>) = found.into_iter().unzip();
        assert_eq!((asked, batches), (requests.clone(), expected.clone()));
    }
}

#[test]
fn impossible_batches_are_refused() {
    let shop = Workshop::new();
    let (images, views) = (Images::open(&images(&shop)).unwrap(), Views::open(&views(&shop)).unwrap());
    let loader = Loader::new(&images, Some(&views), preprocessing()).unwrap();
    let check = |id, variant, expected: &str| {
        let error = loader.batch(&Request { ids: vec![0, id], variant }).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(6, ImageVariant::Evaluation, "There is no image with the id 6");
    check(
        5,
        ImageVariant::View(1),
        "A view of image 5 crops 20 × 20 pixels at (10, 4), but the image is 16 × 16; were the views made from other images?",
    );
    let error = Loader::new(&images, None, preprocessing())
        .unwrap()
        .batch(&Request { ids: vec![0], variant: ImageVariant::View(0) });
    assert_eq!(error.unwrap_err().to_string(), "Augmented images are requested, but no views are connected");
    let error = Loader::new(&images, None, Preprocessing { crop: 30, ..preprocessing() }).err().unwrap();
    assert_eq!(
        error.to_string(),
        "The crop of 30 pixels must be between 1 and the size of the resized image, 20 pixels"
    );
}

#[test]
fn materialised_views_are_copied() {
    let shop = Workshop::new();
    let images = Images::open(&images(&shop)).unwrap();
    let made = |number: u32, side: usize| {
        shop.write(ArtifactKind::Views, |output| {
            let mut writer = ViewsWriter::create(output)?;
            let mut pixels = PixelsWriter::new(output, ArtifactKind::Views);
            for id in 0..number {
                let crop = Region { top: 0, left: 0, height: 10, width: 10 };
                writer.push(&[0, 1].map(|view| ViewRow { id, view, draws: View::of(crop) }))?;
                for view in 0..2 {
                    pixels.push(&vec![100 + 2 * id as u8 + view; side * side * 3], [id as u8 * 2 + view; 32])?;
                }
            }
            writer.finish(output)?;
            pixels.finish(output)
        })
    };
    let views = Views::open(&made(3, 16).unwrap().0).unwrap();
    let loader = Loader::new(&images, Some(&views), preprocessing()).unwrap();
    let mut pixels = vec![0; 16 * 16 * 3];
    loader.image(2, ImageVariant::View(3), &mut pixels).unwrap();
    assert_eq!(pixels, [105; 16 * 16 * 3]);
    let others = Views::open(&made(3, 12).unwrap().0).unwrap();
    let loader = Loader::new(&images, Some(&others), preprocessing()).unwrap();
    insta::assert_snapshot!(
        loader.image(1, ImageVariant::View(0), &mut pixels).unwrap_err(),
        @"The views of image 1 were materialised for a backbone that takes 12 × 12 pixels, but this one takes 16 × 16"
    );
}
