"""Classes of files that only number them: their ids come from paths, from a file of classes or from the first split."""
