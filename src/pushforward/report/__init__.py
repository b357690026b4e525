"""What a fit leaves for people: the HTML report, grids of samples, the model card."""

from __future__ import annotations

from pushforward.report.card import model_card
from pushforward.report.grids import grid_with_rows, image_grid, save_grid
from pushforward.report.report import write_report

__all__ = ["grid_with_rows", "image_grid", "model_card", "save_grid", "write_report"]
