"""Images in folders: class folders, flat folders with labels beside, what downloads unpack to, zip files."""
