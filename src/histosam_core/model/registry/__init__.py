"""The models known by name: facts, licences and downloads."""
