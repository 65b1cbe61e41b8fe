import gc
import sys

import numpy as np

from alexkit.pipeline.backends.buffers import Buffers


def test_memory_is_reused_once_the_last_view_of_a_batch_is_gone() -> None:
    buffers = Buffers((4, 3, 8, 8), np.dtype(np.float32), most_kept=2)
    first, _ = buffers.take()
    address = first.data_ptr()
    view = first[1:, :, ::2]
    del first
    gc.collect()
    second, _ = buffers.take()
    assert second.data_ptr() != address, "the view still shows the first batch"
    del view
    gc.collect()
    third, memory = buffers.take()
    assert third.data_ptr() == address
    memory[...] = 7
    assert (third == 7).all() and third.shape == (4, 3, 8, 8)


def test_no_more_memory_is_kept_than_promised() -> None:
    buffers = Buffers((1000,), np.dtype(np.uint8), most_kept=2)
    batches = [buffers.take()[0] for _ in range(5)]
    addresses = {batch.data_ptr() for batch in batches}
    assert len(addresses) == 5
    batches.clear()
    gc.collect()
    again = [buffers.take()[0] for _ in range(5)]
    assert len({batch.data_ptr() for batch in again} & addresses) >= 2
    assert len(buffers._free) == 0 and len(buffers._lent) == 5
    again.clear()
    gc.collect()
    assert len(buffers._free) == 2 and not buffers._lent


def test_no_python_code_runs_when_a_batch_ends() -> None:
    """Python would handle signals there, and it discards a KeyboardInterrupt that a handler raises in a finalizer."""
    buffers = Buffers((1000,), np.dtype(np.uint8), most_kept=2)
    batches = [buffers.take()[0] for _ in range(3)]
    called: list[str] = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        batches.clear()
    finally:
        sys.setprofile(None)
    assert called == [] and len(buffers._free) == 2
