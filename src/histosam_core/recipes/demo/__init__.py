"""The demo: the main job on synthetic slides."""
