"""TFRecord files of images, as TensorFlow's scripts and TFDS write them: read in place, without TensorFlow."""
