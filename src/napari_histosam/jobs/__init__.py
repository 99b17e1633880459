"""Long jobs: processes that outlive the viewer, and their panel."""
