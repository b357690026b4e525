"""Data: readers, what the data are (Schema), and the way to encoded tensors and back."""

from __future__ import annotations

from pushforward.data.pictures import export_images
from pushforward.data.readers import describe, load_data
from pushforward.data.rows import Data, split_rows, take_rows
from pushforward.data.schema import Schema, fit_schema

__all__ = ["Data", "Schema", "describe", "export_images", "fit_schema", "load_data", "split_rows", "take_rows"]
