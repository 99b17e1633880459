"""The parts of the dock: setup, current object, accepted objects, status."""
