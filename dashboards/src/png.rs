//! SVG as PNG, with the fonts of Debian's package `fonts-dejavu-core`.

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
    pixels.save_png(path).map_err(|error| failed(error.to_string()))
}
