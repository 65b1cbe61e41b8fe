"""Where images come from: one file per layout, recognized by looking."""
