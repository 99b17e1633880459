"""The napari plugin. napari finds its parts through napari.yaml; importing this loads none."""
