"""Files that appear whole."""

import os
import threading
from pathlib import Path

from alexkit.prep.format.files import whole_file


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    received: list[bytes] = []
    reader.start()
    with whole_file(pipe) as file:
        file.write(b"content")
    reader.join(10)
    assert received == [b"content"] and pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
