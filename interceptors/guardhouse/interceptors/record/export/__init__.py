"""From spans to the collector: a bounded queue, a thread that sends, a spool on disk, and an exact count."""

from .exporter import Exporter
from .tally import Counts

__all__ = ["Counts", "Exporter"]
