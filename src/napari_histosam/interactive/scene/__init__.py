"""Our layers in the viewer, kept in step with what the session answers."""
