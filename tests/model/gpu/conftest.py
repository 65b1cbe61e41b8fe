"""Triton kernels without a GPU: run by Triton's interpreter, or compiled for a GPU that is not present."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

Import = Callable[[str], ModuleType]


@contextmanager
def restored(*owners: Any) -> Iterator[None]:
    """Give modules and classes back the attributes they had: Triton 3.4's interpreter replaces some for good."""
    before = [(owner, dict(vars(owner))) for owner in owners]
    try:
        yield
    finally:
        for owner, attributes in before:
            for name, value in list(vars(owner).items()):
                if name not in attributes:
                    delattr(owner, name)
                elif attributes[name] is not value:
                    setattr(owner, name, attributes[name])


def fresh_imports() -> Iterator[Import]:
    """Yield a function that imports modules of `model/gpu` afresh; they are dropped at the end, since Triton decides
    when a kernel is defined whether it is interpreted."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("alexkit.model.gpu.")}
    for name in before:
        del sys.modules[name]
    yield lambda name: importlib.import_module(f"alexkit.model.gpu.{name}")
    folder = sys.modules["alexkit.model.gpu"]
    for name in [name for name in sys.modules if name.startswith("alexkit.model.gpu.")]:
        del sys.modules[name]
        delattr(folder, name.rpartition(".")[2])
    for name, module in before.items():
        sys.modules[name] = module
        setattr(folder, name.rpartition(".")[2], module)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """A function that imports a module whose kernels then run on CPU tensors.

    In two cases the interpreter is patched to match the hardware: float32 to bfloat16 rounds to nearest (it truncates),
    and fused multiply-add rounds once (it rounds twice).
    """
    pytest.importorskip("triton", reason="Triton is not installed")
    from triton import language as tl
    from triton.runtime import interpreter

    converted = interpreter._convert_float

    def nearest(numbers: Any, source: Any, target: Any, rounding: Any) -> Any:
        if source != tl.float32 or target != tl.bfloat16:
            return converted(numbers, source, target, rounding)
        return torch.from_numpy(np.ascontiguousarray(numbers)).bfloat16().view(torch.uint16).numpy()

    def fused(self: Any, x: Any, y: Any, z: Any) -> Any:
        once = (np.float64(x.data) * np.float64(y.data) + np.float64(z.data)).astype(np.float32)
        return interpreter.TensorHandle(once, z.dtype.scalar)

    monkeypatch.setattr(interpreter, "_convert_float", nearest)
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_fma", fused)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with np.errstate(all="ignore"), restored(tl, tl.core, tl.math, tl.tensor, tl.dtype, tl.core.tensor_descriptor_base):
        yield from fresh_imports()


@pytest.fixture
def compiled_for_a_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Import, Any]]:
    """A function that imports a module, and one that compiles a kernel to H100 machine code."""
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def compile(kernel: Any, types: dict[str, str], constants: dict[str, Any]) -> str:
        """Return the PTX, which the assembler has accepted; tensor pointers are aligned to 16 bytes."""
        signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        aligned = [i for i, name in enumerate(kernel.arg_names) if signature[name].startswith("*")]
        source = ASTSource(
            fn=kernel,
            signature=signature,
            constexprs=constants,
            attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
        )
        code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
        assert len(code.asm["cubin"]) > 0
        return str(code.asm["ptx"])

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for use in fresh_imports():
        yield use, compile
