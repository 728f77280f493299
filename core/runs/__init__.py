"""Run folders, their events and the index over them."""
