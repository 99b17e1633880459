"""The napari plugin (in preparation)."""
