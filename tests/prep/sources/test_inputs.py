"""Laws of a source's images, whatever they are read from."""

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources.arrays.image import ArrayImage, PixelArray
from alexkit.prep.sources.folders.store_folder import StoreImage
from alexkit.prep.sources.folders.zip_folder import ZipImage
from alexkit.prep.sources.inputs import MAX_INPUT_BYTES, FileImage, SourceImage
from alexkit.prep.sources.recordio.image import RecordImage
from alexkit.prep.sources.tfrecords.image import ExampleImage
from alexkit.prep.storage import StoreUrl

TOO_MANY = MAX_INPUT_BYTES + 1


@pytest.mark.parametrize(
    "image",
    [
        FileImage("1.jpg", 0, "no/such/1.jpg", TOO_MANY),
        StoreImage("1.jpg", 0, StoreUrl.parse("s3://no-such-bucket/1.jpg"), TOO_MANY, None),
        RecordImage("1.jpg", 0, "no/such.rec", TOO_MANY, 0),
        ArrayImage("1.jpg", 0, PixelArray("no/such.npy", 0, 2, TOO_MANY, "HWC", 1, TOO_MANY, 1), 1),
        ExampleImage("1.jpg", 0, "no/such.tfrecord", 5, 12, 12, TOO_MANY),
        ZipImage("1.jpg", 0, "no/such.zip", TOO_MANY, 0, 5, True, 0),
        ZipImage("1.jpg", 0, "no/such.zip", 5, 0, TOO_MANY, True, 0),
    ],
)
def test_a_file_larger_than_an_image_may_be_is_refused_with_its_size_and_not_opened(image: SourceImage) -> None:
    with pytest.raises(InputError, match=f"file of {TOO_MANY} bytes, more than {MAX_INPUT_BYTES}"):
        image.read()
