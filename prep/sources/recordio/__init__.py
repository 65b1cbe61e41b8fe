"""MXNet's RecordIO files as im2rec packs images: `train.rec`, with `train.idx` and `train.lst` beside it."""
