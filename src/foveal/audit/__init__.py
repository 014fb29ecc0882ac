"""What a dataset hides, found before a number is believed."""

from foveal.audit.cheap import check
from foveal.audit.finding import Finding, refuse_blocking

__all__ = ["Finding", "check", "refuse_blocking"]
