"""The partitions that data and training share."""

from __future__ import annotations

import dagster as dg

# end_offset: today can be materialized today, not only once the day is over.
daily = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)
