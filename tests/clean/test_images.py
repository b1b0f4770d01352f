"""Every format a page may carry becomes one plain sRGB JPEG, or a reason."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from mmcore.clean.header import Header, Refused, open_image
from mmcore.clean.images import Normalized, normalize, target_size
from mmcore.clean.policy import PixelPolicy
from tests.clean.helpers import encode, picture


def _load(data: bytes, **policy: Any) -> Normalized:
    image, header = open_image(data)
    return normalize(data, image, header, PixelPolicy(**policy))


def _header(data: bytes) -> Header:
    return open_image(data)[1]


def _reason(data: bytes, **policy: int) -> str:
    with pytest.raises(Refused) as refused:
        _load(data, **policy)
    return refused.value.reason


def _colour(image: Normalized, x: float, y: float) -> tuple[int, ...]:
    pixels = Image.open(io.BytesIO(image.encoded))
    at = (int(x * (pixels.width - 1)), int(y * (pixels.height - 1)))
    value = pixels.getpixel(at)
    assert isinstance(value, tuple)
    return value


def _near(found: tuple[int, ...], wanted: tuple[int, int, int], slack: int = 8) -> bool:
    return len(found) == 3 and all(abs(a - b) <= slack for a, b in zip(found, wanted, strict=True))


def _halves(left: str, right: str, size: tuple[int, int] = (120, 80)) -> Image.Image:
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def _png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and then holds rubbish where pixels should be."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", b"rubbish")
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_formats_of_the_web_are_read_whatever_they_are_called(kind: str) -> None:
    data = encode(picture(1, (200, 100)), kind)
    image = _load(data)
    assert _header(data) == Header(kind, 200, 100, False)
    assert (image.width, image.height) == (200, 100)
    stored = Image.open(io.BytesIO(image.encoded))
    assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", (200, 100))


def test_a_bomb_is_refused_from_its_header_without_decoding() -> None:
    # Decoding would fail on the rubbish: the reason shows that nobody tried.
    assert _reason(_png_header(100_000, 100_000)) == "too_many_pixels"
    assert _reason(_png_header(100, 100)) == "decode_error"


def test_the_pixel_budget_counts_pixels_not_sides() -> None:
    data = encode(picture(2, (120, 100)))
    assert _reason(data, max_pixels=11_999) == "too_many_pixels"
    assert _load(data, max_pixels=12_000).width == 120


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_an_image_cut_short_is_truncated(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    assert _reason(data[: int(len(data) * share)]) == "truncated"


def test_a_page_sent_as_an_image_is_not_an_image() -> None:
    assert _reason(b"<!doctype html><title>404</title>") == "not_an_image"
    assert _reason(b"BMW is a maker of cars") == "not_an_image"
    assert _reason(b"") == "not_an_image"


def test_garbage_behind_a_good_header_is_a_decode_error() -> None:
    data = bytearray(encode(picture(3)))
    data[60:400] = b"\x00" * 340
    assert _reason(bytes(data)) == "decode_error"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.new("RGB", (80, 60), "white")
    upright.paste("red", (0, 0, 40, 30))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL transpositions that reverse each
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = _load(encode(stored, "JPEG", quality=95, exif=exif))
    assert (image.width, image.height) == (80, 60)
    assert _near(_colour(image, 0.2, 0.2), (254, 0, 0), 20)
    assert _near(_colour(image, 0.8, 0.8), (255, 255, 255), 20)


def test_no_metadata_survives() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET maker"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(picture(4), "JPEG", exif=exif, comment=b"SECRET comment", icc_profile=profile)
    stored = Image.open(io.BytesIO(_load(data).encoded))
    assert set(stored.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"SECRET" not in _load(data).encoded

    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "SECRET author")
    assert b"SECRET" not in _load(encode(picture(4), "PNG", pnginfo=text)).encoded


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (50, 0, 100, 100))
    for kind in ("PNG", "WEBP"):
        loaded = _load(encode(image, kind))
        assert _near(_colour(loaded, 0.1, 0.5), (255, 255, 255))
        assert _near(_colour(loaded, 0.9, 0.5), (0, 0, 254))


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = _halves("#00ff00", "blue").quantize(2)
    green = image.getpixel((0, 0))
    loaded = _load(encode(image, "PNG", transparency=green))
    assert _near(_colour(loaded, 0.1, 0.5), (255, 255, 255))
    assert _near(_colour(loaded, 0.9, 0.5), (0, 0, 254))


def test_palettes_keep_their_colours() -> None:
    loaded = _load(encode(_halves("red", "blue").convert("P"), "GIF"))
    assert _near(_colour(loaded, 0.1, 0.5), (254, 0, 0))
    assert _near(_colour(loaded, 0.9, 0.5), (0, 0, 254))


def test_grey_and_bilevel_become_rgb() -> None:
    for mode in ("L", "1"):
        loaded = _load(encode(_halves("black", "white").convert(mode), "PNG"))
        assert _near(_colour(loaded, 0.1, 0.5), (0, 0, 0))
        assert _near(_colour(loaded, 0.9, 0.5), (255, 255, 255))


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    values = np.full((60, 60), 0x4000, dtype=np.uint16)
    values[:, 30:] = 0xC000
    loaded = _load(encode(Image.fromarray(values), "PNG"))
    assert _near(_colour(loaded, 0.1, 0.5), (0x40,) * 3)
    assert _near(_colour(loaded, 0.9, 0.5), (0xC0,) * 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_a_png_has_the_pixels_that_it_was_written_with(mode: str) -> None:
    rng = np.random.default_rng(7)
    image = Image.fromarray(rng.integers(0, 256, (50, 70, 4), dtype=np.uint8)).convert(mode)
    shown = Image.new("RGBA", image.size, "white")
    grey = Image.fromarray(np.asarray(image) >> 8) if mode == "I;16" else image
    shown.alpha_composite(grey.convert("RGBA"))
    found = np.asarray(_load(encode(image, "PNG")).pixels, np.int16)
    slack = 1 if mode in ("RGBA", "LA") else 0  # rounded twice where alpha is
    assert np.abs(found - np.asarray(shown.convert("RGB"), np.int16)).max() <= slack


def test_a_colour_key_and_an_orientation_in_a_png_are_applied() -> None:
    image = _halves("#00ff00", "blue")
    keyed = _load(encode(image, "PNG", transparency=(0, 255, 0)))
    assert _near(_colour(keyed, 0.1, 0.5), (255, 255, 255))
    assert _near(_colour(keyed, 0.9, 0.5), (0, 0, 254))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = _load(encode(image, "PNG", exif=exif))
    assert (turned.width, turned.height) == (80, 120)
    assert _near(_colour(turned, 0.5, 0.1), (0, 255, 0))


def test_a_png_with_a_damaged_byte_is_a_decode_error() -> None:
    data = bytearray(encode(picture(3, (200, 200))))
    data[len(data) // 2] ^= 0xFF
    assert _reason(bytes(data)) == "decode_error"


def test_shrinking_lets_no_hidden_colour_shine_through() -> None:
    # Transparent pixels are black below; a cut-out of white on white must stay white.
    alpha = np.asarray(picture(8, (900, 700)).convert("L"))
    image = np.zeros((700, 900, 4), np.uint8)
    image[..., 3] = alpha
    image[alpha > 0, :3] = 255
    loaded = _load(encode(Image.fromarray(image), "PNG"))
    assert loaded.pixels.shape == (256, 329, 3)
    assert loaded.pixels.min() >= 253


def test_cmyk_jpegs_are_not_inverted() -> None:
    loaded = _load(encode(_halves("red", "white").convert("CMYK"), "JPEG", quality=95))
    assert _near(_colour(loaded, 0.1, 0.5), (254, 0, 0), 12)
    assert _near(_colour(loaded, 0.9, 0.5), (255, 255, 255), 12)


def test_an_embedded_profile_is_converted_to_srgb_and_a_broken_one_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = Image.new("RGB", (64, 64), (128, 64, 32))
    for profile in (lab, b"no profile at all"):
        loaded = _load(encode(grey, "PNG", icc_profile=profile))
        assert _near(_colour(loaded, 0.5, 0.5), (128, 64, 32))


def test_the_first_frame_of_an_animation_stands_for_it() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert _header(data).animated
        assert _near(_colour(_load(data), 0.5, 0.5), (254, 0, 0), 12)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1024, 512), (512, 256)),
        ((512, 1024), (256, 512)),
        ((100, 80), (100, 80)),
        ((256, 300), (256, 300)),
        ((20_000, 10), (1024, 1)),
    ],
)
def test_images_are_shrunk_to_policy_and_never_enlarged(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert target_size(*size, PixelPolicy()) == wanted


def test_small_images_are_enlarged_only_where_that_is_asked_for() -> None:
    policy = PixelPolicy(enlarge=True)
    assert target_size(100, 80, policy) == (320, 256)
    assert target_size(1000, 40, policy) == (1024, 41)
    assert target_size(1024, 512, policy) == (512, 256)
    loaded = _load(encode(_halves("red", "blue")), enlarge=True)
    assert loaded.pixels.shape == (256, 384, 3)
    assert (loaded.width, loaded.height) == (120, 80)
    assert _near(_colour(loaded, 0.1, 0.5), (254, 0, 0))


def test_the_background_of_transparent_pixels_may_be_chosen() -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    image.paste((0, 0, 255, 128), (50, 0, 100, 100))
    for kind in ("PNG", "WEBP"):
        loaded = _load(encode(image, kind), background="#204060")
        assert _near(_colour(loaded, 0.1, 0.5), (0x20, 0x40, 0x60))
        assert _near(_colour(loaded, 0.9, 0.5), (0x10, 0x20, 0xB0), 12)


def test_images_may_be_stored_as_webp() -> None:
    stored = Image.open(io.BytesIO(_load(encode(picture(1)), store_as="webp").encoded))
    assert (stored.format, stored.size) == ("WEBP", (160, 120))
    assert set(stored.info) <= {"loop", "background", "timestamp", "duration"}


@pytest.mark.parametrize(
    ("head", "detail"),
    [
        (b"\0\0\1\0\1\0", "ICO"),
        (b"\xff\x0a\xff", "JPEG XL"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_an_image_of_another_kind_is_unsupported_by_name(head: bytes, detail: str) -> None:
    with pytest.raises(Refused) as refused:
        open_image(head + bytes(64))
    assert refused.value.reason == "unsupported_format"
    assert detail in refused.value.detail


def test_avif_is_known_by_its_compatible_brands() -> None:
    data = encode(picture(1), "AVIF")
    renamed = data[:8] + b"mif1" + data[12:]
    assert b"avif" in data[16:32]
    assert _header(renamed).format == "AVIF"


def test_a_shrunk_jpeg_looks_like_a_careful_resize() -> None:
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    large = coarse.resize((1250, 1000), Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=95)
    loaded = _load(data)
    careful = Image.open(io.BytesIO(data)).resize((320, 256), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(loaded.pixels, np.int16) - np.asarray(careful, np.int16)).mean()
    assert loaded.pixels.shape == (256, 320, 3)
    assert difference < 2.5


def test_the_same_image_gives_the_same_bytes() -> None:
    data = encode(picture(6, (400, 300)), "WEBP")
    assert _load(data).encoded == _load(data).encoded


def test_a_policy_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="longer_side"):
        PixelPolicy(shorter_side=512, longer_side=256)
