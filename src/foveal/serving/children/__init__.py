"""Child processes: where a stranger's image is opened, and where torch is loaded; they may die without harm."""
