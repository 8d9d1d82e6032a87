"""The check of plans and measurements on the user's own model and machine."""
