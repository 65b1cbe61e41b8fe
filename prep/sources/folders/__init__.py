"""Images in folders: class folders, flat folders with labels beside them, unpacked downloads, zip files."""
