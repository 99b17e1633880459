"""The widget that evaluates models by simulated clicks, and opens what they made of a patch."""
