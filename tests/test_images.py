"""Reading, checking and writing image files."""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganforge import DataError, GanforgeError
from ganforge.images import (
    check_images,
    fit_images,
    folder_names,
    grid,
    image_endings,
    image_files,
    image_listing,
    image_size,
    image_spec,
    read_image,
    spec_under,
    write_gif,
    write_png,
)
from ganforge.lab import generate
from ganforge.plugin import ImageOptions, ImageSpec, Impossible


def saved(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 6), color=None, **how) -> Path:
    """An image file of one colour; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color if color is not None else 0).save(path, **how)
    return path


def read(path: Path, height: int = 6, width: int = 8, channels: int = 3, fit: str = "cover"):
    return read_image(path, height=height, width=width, channels=channels, fit=fit)


def gradient(width: int, height: int) -> Image.Image:
    """Brighter from left to right; red at the top, blue at the bottom."""
    across = np.linspace(0, 255, width)[None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([255 - down, across, down], -1).astype(np.uint8))


# ---------------------------------------------------------------- folders


def test_files_are_in_natural_order_of_their_relative_paths(tmp_path):
    names = ["b/1.png", "a10.png", "a2.png", "B.PNG", "a/z.jpg", "a02.png"]
    for name in names:
        saved(tmp_path / name)
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert found == ["B.PNG", "a/z.jpg", "a02.png", "a2.png", "a10.png", "b/1.png"]


def test_a_flat_listing_leaves_folders_below_alone(tmp_path):
    saved(tmp_path / "1.png")
    saved(tmp_path / "below" / "2.png")
    assert [path.name for path in image_files(tmp_path, recursive=False)] == ["1.png"]


def test_hidden_files_and_folders_are_no_images(tmp_path):
    saved(tmp_path / "1.png")
    saved(tmp_path / ".thumbnails" / "2.png")
    saved(tmp_path / "__MACOSX" / "3.png")
    (tmp_path / "._1.png").write_bytes(b"resource fork")
    assert [path.name for path in image_files(tmp_path)] == ["1.png"]
    assert folder_names(tmp_path) == []


def test_links_between_folders_do_not_run_in_circles(tmp_path):
    saved(tmp_path / "a" / "1.png")
    try:
        (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "linked").symlink_to(tmp_path / "a", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")
    assert len(image_files(tmp_path)) == 1


def test_what_a_folder_lacks_is_told_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    (tmp_path / "texts" / "b.txt").write_text("b")
    (tmp_path / "texts" / "README").write_text("c")
    file = saved(tmp_path / "one.png")
    saved(tmp_path / "nested" / "inner" / "1.png")
    told = {
        tmp_path / "absent": r"there is no folder .*absent; .* has the folders empty, nested",
        tmp_path / "empty": r"empty is empty: put images into it; images end in \.bmp.* Pillow do",
        tmp_path / "texts": r"holds no images, only 2 \.txt, 1 without an ending: images end in",
        file: r"one\.png is a file, not a folder of images",
    }
    for folder, message in told.items():
        with pytest.raises(DataError, match=message) as caught:
            image_files(folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="holds no images itself, only the folders inner"):
        image_files(tmp_path / "nested", recursive=False)


def test_every_format_that_pillow_reads_as_a_picture_is_taken(tmp_path):
    names = ["a.jpg", "b.jfif", "c.JPE", "d.avif", "e.jp2", "f.tga", "g.webp", "h.ico", "i.pcx"]
    names += ["j.ppm", "k.qoi", "l.sgi", "m.dds", "n.tif", "o.gif", "p.apng", "q.bmp"]
    for name in names:
        saved(tmp_path / name, size=(16, 16), color=(9, 9, 9))
    assert [path.name for path in image_files(tmp_path)] == sorted(names, key=str.lower)
    check_images(image_files(tmp_path))
    for name in ("paper.pdf", "drawing.eps", "figure.ps", "film.mpg", "film.flc", "table.h5"):
        assert name[name.index(".") :] not in image_endings()


def test_pictures_without_an_ending_are_known_by_what_they_hold(tmp_path):
    for name in ("one", "2021.05.07", "Mr. Smith"):
        saved(tmp_path / "x.png").rename(tmp_path / name)
    (tmp_path / "README").write_text("Python code")  # which begins as a format of Pillow may
    for name in ("LICENSE", "png"):
        (tmp_path / name).write_bytes(b"")
    listing = image_listing(tmp_path)
    assert listing.names == ["2021.05.07", "Mr. Smith", "one"]
    assert listing.others == {"without an ending": 3}
    check_images(image_files(tmp_path))


def test_what_is_no_picture_is_counted_by_kind(tmp_path):
    saved(tmp_path / "1.png")
    for name in ("a.txt", "below/b.TXT", "c.mp4", ".DS_Store", "below/._1.png", ".git/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = image_listing(tmp_path)
    assert listing.names == ["1.png"] and set(listing.folders) == {"below"}
    assert listing.others == {".txt": 2, ".mp4": 1, "hidden": 3, "broken link": 1}


# ---------------------------------------------------------------- the numbers of label masks


def mask(path: Path, values: np.ndarray, mode: str) -> Path:
    """A file that holds these numbers."""
    picture = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        picture.putpalette([number * 7 % 256 for number in range(768)])
    elif mode != "I;16":
        picture = picture.convert(mode)
    picture.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "LA", "RGB"])
@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [(40, 60), (5, 7), (11, 13), (64, 30)])
def test_nearest_holds_no_number_that_the_file_does_not_hold(tmp_path, mode, fit, size):
    numbers = np.random.default_rng(0).choice([0, 1, 2, 17, 250], (40, 60))
    path = mask(tmp_path / "mask.png", numbers, mode)
    pixels = read_image(
        path, height=size[0], width=size[1], channels=1, fit=fit, resample="nearest"
    )
    assert pixels.shape == (1, *size)
    assert set(np.unique(pixels)) <= {0, 1, 2, 17, 250}
    if size == (40, 60):
        assert np.array_equal(pixels[0], numbers)
    smooth = read_image(path, height=11, width=13, channels=1, fit=fit)
    assert len(np.unique(smooth)) > 20 or mode == "I;16"


def test_nearest_takes_palettes_as_numbers_unless_colours_are_asked_for(tmp_path):
    numbers = np.arange(6).reshape(2, 3)
    path = mask(tmp_path / "mask.png", numbers, "P")
    assert image_size(path) == (3, 2, 3) and image_size(path, resample="nearest") == (1, 2, 3)
    assert image_spec([path], ImageOptions(), resample="nearest") == ImageSpec(1, 2, 3)
    colours = read_image(path, height=2, width=3, channels=3, resample="nearest")
    assert colours[:, 1, 0].tolist() == [9 * 7, 10 * 7, 11 * 7]


def test_nearest_leaves_transparency_out_and_refuses_numbers_that_bytes_cannot_hold(tmp_path):
    path = saved(tmp_path / "clear.png", "RGBA", color=(3, 4, 5, 0))
    pixels = read_image(path, height=6, width=8, channels=3, resample="nearest")
    assert pixels[:, 0, 0].tolist() == [3, 4, 5]
    path = mask(tmp_path / "deep.png", np.full((4, 4), 4095), "I;16")
    with pytest.raises(DataError, match=r"numbers from 4095 to 4095; .* those from 0 to 255"):
        read_image(path, height=4, width=4, channels=1, resample="nearest")


def test_images_that_are_read_already_are_fitted_without_blending():
    numbers = torch.randint(0, 5, (2, 1, 9, 12), dtype=torch.uint8) * 50
    for fit in ("cover", "contain", "stretch"):
        fitted = fit_images(numbers, 16, 7, fit, "nearest")
        assert fitted.shape == (2, 1, 16, 7) and set(fitted.unique().tolist()) <= {
            *range(0, 250, 50)
        }
    assert torch.equal(fit_images(numbers, 9, 12, "cover", "nearest"), numbers)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_have_the_shape_that_was_asked_for(tmp_path, fit, channels):
    for width, height in [(8, 6), (5, 40), (300, 20), (2, 2)]:
        path = saved(tmp_path / "x.png", size=(width, height))
        pixels = read(path, 48, 80, channels, fit)
        assert pixels.shape == (channels, 48, 80)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous and pixels.flags.writeable


def test_an_image_of_the_right_size_is_read_bit_for_bit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png"), noise.transpose(2, 0, 1))


def test_cover_crops_contain_pads_and_stretch_distorts(tmp_path):
    picture = Image.new("RGB", (30, 10), "white")
    picture.paste("red", (0, 0, 10, 10))  # a red square at the left end
    picture.save(tmp_path / "x.png")
    cover, contain, stretch = (
        read(tmp_path / "x.png", 10, 10, fit=fit) for fit in ("cover", "contain", "stretch")
    )
    assert (cover == 255).all()  # only the white middle
    assert (contain[:, :3] == 0).all() and (contain[:, 7:] == 0).all()
    assert (contain[:, 4:6] > 0).any()
    assert stretch[0, 5, 0] > 250 and stretch[1, 5, 0] < 5  # red at the left
    assert stretch[1, 5, 9] == 255


def test_shrinking_averages_instead_of_picking_pixels(tmp_path):
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    inner = read(tmp_path / "x.png", 32, 32, 1)[0, 4:-4, 4:-4]
    assert np.abs(inner.astype(int) - 128).max() <= 2


def test_a_large_jpeg_is_read_like_the_same_picture_as_png(tmp_path):
    squares = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(squares).resize((400, 300), Image.Resampling.NEAREST)
    picture.save(tmp_path / "x.jpg", quality=95, subsampling=0)
    picture.save(tmp_path / "x.png")
    jpeg, png = (read(tmp_path / name, 48, 64).astype(int) for name in ("x.jpg", "x.png"))
    assert np.abs(jpeg - png).mean() < 2


def test_sixteen_bits_become_eight_by_the_same_rule_for_every_image(tmp_path):
    values = np.array([[0, 257], [128 * 257, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png", 2, 2, 1).tolist() == [[[0, 1], [128, 255]]]
    assert image_size(tmp_path / "x.png") == (1, 2, 2)
    dark = np.full((2, 2), 2570, np.uint16)  # not stretched to white
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert (read(tmp_path / "dark.png", 2, 2, 3) == 10).all()


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "x.tif")
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(tmp_path / "y.tif")
    for name in ("x.tif", "y.tif"):
        with pytest.raises(DataError, match=rf"{name} .*unknown range.*save it again as PNG"):
            read(tmp_path / name)


def test_cmyk_becomes_colour(tmp_path):
    path = saved(tmp_path / "x.jpg", "CMYK", color=(0, 255, 255, 0), quality=100)
    assert image_size(path) == (3, 6, 8)
    red, green, blue = read(path)[:, 3, 4]
    assert red > 240 and green < 15 and blue < 15
    assert read(path, channels=1).shape == (1, 6, 8)


def test_a_palette_becomes_its_colours(tmp_path):
    picture = Image.new("RGB", (8, 6), (200, 10, 30)).quantize(4)
    picture.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as stored:
        assert stored.mode == "P"
    assert read(tmp_path / "x.png")[:, 0, 0].tolist() == [200, 10, 30]


def test_a_bitmap_that_pillow_reads_wrongly_is_refused(tmp_path):
    picture = Image.new("P", (8, 6), 1)
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "x.bmp")
    with Image.open(tmp_path / "x.bmp") as seen:
        assert seen.convert("L").getextrema() != (255, 255)  # though all of it is white
    with pytest.raises(DataError, match="has a palette of greys that Pillow reads wrongly: delete"):
        read(tmp_path / "x.bmp")
    for mode in ("1", "L", "RGB"):
        assert (read(saved(tmp_path / "y.bmp", mode, color="white")) == 255).all()


def test_transparency_is_put_on_white_unless_it_is_asked_for(tmp_path):
    clear = saved(tmp_path / "clear.png", "RGBA", color=(255, 0, 0, 0))
    assert (read(clear) == 255).all()
    assert (read(clear, channels=1) == 255).all()
    assert read(clear, channels=4)[3].max() == 0
    half = saved(tmp_path / "half.png", "RGBA", color=(0, 0, 0, 128))
    assert read(half)[0, 0, 0] == 127
    grey = saved(tmp_path / "grey.png", "LA", color=(0, 0))
    assert (read(grey, channels=1) == 255).all()
    palette = Image.new("P", (8, 6), 0)
    palette.putpalette([9, 9, 9])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert (read(tmp_path / "palette.png") == 255).all()
    assert image_size(clear)[0] == 4 and image_size(grey)[0] == 1


def test_opaque_images_get_a_full_alpha_where_four_channels_are_asked_for(tmp_path):
    assert (read(saved(tmp_path / "x.png"), channels=4)[3] == 255).all()


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_obeyed_by_size_and_pixels(tmp_path, orientation, ending):
    upright = gradient(40, 24)
    undo = {  # how a camera held that way stores the picture
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{ending}"
    (upright.transpose(undo) if undo is not None else upright).save(path, exif=exif)
    assert image_size(path) == (3, 24, 40)
    seen, wanted = read(path, 24, 40).astype(int), np.asarray(upright).transpose(2, 0, 1)
    assert np.abs(seen - wanted).mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_make_an_image_unusable(tmp_path):
    path = saved(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read(path).shape == (3, 6, 8)


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "x.gif")[:, 0, 0].tolist() == [255, 0, 0]


def test_a_very_wide_image_is_read(tmp_path):
    path = saved(tmp_path / "wide.png", size=(30_000, 40), color="red")
    assert image_size(path) == (3, 40, 30_000)
    assert (read(path, 32, 32)[0] == 255).all()


def test_an_image_too_large_to_decode_is_named_and_not_decoded(tmp_path):
    path = tmp_path / "huge.png"
    picture = io.BytesIO()
    Image.new("1", (8, 8)).save(picture, format="PNG")
    raw = bytearray(picture.getvalue())
    raw[16:24] = (30_000).to_bytes(4, "big") * 2  # what the header says
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"huge\.png has more than 178 million pixels: scale it"):
        check_images([path])


# ---------------------------------------------------------------- bad files


def broken(folder: Path) -> dict[str, str]:
    """Bad files in `folder`, and what is said of each."""
    whole = io.BytesIO()
    gradient(64, 64).save(whole, format="JPEG")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:-200])
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, format="PNG")
    (folder / "cut.png").write_bytes(whole.getvalue()[:-200])
    (folder / "text.png").write_text("this is no image")
    (folder / "empty.png").write_bytes(b"")
    saved(folder / "dot.png", size=(1, 1))
    (folder / "folder.png").mkdir()
    return {
        "cut.jpg": "is cut off: delete it or save it again as PNG",
        "cut.png": "is cut off: delete it or save it again as PNG",
        "text.png": "is not a readable image, despite its name",
        "empty.png": "is an empty file: delete it",
        "dot.png": "is 1 x 1 px, too small to be of use: delete it",
        "absent.png": "there is no file",
    }


def test_each_bad_file_is_named_with_what_is_wrong_and_what_to_do(tmp_path):
    for name, message in broken(tmp_path).items():
        with pytest.raises(DataError) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_check_of_headers_tells_all_bad_files_at_once(tmp_path):
    good = saved(tmp_path / "good.png")
    check_images([good] * 3)
    broken(tmp_path)
    bad = [tmp_path / name for name in ("text.png", "empty.png", "dot.png", "absent.png")]
    with pytest.raises(DataError, match=r"4 of 6 images cannot be used: .*text\.png.*and 1 more"):
        check_images([good, *bad, good])
    with pytest.raises(DataError, match=r"^.*dot\.png is 1 x 1 px"):
        check_images([good, tmp_path / "dot.png"])


def test_fitting_read_images_keeps_the_middle_pads_with_black_and_averages():
    square = torch.full((1, 1, 4, 4), 200, dtype=torch.uint8)
    square[..., :2] = 100  # dark left half, bright right half
    contain = fit_images(square, 4, 8, "contain")
    assert contain[0, 0, 1].tolist() == [0, 0, 100, 100, 200, 200, 0, 0]
    assert fit_images(square, 4, 2, "cover")[0, 0, 1].tolist() == [100, 200]
    assert fit_images(square, 4, 2, "stretch").shape == (1, 1, 4, 2)
    stripes = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    stripes[..., ::2] = 255
    assert (fit_images(stripes, 8, 8, "cover")[..., 2:-2].int() - 128).abs().max() <= 2


# ---------------------------------------------------------------- specs


def test_without_a_size_all_images_must_agree(tmp_path):
    paths = [saved(tmp_path / f"{n}.png", size=(8, 6)) for n in range(3)]
    assert image_spec(paths, ImageOptions()) == ImageSpec(3, 6, 8)
    paths.append(saved(tmp_path / "odd.png", size=(9, 6)))
    with pytest.raises(Impossible, match=r"0\.png has 8 x 6 px, .*odd\.png 9 x 6 px") as caught:
        image_spec(paths, ImageOptions())
    assert caught.value.key == "size"
    assert image_spec(paths, ImageOptions(size=(4, 5))) == ImageSpec(3, 4, 5)


def test_images_are_grey_only_if_all_are(tmp_path):
    grey = [saved(tmp_path / f"{n}.png", "L") for n in range(2)]
    colour = saved(tmp_path / "c.png")
    for size in (None, 16):
        assert image_spec(grey, ImageOptions(size=size)).channels == 1
        assert image_spec([*grey, colour], ImageOptions(size=size)).channels == 3
        assert image_spec(grey, ImageOptions(size=size, channels=4)).channels == 4


def test_a_spec_passes_over_broken_files_which_are_told_when_they_are_decoded(tmp_path):
    paths = [tmp_path / "absent.png", saved(tmp_path / "1.png", size=(8, 6))]
    assert image_spec(paths, ImageOptions()) == ImageSpec(3, 6, 8)
    assert image_spec(paths, ImageOptions(size=4)) == ImageSpec(3, 4, 4)
    with pytest.raises(DataError, match="there is no file"):
        image_spec(paths[:1], ImageOptions())


def test_a_crop_must_fit_into_what_is_loaded():
    spec = spec_under(ImageOptions(size=256, load=286), channels=3, height=9, width=9)
    assert spec == ImageSpec(3, 256, 256)
    with pytest.raises(Impossible, match="`load` is 64 x 64, less than the 64 x 80") as caught:
        spec_under(ImageOptions(size=(64, 80), load=64), channels=3, height=9, width=9)
    assert caught.value.key == "load"
    with pytest.raises(Impossible, match=r"1 \(grey\), 3 \(colour\) or 4"):
        spec_under(ImageOptions(channels=2), channels=3, height=9, width=9)


# ---------------------------------------------------------------- writing


def test_a_sheet_shows_each_value_as_it_is():
    images = torch.tensor([-1.0, 1.0, 0.0, 0.5, 7.0])[:, None, None, None].expand(5, 3, 2, 2)
    sheet = grid(images, 3)
    assert sheet.shape == (2 + 2 + 2, 3 * 2 + 2 * 2, 3)
    assert sheet[0, 0, 0] == 0 and sheet[0, 4, 0] == 255 and sheet[0, 8, 0] == 128
    assert sheet[4, 0, 0] == 191 and sheet[4, 4, 0] == 255
    assert (sheet[:, 2:4] == 255).all() and (sheet[2:4] == 255).all()  # between the tiles
    assert (sheet[4:, 8:] == 255).all()  # a place without an image
    assert grid(images[:1], 3).shape == (2, 2, 3)
    assert grid(images[:, :1], 5).shape == (2, 18)


def test_bytes_survive_the_way_to_floats_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert np.array_equal(grid(pixels / 127.5 - 1, 1), pixels[0, 0].numpy())


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "x.png"
    write_png(path, np.full((4, 4, 3), 7, np.uint8))
    with Image.open(path) as written:
        assert (np.asarray(written) == 7).all()
    before = path.read_bytes()

    def no_space(self, part, **how):
        Path(part).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", no_space)
    with pytest.raises(GanforgeError, match=r"cannot write .*x\.png: No space left on device"):
        write_png(path, np.zeros((4, 4), np.uint8))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["x.png"]


def test_an_animation_holds_every_frame(tmp_path):
    frames = [np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)]
    write_gif(tmp_path / "x.gif", iter(frames), 120)
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 3
        assert animation.info["duration"] == 120 and animation.info["loop"] == 0
        animation.seek(2)
        assert np.asarray(animation.convert("RGB")).mean() == 200
    with pytest.raises(ValueError, match="at least one frame"):
        write_gif(tmp_path / "y.gif", [], 120)


def test_looking_at_images_needs_no_torch(tmp_path):
    path = saved(tmp_path / "x.png")
    code = (
        "import sys; from pathlib import Path; from ganforge import images;"
        "light = not {'torch', 'numpy', 'PIL'} & set(sys.modules);"
        f"images.check_images(images.image_files(Path({str(path.parent)!r})));"
        "sys.exit(not (light and 'torch' not in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sheet_shows_any_number_of_channels_side_by_side():
    six = torch.linspace(-1, 1, 2 * 6 * 2 * 3).view(2, 6, 2, 3)
    sheet = grid(six, 1)
    assert sheet.shape == (2 + 2 + 2, 6, 3)
    assert np.array_equal(sheet[:2, :3], grid(six[:1, :3], 1))
    assert np.array_equal(sheet[4:, 3:], grid(six[1:, 3:], 1))
    five = six[:, :5]
    sheet = grid(five, 2)
    assert sheet.shape == (2, 15 + 2 + 15)
    for channel in range(5):
        tile = sheet[:, 17 + 3 * channel : 20 + 3 * channel]
        assert np.array_equal(tile, grid(five[1:, channel : channel + 1], 1))
    for images in (six, five):
        exported = generate.grid(images, 2).numpy()
        assert np.array_equal(exported.squeeze(), grid(images, 2))
