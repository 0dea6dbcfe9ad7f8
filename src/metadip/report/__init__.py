"""What a run leaves behind: metrics, pictures, tables, files that are whole or not there."""

from metadip.report.figures import (
    comparison_panels,
    contact_sheet,
    measurement_picture,
    save_comparison,
    save_curves,
    save_image,
)
from metadip.report.files import atomic_path, prepare_folder, write_json
from metadip.report.metrics import nmse, psnr_db, reconstruction_metrics, ssim
from metadip.report.tables import markdown_table, write_csv
from metadip.report.writer import ResultWriter, mean_entry, merge_entries

__all__ = [
    "ResultWriter",
    "atomic_path",
    "comparison_panels",
    "contact_sheet",
    "markdown_table",
    "mean_entry",
    "measurement_picture",
    "merge_entries",
    "nmse",
    "prepare_folder",
    "psnr_db",
    "reconstruction_metrics",
    "save_comparison",
    "save_curves",
    "save_image",
    "ssim",
    "write_csv",
    "write_json",
]
