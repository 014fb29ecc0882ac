"""One step a file, oldest first by name; what was released is never changed."""
