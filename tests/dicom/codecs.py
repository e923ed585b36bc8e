"""Grey images compressed as archives do it, each by a coder that is not the one that reads it."""

from struct import pack

import numpy as np
from pydicom.encaps import encapsulate, generate_frames

RLE = "1.2.840.10008.1.2.5"
JPEG, JPEG_FIRST = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000, JPEG_2000_ANY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
LOSSLESS = (RLE, JPEG, JPEG_FIRST, JPEG_LS, JPEG_LS_NEAR, JPEG_2000, JPEG_2000_ANY)


def compress(dataset, syntax, fragments=1, **how):
    """Compress the pixels of an object with one frame or several, in place."""
    plain = np.frombuffer(dataset.PixelData, "<u2" if dataset.BitsAllocated == 16 else "u1")
    plain = plain.reshape(-1, dataset.Rows, dataset.Columns)
    streams = [encode(image, syntax, int(dataset.BitsStored), **how) for image in plain]
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(streams, fragments_per_frame=fragments)
    dataset["PixelData"].VR = "OB"


def encode(image, syntax, bits, selection=1, error=0, cut=0):
    """Return one image's stream: unsigned samples, `bits` of them used."""
    image = image & (2**bits - 1)
    if syntax == RLE:
        from pydicom.pixels.encoders import RLELosslessEncoder

        facts = {"rows": image.shape[0], "columns": image.shape[1], "samples_per_pixel": 1, "bits_stored": bits}
        facts |= {"bits_allocated": 8 * image.itemsize, "pixel_representation": 0, "number_of_frames": 1}
        facts |= {"photometric_interpretation": "MONOCHROME2"}
        return RLELosslessEncoder.encode(image, encoding_plugin="pydicom", **facts)
    if syntax in (JPEG, JPEG_FIRST):
        return lossless_jpeg(image, bits, selection)
    if syntax in (JPEG_LS, JPEG_LS_NEAR):
        import jpeg_ls

        return bytes(jpeg_ls.encode_array(np.ascontiguousarray(image), lossy_error=error))
    return by_pillow(image, error, cut)


def by_pillow(image, error, cut=0):
    """Return JPEG 2000 as Pillow's OpenJPEG writes it, with loss where `error` or `cut` is not zero.

    Args:
        error: rate of irreversible coding.
        cut: rate to which reversible coding is cut.
    """
    import io

    from PIL import Image

    out = io.BytesIO()
    rate = {"quality_mode": "rates", "quality_layers": [error or cut]} if error or cut else {}
    Image.fromarray(image).save(out, "JPEG2000", no_jp2=True, irreversible=bool(error), **rate)
    return out.getvalue()


def by_gdcm(image, compressor, folder):
    """Return JPEG or JPEG 2000 as GDCM writes it."""
    import SimpleITK
    from pydicom import dcmread

    path = folder / "coded.dcm"
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(path))
    writer.Execute(SimpleITK.GetImageFromArray(image))
    coded = dcmread(path)
    return str(coded.file_meta.TransferSyntaxUID), next(generate_frames(coded.PixelData, number_of_frames=1))


def lossless_jpeg(image, bits, selection):
    """Return process 14 of ITU-T T.81: differences from a predictor, all Huffman codes five bits long."""
    values = image.astype(np.int64)
    left, above, corner = np.zeros_like(values), np.zeros_like(values), np.zeros_like(values)
    left[:, 1:], above[1:], corner[1:, 1:] = values[:, :-1], values[:-1], values[:-1, :-1]
    guess = {
        **{1: left, 2: above, 3: corner, 4: left + above - corner, 5: left + ((above - corner) >> 1)},
        **{6: above + ((left - corner) >> 1), 7: (left + above) >> 1},
    }[selection].copy()
    guess[:, 0], guess[0], guess[0, 0] = above[:, 0], left[0], 1 << (bits - 1)
    words = []
    for step in (((values - guess + 32768) & 0xFFFF) - 32768).ravel().tolist():
        size = abs(step).bit_length()
        extra = "" if size in (0, 16) else f"{step if step > 0 else step + (1 << size) - 1:0{size}b}"
        words.append(f"{size:05b}{extra}")
    line = "".join(words)
    line += "1" * (-len(line) % 8)
    scan = int(line, 2).to_bytes(len(line) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\xff\xc3" + pack(">HBHHBBBB", 11, bits, *image.shape, 1, 1, 0x11, 0)
    table = b"\xff\xc4" + pack(">HB", 36, 0) + bytes([0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    return (
        b"\xff\xd8" + frame + table + b"\xff\xda" + pack(">HBBBBBB", 8, 1, 1, 0, selection, 0, 0) + scan + b"\xff\xd9"
    )
