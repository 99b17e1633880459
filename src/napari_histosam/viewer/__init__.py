"""napari's layers: coordinates, levels that never block, label tiles."""
