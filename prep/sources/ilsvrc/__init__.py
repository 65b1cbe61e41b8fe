"""ImageNet as published: the archives with their devkit, and Kaggle's download."""
