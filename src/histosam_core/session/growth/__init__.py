"""Objects that go on beyond the windows that were clicked in."""
