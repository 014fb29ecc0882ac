"""HTTP: the application, who asks, what a request carries, the routes, and errors as they go out."""
