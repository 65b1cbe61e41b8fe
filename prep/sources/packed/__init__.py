"""Files that hold many images each, such as tars and parquet files: which of them form a split, and how it is read."""
