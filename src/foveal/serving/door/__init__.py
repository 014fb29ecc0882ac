"""The door: what a request may be before any of the service is asked, and how many may come."""
