"""The service: images in over HTTP or a watched folder, answers out, people's verdicts, and a record of everything."""
