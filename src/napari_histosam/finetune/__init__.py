"""Fine-tuning from the viewer: what is chosen, the job that does it, its curves, the widget."""
