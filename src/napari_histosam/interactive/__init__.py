"""Outlining by clicks in the viewer: controller, what it paints, keys and mouse, and the widget."""
