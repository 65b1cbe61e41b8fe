"""Lists of images: files of paths and labels."""
