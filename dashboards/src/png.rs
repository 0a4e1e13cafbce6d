//! SVG as PNG, with the fonts of Debian's package `fonts-dejavu-core`.
//!
//! The files have 256 colours, a third of the size that all would need: the most frequent ones, and of others, which are at
//! the edges of letters and lines, the nearest of those.

use std::collections::HashMap;
use std::path::Path;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// The font of the pictures.
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A file could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// The system's words, and what to do.
        why: String,
    },
    /// The SVG is wrong, or too large.
    #[error("the SVG cannot be drawn: {0}")]
    Svg(String),
}

/// Draws an SVG into a PNG file.
///
/// # Errors
/// When the font is not installed, the SVG is wrong, or the file cannot be written.
pub fn write(svg: &str, path: &Path) -> Result<(), PictureError> {
    let mut options = Options::default();
    let font = std::fs::read(FONT).map_err(|error| PictureError::File {
        path: FONT.to_owned(),
        why: format!("{error}: install Debian's package fonts-dejavu-core"),
    })?;
    options.fontdb_mut().load_font_data(font);
    let wrong = |why: String| PictureError::Svg(why);
    let tree = Tree::from_str(svg, &options).map_err(|error| wrong(error.to_string()))?;
    let size = tree.size().to_int_size();
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| wrong("it has no size".to_owned()))?;
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    let failed = |why: String| PictureError::File { path: path.display().to_string(), why };
    let bytes = encoded(&pixels).map_err(|error| failed(error.to_string()))?;
    std::fs::write(path, bytes).map_err(|error| failed(error.to_string()))
}

type Rgb = [u8; 3];

fn encoded(pixels: &Pixmap) -> Result<Vec<u8>, png::EncodingError> {
    // The background covers everything, so that no pixel is transparent.
    let colours: Vec<Rgb> = pixels.pixels().iter().map(|at| [at.red(), at.green(), at.blue()]).collect();
    let (palette, indices) = indexed(&colours);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Best);
    encoder.set_palette(palette.concat());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&indices)?;
    writer.finish()?;
    Ok(bytes)
}

/// The most frequent colours, and for each pixel which of them is nearest.
fn indexed(colours: &[Rgb]) -> (Vec<Rgb>, Vec<u8>) {
    let mut counts: HashMap<Rgb, usize> = HashMap::new();
    for colour in colours {
        *counts.entry(*colour).or_default() += 1;
    }
    let mut palette: Vec<Rgb> = counts.keys().copied().collect();
    palette.sort_by_key(|colour| (std::cmp::Reverse(counts[colour]), *colour));
    palette.truncate(256);
    let distance = |one: &Rgb, other: &Rgb| -> u32 {
        one.iter().zip(other).map(|(one, other)| u32::from(one.abs_diff(*other)).pow(2)).sum()
    };
    let nearest = |colour: &Rgb| {
        let by_distance = (0_u8..=255).zip(&palette).min_by_key(|(_, known)| distance(colour, known));
        by_distance.map_or(0, |(index, _)| index)
    };
    let places: HashMap<Rgb, u8> = counts.keys().map(|colour| (*colour, nearest(colour))).collect();
    let indices = colours.iter().map(|colour| places[colour]).collect();
    (palette, indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_colours_become_the_nearest_of_the_frequent_ones() {
        let frequent = (0..=255_u8).flat_map(|grey| [[grey; 3]; 2]);
        let colours: Vec<Rgb> = frequent.chain([[7, 8, 8]]).collect();
        let (palette, indices) = indexed(&colours);
        assert_eq!(palette.len(), 256);
        for (colour, index) in colours.iter().zip(&indices).take(512) {
            assert_eq!(palette[usize::from(*index)], *colour);
        }
        assert_eq!(palette[usize::from(indices[512])], [8; 3]);
    }
}
