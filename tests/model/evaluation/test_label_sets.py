"""Labels from files: several for an image, none for some."""

import json
from pathlib import Path

import numpy as np
import pytest

from alexkit.model.evaluation.label_sets import LabelSets, read_label_sets

KEYS = ["n01/ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002", "ILSVRC2012_val_00000003"]
IDS = ["n01", "n02", "n03"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.csv",
            "key,labels\nILSVRC2012_val_00000001.JPEG,n01 n03\nILSVRC2012_val_00000002,\nILSVRC2012_val_00000003,1\n",
        ),
        ("excel.csv", "\ufeffkey,labels\r\nILSVRC2012_val_00000001,0 2\r\nILSVRC2012_val_00000003,n02\r\n,\r\n,\r\n"),
        ("real.json", json.dumps([[0, 2], [], [1]])),
        ("b.json", json.dumps({"ILSVRC2012_val_00000001": ["n01", "n03"], "ILSVRC2012_val_00000003": "n02"})),
    ],
)
def test_each_format_gives_the_same_sets(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    found = read_label_sets(tmp_path / name, KEYS, IDS)
    assert found.allowed_NC.tolist() == [[True, False, True], [False, False, False], [False, True, False]]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "image,labels\nx,1\n", "expected the columns key and labels in the first line, found"),
        (
            "a.csv",
            f"key,labels\n{KEYS[1]},n01\n{KEYS[1]},n02\n",
            f"lists '{KEYS[1]}' twice; give all labels",
        ),
        (
            "a.csv",
            f"key,labels\n{KEYS[1]},n01,n02\n",
            "line 2 has more fields than the first line; separate",
        ),
        ("a.csv", f"labels,key\nn01,{KEYS[1]}\nn02\n", "line 3 has labels, but no key"),
        ("a.json", f'{{"{KEYS[1]}": 0, "{KEYS[1]}.JPEG": 1}}', f"lists '{KEYS[1]}' twice"),
        ("a.json", "[[0], [7]]", "has the label 7, which is not a class id or number of this set"),
        ("a.json", '{"other": 0}', "lists none of the set's images; its first is 'other'"),
        ("a.json", "{", "not JSON"),
        ("a.json", "5", "expected a JSON object or list, found int"),
    ],
)
def test_files_that_do_not_fit_are_named(name: str, content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=expected):
        read_label_sets(tmp_path / name, KEYS, IDS)


def test_images_go_by_their_names_before_they_were_put_into_shards(tmp_path: Path) -> None:
    ids = ["n01", "n02", "n02 a"]  # keys hold dashes and underscores in place of what is unsafe in a tar
    keys = ["00000000_n01_ILSVRC2012_val_00000002", "00000001_n02-a_ILSVRC2012_val_00000001", "00000002_n01_7"]
    (tmp_path / "real.json").write_text(json.dumps([[2], [0, 1]]))
    found = read_label_sets(tmp_path / "real.json", keys, ids)
    assert found.allowed_NC.tolist() == [[True, True, False], [False, False, True], [False, False, False]]
    (tmp_path / "names.csv").write_text("key,labels\nn01_7.JPEG,1\n")
    assert read_label_sets(tmp_path / "names.csv", keys, ids).allowed_NC[2].tolist() == [False, True, False]


def test_a_name_that_two_images_have_is_not_taken_for_either(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,labels\n1,n01\n")
    with pytest.raises(
        ValueError, match="'1' is ambiguous: it may be 00000000_n01_1 or 00000001_n02_1; name images by their keys"
    ):
        read_label_sets(tmp_path / "a.csv", ["00000000_n01_1", "00000001_n02_1"], IDS)


def test_an_image_is_right_when_any_of_its_labels_is_guessed_and_left_out_without_one() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1]], np.float32)
    sets = LabelSets(np.array([[True, False, True], [False, False, False], [False, True, False]]))
    result = sets.score(p)
    assert (result.num_images, result.wrong_1, result.wrong_5) == (2, 1, 0)


def test_ties_share_credit_over_all_right_classes() -> None:
    p = np.full((1, 10), 0.1, np.float32)
    allowed = np.zeros((1, 10), np.bool_)
    allowed[0, :3] = True
    result = LabelSets(allowed).score(p)
    assert result.wrong_1 == pytest.approx(7 / 10)
    # None of three right ones among five of ten: C(7, 5) / C(10, 5).
    assert result.wrong_5 == pytest.approx(21 / 252)
