"""Exact pixel statistics of a set of uint8 images.

Sums are integers and merge with `+`, so any split of the work, in any order, gives the same bytes. Units: gray levels
0-255; the covariance is that of the population (divided by n, not n-1), over all pixels of all images.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .files import whole_file

# float64 adds integers exactly below 2**53; one pixel's product is at most 255**2.
MAX_PIXELS_PER_PRODUCT = 2**53 // 255**2


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelSums:
    """Integer sums over `num_images` images of one shape.

    `image_HWC` (int64) is the sum of the images; `outer_CC` (int64, 3x3) the sum over all pixels of the outer product
    of a pixel with itself.
    """

    num_images: int
    image_HWC: NDArray[np.int64]
    outer_CC: NDArray[np.int64]

    @classmethod
    def zero(cls, size_px: int) -> "PixelSums":
        """The sums over no images, for the shape `size_px` x `size_px` x 3."""
        return cls(
            num_images=0,
            image_HWC=np.zeros((size_px, size_px, 3), np.int64),
            outer_CC=np.zeros((3, 3), np.int64),
        )

    @classmethod
    def of(cls, image_HWC: NDArray[np.uint8]) -> "PixelSums":
        """The sums of one uint8 RGB image."""
        if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
            raise InputError(f"expected a uint8 image of shape (H, W, 3), got {image_HWC.dtype} {image_HWC.shape}")
        x_PC = image_HWC.reshape(-1, 3).astype(np.float64)
        assert len(x_PC) <= MAX_PIXELS_PER_PRODUCT
        # Exact: every partial sum is an integer below 2**53, so BLAS may add in any order.
        outer_CC = (x_PC.T @ x_PC).astype(np.int64)
        return cls(num_images=1, image_HWC=image_HWC.astype(np.int64), outer_CC=outer_CC)

    def __add__(self, other: "PixelSums") -> "PixelSums":
        if self.image_HWC.shape != other.image_HWC.shape:
            raise InputError(f"cannot add sums of {self.image_HWC.shape} images to {other.image_HWC.shape} ones")
        return PixelSums(
            num_images=self.num_images + other.num_images,
            image_HWC=self.image_HWC + other.image_HWC,
            outer_CC=self.outer_CC + other.outer_CC,
        )

    def save(self, path: Path) -> None:
        """Write the three sums as an `.npz` without pickles; equal sums give equal bytes."""
        with whole_file(path) as file:
            np.savez(file, num_images=np.int64(self.num_images), image_HWC=self.image_HWC, outer_CC=self.outer_CC)

    @classmethod
    def load(cls, path: Path) -> "PixelSums":
        """Read what `save` wrote; raises InputError, naming the file, if it is anything else."""
        try:
            with np.load(path, allow_pickle=False) as data:
                sums = cls(num_images=int(data["num_images"]), image_HWC=data["image_HWC"], outer_CC=data["outer_CC"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            # If a file is not an archive, NumPy says that it is a pickle, and how to load it; if a header is damaged,
            # Python repeats all of its bytes.
            found: object = "not an .npz archive of plain arrays" if "pickle" in str(error) else error
            if isinstance(error, zipfile.BadZipFile):
                found = "a damaged archive"
            raise InputError(
                f"{path}: not a statistics file ({found}); write it again with the command that made it"
            ) from error
        if sums.image_HWC.dtype != np.int64 or sums.image_HWC.ndim != 3 or sums.outer_CC.shape != (3, 3):
            raise InputError(
                f"{path}: expected int64 sums of shapes (H, W, 3) and (3, 3), found {sums.image_HWC.dtype} "
                f"{sums.image_HWC.shape} and {sums.outer_CC.shape}; restore the file"
            )
        return sums

    def mean_image_HWC(self) -> NDArray[np.float64]:
        """The mean image, float64, 0-255."""
        if self.num_images < 1:
            raise InputError("the mean image of no images is not defined")
        return self.image_HWC / self.num_images


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorStatistics:
    """Mean color and principal components of RGB pixels, in gray levels 0-255.

    Eigenpairs are sorted by decreasing eigenvalue; `eigenvectors_KC[k]` is the unit vector (r, g, b) of
    `eigenvalues_K[k]`. Sign rule: the component of largest magnitude is positive (the first of them when two tie).
    """

    num_pixels: int
    mean_C: tuple[float, float, float]
    covariance_CC: tuple[tuple[float, float, float], ...]
    eigenvalues_K: tuple[float, float, float]
    eigenvectors_KC: tuple[tuple[float, float, float], ...]

    @property
    def standard_deviations_K(self) -> tuple[float, ...]:
        """Square roots of the eigenvalues, in gray levels."""
        return tuple(float(np.sqrt(max(value, 0.0))) for value in self.eigenvalues_K)

    @property
    def shares_K(self) -> tuple[float, ...]:
        """Each eigenvalue as a fraction of their sum, the variance; zeros for pixels of one color, which have none."""
        values_K = [max(value, 0.0) for value in self.eigenvalues_K]  # for gray pixels two are 0, give or take 1e-13
        return tuple(value / (sum(values_K) or 1.0) for value in values_K)

    @classmethod
    def from_sums(cls, sums: PixelSums) -> "ColorStatistics":
        """Mean, population covariance and eigenpairs; integers until the last division."""
        height, width, _ = sums.image_HWC.shape
        n = sums.num_images * height * width
        if n == 0:
            raise InputError("the color statistics of no images are not defined")
        s_C = [int(value) for value in sums.image_HWC.sum(axis=(0, 1))]
        # Python integers: n * outer - s * s does not fit into 64 bits for ImageNet.
        covariance = [[(n * int(sums.outer_CC[i, j]) - s_C[i] * s_C[j]) / (n * n) for j in range(3)] for i in range(3)]
        values_K, vectors_CK = np.linalg.eigh(np.array(covariance))
        vectors_KC = vectors_CK.T[::-1]
        largest_K = np.argmax(np.abs(vectors_KC), axis=1)
        vectors_KC = vectors_KC * np.sign(vectors_KC[np.arange(3), largest_K])[:, None]
        return cls(
            num_pixels=n,
            mean_C=_triple([s / n for s in s_C]),
            covariance_CC=tuple(_triple(row) for row in covariance),
            eigenvalues_K=_triple(values_K[::-1]),
            eigenvectors_KC=tuple(_triple(row) for row in vectors_KC),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data with the units in the names."""
        return {
            "num_pixels": self.num_pixels,
            "mean_rgb_0_255": list(self.mean_C),
            "population_covariance_0_255": [list(row) for row in self.covariance_CC],
            "eigenvalues_0_255": list(self.eigenvalues_K),
            "standard_deviations_0_255": list(self.standard_deviations_K),
            "eigenvectors_rgb": [list(row) for row in self.eigenvectors_KC],
        }

    @staticmethod
    def fields_of_json(data: dict[str, Any]) -> dict[str, Any]:
        """The fields from a result of `to_json`, by their names here, unchecked; raises KeyError if one is missing."""
        return {
            "num_pixels": data["num_pixels"],
            "mean_C": data["mean_rgb_0_255"],
            "covariance_CC": data["population_covariance_0_255"],
            "eigenvalues_K": data["eigenvalues_0_255"],
            "eigenvectors_KC": data["eigenvectors_rgb"],
        }


def _triple(values: Any) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b
