"""Caffe's LMDB databases as sources: values are images (Datum), read in place by offset, without lmdb or Caffe."""
