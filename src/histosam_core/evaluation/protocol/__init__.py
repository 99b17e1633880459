"""The click protocol: one loop for images, patches and regions of slides, and where it runs."""
