//! The part of a picture that is searched for.

use std::fmt;
use std::str::FromStr;

use dnc_stages::tables::pictures::Raster;

/// A part of a picture: left, top, width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop(pub [usize; 4]);

impl FromStr for Crop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        numbers.map(Self).ok_or_else(|| "four whole numbers are expected, as in `10,20,64,64`".to_owned())
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, width, height] = self.0;
        write!(formatter, "{x},{y},{width},{height}")
    }
}

impl Crop {
    /// This part of `picture`; `None` if it is not within the picture.
    pub fn of(self, picture: &Raster) -> Option<Raster> {
        let Self([x, y, width, height]) = self;
        let is_inside = |from: usize, length: usize, whole: usize| {
            length > 0 && from.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !is_inside(x, width, picture.width) || !is_inside(y, height, picture.height) {
            return None;
        }
        let row = |row: usize| &picture.pixels[((y + row) * picture.width + x) * 3..][..width * 3];
        Some(Raster { height, width, pixels: (0..height).flat_map(row).copied().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_out_and_nothing_beyond_the_edge() {
        let picture = Raster { height: 3, width: 4, pixels: (0..36).collect() };
        let crop = |text: &str| text.parse::<Crop>().unwrap().of(&picture);
        let part = crop("1, 1,2,2").unwrap();
        assert_eq!((part.width, part.height), (2, 2));
        assert_eq!(part.pixels, [15, 16, 17, 18, 19, 20, 27, 28, 29, 30, 31, 32]);
        assert_eq!(crop("0,0,4,3").unwrap().pixels, picture.pixels);
        for outside in ["0,0,5,1", "4,0,1,1", "0,0,0,1", "0,3,1,1", "0,18446744073709551615,1,2"] {
            assert!(crop(outside).is_none(), "{outside}");
        }
        for text in ["", "1,2,3", "1,2,3,-4", "1,2,3,4,5", "a,b,c,d"] {
            assert!(text.parse::<Crop>().is_err(), "{text}");
        }
        assert_eq!("1,2,3,4".parse::<Crop>().unwrap().to_string(), "1,2,3,4");
    }
}
