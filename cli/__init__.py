"""The commands a person types: alexprep, alextrain, alexeval."""
