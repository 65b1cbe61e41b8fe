"""Networks as tables that read like the paper's figure; a network is built from its table and nothing else.

A row is one layer with weights: what it reads (its own column or both) and what follows it, in order. Sizes, parameter
counts and the traffic between columns are computed from the table, so they cannot differ from the network.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from ...errors import InputError

Reads = Literal["image", "own column", "both columns"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """`relu`, or the `tanh` that the paper's Figure 1 compares it with."""

    kind: Literal["relu", "tanh"] = "relu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """b = a / (k + factor * sum of a^2 over `size` neighboring maps) ** power; `scope`: of one column, or of all."""

    size: int = 5
    factor: float = 1e-4
    power: float = 0.75
    k: float = 2.0
    scope: Literal["column", "all"] = "column"


@dataclass(frozen=True, kw_only=True, slots=True)
class MapNorm:
    """b = a / (1 + factor * sum of a^2 over a `size` x `size` window of the same map) ** power."""

    size: int
    factor: float
    power: float = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Pooling over `size` x `size` windows, their count rounded up; an average divides by the clipped window."""

    kind: Literal["max", "average"] = "max"
    size: int = 3
    stride: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropout:
    """`mask`: outputs are zeroed in training and multiplied by 1 - rate in testing; `inverted`: divided in training."""

    kind: Literal["mask", "inverted"] = "mask"
    rate: float = 0.5


Step = Activation | Norm | MapNorm | Pool | Dropout


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    name: str
    reads: Reads
    then: tuple[Step, ...] = ()
    std: float = 0.01  # of the initial weights
    bias: float = 0.0  # initial biases
    decay: float | None = None  # None: the recipe's weight decay


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv(_Row):
    """A convolution; `filters` counts both columns together."""

    filters: int
    kernel: int
    stride: int = 1
    pad: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Local(_Row):
    """Like a convolution of stride 1, but every place has weights of its own."""

    filters: int
    kernel: int
    pad: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Full(_Row):
    """A fully-connected layer; `units` counts both columns together, None means one per class."""

    units: int | None


Row = Conv | Local | Full


@dataclass(frozen=True, kw_only=True, slots=True)
class Wiring:
    """A whole network: rows in order, the number of columns, the input and the zeros added right and below it."""

    rows: tuple[Row, ...]
    columns: int = 1
    input_px: int = 224
    margin_px: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What a row computes, columns together: maps x px x px before pooling (`px` 1 for a full layer) and after."""

    name: str
    maps: int
    px: int
    pooled_px: int
    inputs: int  # numbers that one output reads
    weights: int
    biases: int
    multiply_adds: int
    gathered: int  # numbers per image that cross between the columns to feed this row, both directions together

    @property
    def neurons(self) -> int:
        """Outputs of the layer, before pooling."""
        return self.maps * self.px**2


def sizes(wiring: Wiring, num_classes: int) -> list[Size]:
    """The size of every row.

    Raises InputError naming the row where the image has become too small or maps do not divide among the columns.
    """
    result = []
    maps, px = 3, wiring.input_px + wiring.margin_px
    for row in wiring.rows:
        outputs = num_classes if isinstance(row, Full) and row.units is None else _outputs(row)
        if outputs % wiring.columns and not (isinstance(row, Full) and row.units is None):
            raise InputError(f"{row.name}: {outputs} outputs cannot be dealt to {wiring.columns} columns")
        read_maps = maps // wiring.columns if row.reads == "own column" else maps
        if isinstance(row, Full):
            out_px, inputs = 1, read_maps * px * px
        else:
            stride = row.stride if isinstance(row, Conv) else 1
            out_px = (px + 2 * row.pad - row.kernel) // stride + 1
            inputs = read_maps * row.kernel**2
        if out_px < 1:
            raise InputError(f"{row.name}: its {row.kernel} px windows do not fit an input of {px} px")  # type: ignore[union-attr]
        places = out_px**2
        copies = places if isinstance(row, Local) else 1
        crossing = maps * px * px * (wiring.columns - 1) if row.reads == "both columns" else 0
        pooled_px = out_px
        for step in row.then:
            if isinstance(step, Pool):
                if pooled_px < step.size:
                    raise InputError(f"{row.name}: pooling windows of {step.size} px do not fit {pooled_px} px")
                pooled_px = ceil((pooled_px - step.size) / step.stride) + 1
        result.append(
            Size(
                name=row.name,
                maps=outputs,
                px=out_px,
                pooled_px=pooled_px,
                inputs=inputs,
                weights=outputs * inputs * copies,
                biases=outputs * copies,
                multiply_adds=outputs * inputs * places,
                gathered=crossing,
            )
        )
        maps, px = outputs, pooled_px
    return result


def _outputs(row: Row) -> int:
    if isinstance(row, Full):
        assert row.units is not None
        return row.units
    return row.filters


Kind = Literal["two-column", "one-gpu", "tower", "owt", "cifar10-19", "cifar10-18", "cifar10-13", "cifar10-11"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Switches:
    """Every disputed detail of the network by name; the defaults follow the paper's text.

    `input`: 224 px with three rows and columns of zeros below and right (`margin`), 227 px (`valid227`), or 224 px with
    two zeros on all sides (`pad2`).
    `norm` sets the factor and k: `paper` 1e-4 and 2, `original` 1e-4/5 and 2, `caffe` 1e-4/5 and 1, `none` no
    normalization at all. `norm_order = "original"` puts layer 1's ReLU after its pooling. `init` sets the spread and
    the biases: `original` has 0.03 in conv3-5, `caffe` 0.005 in fc6 and fc7 and 0.1 for the biases of 1, `quick` all of
    these: the convolutions keep the images' differences, and what reaches fc8 is small enough for a high rate.
    `without` removes layers; what normalizes and pools behind them stays, behind the layer before.
    """

    kind: Kind = "two-column"
    input: Literal["margin", "valid227", "pad2"] = "margin"
    norm: Literal["paper", "original", "caffe", "none"] = "paper"
    norm_order: Literal["paper", "original"] = "paper"
    norm_scope: Literal["column", "all"] = "column"
    map_norm: bool = False
    pooling: Literal["3/2", "2/2"] = "3/2"
    activation: Literal["relu", "tanh"] = "relu"
    init: Literal["paper", "original", "caffe", "quick"] = "paper"
    dropout: Literal["mask", "inverted", "off"] = "mask"
    sixth_conv: bool = False
    without: tuple[str, ...] = ()


def wiring(switches: Switches) -> Wiring:
    """The table of the network that the switches describe; InputError when they contradict each other."""
    if switches.kind.startswith("cifar10"):
        return _only_default_switches(switches, cifar10(switches.kind))
    if switches.kind == "owt":
        return _only_default_switches(switches, one_weird_trick())
    return without(alexnet(switches), switches.without)


def alexnet(switches: Switches) -> Wiring:
    """Figure 2 of the paper, and its one-GPU and ungrouped relatives."""
    act = Activation(kind=switches.activation)
    norm, order_1 = _norm(switches), switches.norm_order == "original"
    pool = Pool(size=3) if switches.pooling == "3/2" else Pool(size=2)
    small = switches.pooling == "2/2"  # its paddings keep conv5's output at 6x6 (layers-147.cfg)
    map_norm = (MapNorm(size=5, factor=0.001 / 25),) if switches.map_norm else ()
    drop = () if switches.dropout == "off" else (Dropout(kind=switches.dropout),)
    c1, c2, c3, c4, c5 = (48, 128, 192, 192, 256) if switches.kind == "one-gpu" else (96, 256, 384, 384, 256)
    sixth = Conv(name="conv6", filters=256, kernel=3, pad=1, reads="both columns", std=0.03, bias=1.0, then=(act,))

    rows: tuple[Row, ...] = (
        Conv(name="conv1", filters=c1, kernel=11, stride=4, pad=2 if switches.input == "pad2" else 0, reads="image",
             then=(*norm, pool, act) if order_1 else (act, *norm, pool)),
        Conv(name="conv2", filters=c2, kernel=5, pad=1 if small else 2, reads="own column", bias=1.0,
             then=(act, *norm, *map_norm, pool)),
        Conv(name="conv3", filters=c3, kernel=3, pad=1, reads="both columns", then=(act,)),
        Conv(name="conv4", filters=c4, kernel=3, pad=1, reads="own column", bias=1.0, then=(act,)),
        Conv(name="conv5", filters=c5, kernel=3, pad=0 if small else 1, reads="own column", bias=1.0,
             then=(act, pool)),
        *([sixth] if switches.sixth_conv else []),
        Full(name="fc6", units=4096, reads="both columns", bias=1.0, then=(act, *drop)),
        Full(name="fc7", units=4096, reads="both columns", bias=1.0, then=(act, *drop)),
        Full(name="fc8", units=None, reads="both columns"),
    )  # fmt: skip
    table = Wiring(
        rows=rows,
        columns=2 if switches.kind == "two-column" else 1,
        input_px=227 if switches.input == "valid227" else 224,
        margin_px=3 if switches.input == "margin" else 0,
    )
    return _initialized(table, switches)


def one_weird_trick() -> Wiring:
    """The later network of "One weird trick" as torchvision has it: dropout before fc6 and fc7, no normalization."""
    act, pool, drop = Activation(), Pool(), Dropout(kind="inverted")
    return Wiring(
        rows=(
            Conv(name="conv1", filters=64, kernel=11, stride=4, pad=2, reads="image", then=(act, pool)),
            Conv(name="conv2", filters=192, kernel=5, pad=2, reads="own column", then=(act, pool)),
            Conv(name="conv3", filters=384, kernel=3, pad=1, reads="own column", then=(act,)),
            Conv(name="conv4", filters=256, kernel=3, pad=1, reads="own column", then=(act,)),
            Conv(name="conv5", filters=256, kernel=3, pad=1, reads="own column", then=(act, pool, drop)),
            Full(name="fc6", units=4096, reads="own column", then=(act, drop)),
            Full(name="fc7", units=4096, reads="own column", then=(act,)),
            Full(name="fc8", units=None, reads="own column"),
        )
    )


def cifar10(kind: Kind) -> Wiring:
    """The CIFAR-10 networks of cuda-convnet by their test error: 19, 18, 13 and 11 % (`layers-*.cfg`)."""
    act, largest, mean = Activation(), Pool(kind="max"), Pool(kind="average")
    if kind in ("cifar10-19", "cifar10-18"):
        same = (MapNorm(size=3, factor=5e-5 / 9),) if kind == "cifar10-18" else ()
        return Wiring(
            rows=(
                Conv(name="conv1", filters=32, kernel=5, pad=2, reads="image", std=0.0001, decay=0.004,
                     then=(largest, act, *same)),
                Conv(name="conv2", filters=32, kernel=5, pad=2, reads="own column", decay=0.004,
                     then=(act, mean, *same)),
                Conv(name="conv3", filters=64, kernel=5, pad=2, reads="own column", decay=0.004, then=(act, mean)),
                Full(name="fc10", units=None, reads="own column", decay=1.0 if same else 3.0),
            ),
            input_px=32,
        )  # fmt: skip
    norm = (Norm(size=5, factor=0.001 / 5, k=1.0),) if kind == "cifar10-11" else ()
    return Wiring(
        rows=(
            Conv(name="conv1", filters=64, kernel=5, pad=2, reads="image", std=0.0001, decay=0.0,
                 then=(act, *norm, largest)),
            Conv(name="conv2", filters=64, kernel=5, pad=2, reads="own column", decay=0.0,
                 then=(act, *norm, largest)),
            Local(name="local3", filters=32, kernel=3, pad=1, reads="own column", std=0.04, decay=0.004, then=(act,)),
            Local(name="local4", filters=32, kernel=3, pad=1, reads="own column", std=0.04, decay=0.004, then=(act,)),
            Full(name="fc10", units=None, reads="own column", decay=0.004),
        ),
        input_px=24,
    )  # fmt: skip


def without(table: Wiring, names: tuple[str, ...]) -> Wiring:
    """The table less the named layers; their normalization and pooling stay, behind the layer before."""
    rows = list(table.rows)
    for name in names:
        known = [row.name for row in rows]
        if name not in known[1:-1]:
            raise InputError(f"without = {name!r}: choose among {', '.join(known[1:-1])}; the first and last must stay")
        at = known.index(name)
        kept = tuple(step for step in rows[at].then if isinstance(step, Norm | MapNorm | Pool))
        rows[at - 1] = replace(rows[at - 1], then=rows[at - 1].then + kept)
        del rows[at]
    return replace(table, rows=tuple(rows))


def _norm(switches: Switches) -> tuple[Norm, ...]:
    # Section 3.3 prints a plain sum; the released code and Caffe divide the factor by the window, and Caffe has k = 1.
    if switches.norm == "none":
        return ()
    factor = 1e-4 if switches.norm == "paper" else 1e-4 / 5
    return (Norm(factor=factor, k=1.0 if switches.norm == "caffe" else 2.0, scope=switches.norm_scope),)


def _initialized(table: Wiring, switches: Switches) -> Wiring:
    if switches.init == "paper":
        return table
    rows = []
    for row in table.rows:
        std, bias = 0.01, row.bias
        if switches.init != "caffe" and row.name in ("conv3", "conv4", "conv5", "conv6"):
            std = 0.03
        if switches.init != "original":
            std, bias = 0.005 if row.name in ("fc6", "fc7") else std, 0.1 * row.bias
        rows.append(replace(row, std=std, bias=bias))
    return replace(table, rows=tuple(rows))


def _only_default_switches(switches: Switches, table: Wiring) -> Wiring:
    if switches != Switches(kind=switches.kind):
        raise InputError(f"network {switches.kind!r} has no other switches; remove them from [network]")
    return table
