"""The wiring tables of the networks that the switches can select."""

from dataclasses import fields, replace

from ...errors import InputError
from .switches import Kind, Switches
from .wiring import (
    Activation,
    Conv,
    Dropout,
    Layer,
    Linear,
    LocallyConnected,
    MapNorm,
    Norm,
    NormScope,
    Pool,
    Reads,
    Wiring,
)

_CAFFE_BIAS = 0.1  # where the paper's biases start at 1
_CIFAR_SWITCHES = ("kind", "input", "activation", "without")


def wiring(switches: Switches) -> Wiring:
    """The table of the network that the switches describe. Raises InputError if they contradict each other."""
    if switches.kind.startswith("cifar10"):
        _require_defaults(switches, _CIFAR_SWITCHES)
        if switches.input not in ("margin", "crop24"):
            raise InputError(f"network.input = {switches.input!r}: {switches.kind} supports only 'margin' and 'crop24'")
        table = cifar10(switches)
    elif switches.kind == "owt":
        _require_defaults(switches, ("kind", "activation", "without"))
        table = one_weird_trick(switches)
    elif switches.input == "crop24":
        raise InputError("network.input = 'crop24' is for the CIFAR-10 networks; choose margin, valid227 or pad2")
    else:
        table = alexnet(switches)
    return without(table, switches.without)


def alexnet(switches: Switches) -> Wiring:
    """Figure 2 of the paper, and its one-GPU and ungrouped relatives."""
    act = Activation(kind=switches.activation)
    norm, order_1 = _norm(switches), switches.norm_order == "original"
    pool = Pool(size=3) if switches.pooling == "3/2" else Pool(size=2)
    small = switches.pooling == "2/2"  # smaller paddings keep conv5's output at 6x6 (layers-147.cfg)
    map_norm = (MapNorm(size=5, alpha=0.001 / 25),) if switches.map_norm and norm else ()
    drop = () if switches.dropout == "off" else (Dropout(kind=switches.dropout),)
    c1, c2, c3, c4, c5 = (48, 128, 192, 192, 256) if switches.kind == "one-gpu" else (96, 256, 384, 384, 256)
    # The paper does not specify the initialization of conv6; the released code initializes it like the other late ones.
    sixth = Conv(name="conv6", filters=256, kernel=3, pad=1, reads="both columns", then=(act,),
                 bias=0.0 if switches.init == "paper" else 1.0)  # fmt: skip
    # fc1a and fc1b of layers-146-2011.cfg: side by side, one on each GPU, both reading all of fc7.
    linear = Linear(name="linear", units=2048, reads="both columns")

    layers: tuple[Layer, ...] = (
        Conv(name="conv1", filters=c1, kernel=11, stride=4, pad=2 if switches.input == "pad2" else 0, reads="image",
             then=(*norm, pool, act) if order_1 else (act, *norm, pool)),
        Conv(name="conv2", filters=c2, kernel=5, pad=1 if small else 2, reads="own column", bias=1.0,
             then=(act, *norm, *map_norm, pool)),
        Conv(name="conv3", filters=c3, kernel=3, pad=1, reads="both columns", then=(act,)),
        Conv(name="conv4", filters=c4, kernel=3, pad=1, reads="own column", bias=1.0, then=(act,)),
        Conv(name="conv5", filters=c5, kernel=3, pad=0 if small else 1, reads="own column", bias=1.0,
             then=(act, pool)),
        *([sixth] if switches.sixth_conv else []),
        Linear(name="fc6", units=4096, reads="both columns", bias=1.0, then=(act, *drop)),
        Linear(name="fc7", units=4096, reads="both columns", bias=1.0, then=(act, *drop)),
        *([linear] if switches.linear_1024 else []),
        Linear(name="fc8", units=None, reads="both columns"),
    )  # fmt: skip
    return Wiring(
        layers=tuple(_initialized(layer, switches) for layer in layers),
        columns=2 if switches.kind == "two-column" else 1,
        input_px=227 if switches.input == "valid227" else 224,
        margin_px=3 if switches.input == "margin" else 0,
    )


def one_weird_trick(switches: Switches) -> Wiring:
    """The later network of "One weird trick" as torchvision has it: dropout before fc6 and fc7, no normalization."""
    act, pool, drop = Activation(kind=switches.activation), Pool(), Dropout(kind="inverted")
    return Wiring(
        layers=(
            Conv(name="conv1", filters=64, kernel=11, stride=4, pad=2, reads="image", then=(act, pool)),
            Conv(name="conv2", filters=192, kernel=5, pad=2, reads="own column", then=(act, pool)),
            Conv(name="conv3", filters=384, kernel=3, pad=1, reads="own column", then=(act,)),
            Conv(name="conv4", filters=256, kernel=3, pad=1, reads="own column", then=(act,)),
            Conv(name="conv5", filters=256, kernel=3, pad=1, reads="own column", then=(act, pool, drop)),
            Linear(name="fc6", units=4096, reads="own column", then=(act, drop)),
            Linear(name="fc7", units=4096, reads="own column", then=(act,)),
            Linear(name="fc8", units=None, reads="own column"),
        )
    )


def cifar10(switches: Switches) -> Wiring:
    """The CIFAR-10 networks of cuda-convnet, named by their test error: 19, 18, 13 and 11 % (`layers-*.cfg`)."""
    kind: Kind = switches.kind
    act, largest, mean = Activation(kind=switches.activation), Pool(kind="max"), Pool(kind="average")
    own: Reads = "own column"
    if kind in ("cifar10-19", "cifar10-18"):
        same = (MapNorm(size=3, alpha=5e-5 / 9),) if kind == "cifar10-18" else ()
        return Wiring(
            layers=(
                Conv(name="conv1", filters=32, kernel=5, pad=2, reads="image", std=0.0001, decay=0.004,
                     then=(largest, act, *same)),
                Conv(name="conv2", filters=32, kernel=5, pad=2, reads=own, decay=0.004, then=(act, mean, *same)),
                Conv(name="conv3", filters=64, kernel=5, pad=2, reads=own, decay=0.004, then=(act, mean)),
                Linear(name="fc10", units=None, reads=own, decay=1.0 if same else 3.0),
            ),
            input_px=24 if switches.input == "crop24" else 32,
        )  # fmt: skip
    norm = (Norm(size=5, alpha=0.001 / 5, k=1.0),) if kind == "cifar10-11" else ()
    return Wiring(
        layers=(
            Conv(name="conv1", filters=64, kernel=5, pad=2, reads="image", std=0.0001, decay=0.0,
                 then=(act, *norm, largest)),
            Conv(name="conv2", filters=64, kernel=5, pad=2, reads=own, decay=0.0, then=(act, *norm, largest)),
            LocallyConnected(name="local3", filters=32, kernel=3, pad=1, reads=own, std=0.04, decay=0.004, then=(act,)),
            LocallyConnected(name="local4", filters=32, kernel=3, pad=1, reads=own, std=0.04, decay=0.004, then=(act,)),
            Linear(name="fc10", units=None, reads=own, decay=0.004),
        ),
        input_px=24,
    )  # fmt: skip


def without(table: Wiring, names: tuple[str, ...]) -> Wiring:
    """Remove the named layers, as described in `Switches.without`. Raises InputError for one that cannot be removed."""
    layers = list(table.layers)
    for name in names:
        known = [layer.name for layer in layers]
        removable = known[:-1] if isinstance(layers[1], Conv) else known[1:-1]
        if name not in removable:
            raise InputError(f"network.without: {name!r} cannot be removed; choose from {', '.join(removable)}")
        at = known.index(name)
        removed = layers.pop(at)
        kept = tuple(step for step in removed.then if isinstance(step, Norm | MapNorm | Pool))
        if at:
            layers[at - 1] = replace(layers[at - 1], then=layers[at - 1].then + kept)
            continue
        first = layers[0]
        assert isinstance(first, Conv) and isinstance(removed, Conv)
        activations = sum(isinstance(step, Activation) for step in first.then[:1])
        then = first.then[:activations] + kept + first.then[activations:]
        layers[0] = replace(first, reads="image", stride=removed.stride, then=then)
    return replace(table, layers=tuple(layers))


def _norm(switches: Switches) -> tuple[Norm, ...]:
    # Section 3.3 prints a plain sum; the released code and Caffe divide alpha by the window size, and Caffe has k = 1.
    if switches.norm == "none":
        return ()
    alpha = 1e-4 if switches.norm == "paper" else 1e-4 / 5
    scope: NormScope = (
        switches.norm_scope if switches.kind == "two-column" else "column"
    )  # other networks have one column
    return (Norm(alpha=alpha, k=1.0 if switches.norm == "caffe" else 2.0, scope=scope),)


def _initialized(layer: Layer, switches: Switches) -> Layer:
    std, bias = layer.std, layer.bias
    if switches.init in ("original", "quick") and layer.name in ("conv3", "conv4", "conv5", "conv6"):
        std = 0.03
    if switches.init in ("caffe", "quick"):
        std, bias = 0.005 if layer.name in ("fc6", "fc7") else std, _CAFFE_BIAS * bias
    return replace(layer, std=std, bias=0.0 if switches.bias == "zero" else bias)


def _require_defaults(switches: Switches, allowed: tuple[str, ...]) -> None:
    default = Switches(kind=switches.kind)
    changed = [item.name for item in fields(Switches) if getattr(switches, item.name) != getattr(default, item.name)]
    if refused := [name for name in changed if name not in allowed]:
        raise InputError(
            f"network {switches.kind!r} supports only the switches {', '.join(allowed)}; remove {', '.join(refused)} "
            "from [network]"
        )
