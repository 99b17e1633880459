"""The mask of an object in slide coordinates."""
