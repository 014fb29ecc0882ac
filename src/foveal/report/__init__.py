"""The report of one training run: figures, and one HTML file that needs nothing but itself."""

from foveal.report.write import write_report

__all__ = ["write_report"]
