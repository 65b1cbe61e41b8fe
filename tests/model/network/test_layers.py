import pytest
import torch
from torch.nn import functional as F

from alexkit.model.network.layers import DropoutMask, LocallyConnected2d, MaskKey, Pooling, SameMapNorm, kept_units


def key(step: int = 0, seed: int = 0, num_images: int = 64) -> MaskKey:
    return MaskKey(seed=seed, step=step, indices_N=torch.arange(num_images))


def test_half_of_the_units_are_kept_and_neighbors_are_independent() -> None:
    kept = kept_units(key(num_images=256), 5, 0, 4096, 0.5).double()
    n = kept.numel()
    assert abs(kept.mean() - 0.5) < 4 * 0.5 / n**0.5
    for shifted in (kept[:, 1:] * kept[:, :-1], kept[1:] * kept[:-1]):  # next unit, next image
        assert abs(shifted.mean() - 0.25) < 4 * 0.44 / n**0.5


@pytest.mark.parametrize("other", [key(step=1), key(seed=1)])
def test_another_step_or_seed_draws_another_mask(other: MaskKey) -> None:
    same = kept_units(key(), 5, 0, 4096, 0.5) == kept_units(other, 5, 0, 4096, 0.5)
    assert 0.49 < same.double().mean() < 0.51


def test_seed_and_step_do_not_trade_places() -> None:
    assert not torch.equal(
        kept_units(key(step=1, seed=0), 5, 0, 64, 0.5), kept_units(key(step=0, seed=1), 5, 0, 64, 0.5)
    )


@pytest.mark.parametrize(("first", "count"), [(0, 30), (30, 34), (2, 5), (63, 1)])
def test_part_of_a_layer_has_its_part_of_the_mask(first: int, count: int) -> None:
    whole = kept_units(key(), 5, 0, 64, 0.5)
    assert torch.equal(kept_units(key(), 5, first, count, 0.5), whole[:, first : first + count])


def test_an_image_has_its_mask_wherever_it_stands_in_a_batch() -> None:
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    moved = MaskKey(seed=0, step=0, indices_N=shuffled)
    assert torch.equal(kept_units(moved, 5, 0, 100, 0.5), kept_units(key(), 5, 0, 100, 0.5)[shuffled])


def test_masks_are_the_same_for_ever() -> None:
    drawn = kept_units(MaskKey(seed=7, step=3, indices_N=torch.tensor([11])), 5, 0, 16, 0.5)
    assert "".join(str(int(bit)) for bit in drawn[0]) == "1000001111001100"


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_the_share_of_zeroed_units(rate: float) -> None:
    assert abs(kept_units(key(), 1, 0, 4096, rate).double().mean() - (1 - rate)) < 0.005


@pytest.mark.parametrize(
    ("seed", "step"), [(3, 0), (3, 1), (3, 450_000), (3, 2**40), (2**63 - 1, 1), (2**63, 1), (2**64 - 1, 1)]
)
def test_a_step_that_is_a_tensor_draws_the_same(seed: int, step: int) -> None:
    indices = torch.tensor([0, 1, 1_281_166])
    keys = [MaskKey(seed=seed, step=given, indices_N=indices) for given in (step, torch.tensor(step))]
    assert torch.equal(*(kept_units(one, 6, 5, 4096, 0.5) for one in keys))


@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_mask_dropout_zeroes_in_training_and_multiplies_by_the_share_kept_in_testing(rate: float) -> None:
    layer, x = DropoutMask(rate=rate, inverted=False, layer=5), torch.ones(4, 100)
    layer.key = key(num_images=4)
    assert set(layer(x).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(layer.eval()(x), (1 - rate) * x)


@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_inverted_dropout_divides_by_the_share_kept_in_training_and_leaves_testing_alone(rate: float) -> None:
    layer, x = DropoutMask(rate=rate, inverted=True, layer=5), torch.ones(4, 100)
    layer.key = key(num_images=4)
    assert layer(x).unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])
    assert torch.equal(layer.eval()(x), x)


def test_training_with_dropout_but_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a MaskKey"):
        DropoutMask(rate=0.5, inverted=False, layer=5)(torch.ones(1, 4))


@pytest.mark.parametrize(("px", "pooled_px"), [(55, 27), (27, 13), (13, 6), (32, 16), (16, 8), (8, 4)])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_the_number_of_pooling_windows_is_rounded_up(px: int, pooled_px: int, kind: str) -> None:
    assert Pooling(kind=kind, size=3, stride=2)(torch.zeros(1, 2, px, px)).shape == (1, 2, pooled_px, pooled_px)


def test_an_average_divides_by_the_part_of_the_window_inside() -> None:
    pooled = Pooling(kind="average", size=3, stride=2)(torch.ones(1, 1, 8, 8))
    assert torch.equal(pooled, torch.ones(1, 1, 4, 4))


def test_same_map_norm_is_its_formula() -> None:
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64) * 50
    found = SameMapNorm(size=3, alpha=5e-5, beta=0.75)(x)
    padded = F.pad(x.square(), (1, 1, 1, 1))
    for i, j in [(0, 0), (0, 3), (2, 2), (5, 5)]:
        sums = padded[:, :, i : i + 3, j : j + 3].sum((2, 3))
        assert torch.allclose(found[:, :, i, j], x[:, :, i, j] * (1 + 5e-5 * sums) ** -0.75, rtol=1e-12)


def test_a_locally_connected_layer_with_equal_weights_is_a_convolution() -> None:
    layer = LocallyConnected2d(3, 4, kernel=3, pad=1, out_px=6).double()
    kernel, bias = torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(kernel.flatten(1)[:, :, None, None].expand_as(layer.weight))
        layer.bias.copy_(bias[:, None, None].expand_as(layer.bias))
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.allclose(layer(x), F.conv2d(x, kernel, bias, padding=1), rtol=1e-10)


def test_a_locally_connected_layer_has_weights_of_its_own_at_every_place() -> None:
    layer = LocallyConnected2d(1, 1, kernel=1, pad=0, out_px=2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        layer.bias.zero_()
    assert layer(torch.ones(1, 1, 2, 2)).flatten().tolist() == [1, 2, 3, 4]
