//! SVG to PNG with the embedded font, so that a picture is the same on every machine.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::canvas::ChartError;
use super::spec::plain::PictureSize;

/// The picture as PNG.
///
/// # Errors
/// The text is no SVG, or the picture too large for memory.
pub fn png(svg: &str, size: PictureSize) -> Result<Vec<u8>, ChartError> {
    rasterised(&tree(svg)?, size)
}

fn tree(svg: &str) -> Result<Tree, ChartError> {
    let options = Options { fontdb: fonts(), font_family: "DejaVu Sans".to_owned(), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|error| ChartError(error.to_string()))
}

fn rasterised(tree: &Tree, PictureSize { width, dpi }: PictureSize) -> Result<Vec<u8>, ChartError> {
    #[allow(clippy::cast_precision_loss, reason = "a picture has some thousand dots")]
    let scale = width as f32 / tree.size().width();
    let size =
        tree.size().to_int_size().scale_by(scale).ok_or_else(|| ChartError("the picture has no size".to_owned()))?;
    let mut pixels = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| ChartError(format!("a picture of {} × {} is too large", size.width(), size.height())))?;
    resvg::render(tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    encoded(&pixels, dpi).map_err(|error| ChartError(error.to_string()))
}

/// The pixels as PNG. Pictures have a background, so they need no opacity; and they are flat, so the fastest way of packing
/// them is good enough: it takes a tenth of the time.
fn encoded(pixels: &Pixmap, dpi: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let per_metre = dpi * 10_000 / 254;
    encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit: png::Unit::Meter }));
    let colours: Vec<u8> = pixels.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(bytes)
}

fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.load_font_data(dejavu::sans::bold().to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Arc::new(fonts)
    });
    Arc::clone(fonts)
}
