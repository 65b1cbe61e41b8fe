"""alexkit: ImageNet to shards, shards to batches, batches to the two-column AlexNet of 2012.

Import the stage you need: `alexkit.prep`, `alexkit.pipeline` or `alexkit.model`. Importing `alexkit` itself loads no
heavy library.
"""

__version__ = "0.1.0"
