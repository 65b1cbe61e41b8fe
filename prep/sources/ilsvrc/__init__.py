"""ImageNet as it was published: the archives with their devkit, and the packing of Kaggle."""
