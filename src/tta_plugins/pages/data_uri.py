"""Images embedded in a page."""

import base64
import io

from PIL import Image

LARGEST = 320


def data_uri(image: Image.Image, largest: int = LARGEST) -> str:
    """An image as a `data:` address: a PNG if it is small, else a smaller JPEG."""
    buffer = io.BytesIO()
    if max(image.size) <= largest:
        image.convert("RGB").save(buffer, "png")
        return _address("png", buffer)
    smaller = image.convert("RGB")
    smaller.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    smaller.save(buffer, "jpeg", quality=88)
    return _address("jpeg", buffer)


def _address(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
