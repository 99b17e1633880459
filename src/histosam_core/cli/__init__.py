"""The `histosam` command: one file per verb, thin over the library."""
