"""How to build shard sets."""

from dataclasses import dataclass, field

from ...errors import InputError
from ..format.pixel_options import PixelOptions
from ..workers import Engine, check_engine


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How to build. Only `pixels`, `seed` and `images_per_shard` affect the bytes of the result."""

    pixels: PixelOptions = field(default_factory=PixelOptions)
    """Every option that affects a stored pixel."""
    seed: int = 0
    """Seed of the shuffle, 0 to 2**63 - 1."""
    images_per_shard: int = 1000
    """Inputs per shard, before bad ones are left out; the last shard may get fewer."""
    num_workers: int = 2
    """Worker processes."""
    engine: Engine = "local"
    """What runs the workers: this machine's processes, or a Ray cluster."""
    part: tuple[int, int] | None = None
    """(I, N): write only the shards whose number modulo N is I; None writes all of them."""
    max_bad: int | None = None
    """Bad inputs allowed per split; None means 0.1 %, but at least 10."""

    def __post_init__(self) -> None:
        if self.pixels.format == "webp":
            raise InputError("format webp can be adopted but not written; choose jpeg, png or raw")
        if self.num_workers < 1:
            raise InputError(f"workers must be at least 1, got {self.num_workers}")
        check_engine(self.engine)
        if self.part is not None and not 0 <= self.part[0] < self.part[1]:
            raise InputError(f"part must be I/N with I from 0 to N - 1, got {self.part[0]}/{self.part[1]}")
        if self.max_bad is not None and self.max_bad < 0:
            raise InputError(f"max bad must be 0 or more, got {self.max_bad}")

    def bad_limit(self, num_images: int) -> int:
        """How many of `num_images` inputs may be bad."""
        return max(10, num_images // 1000) if self.max_bad is None else self.max_bad
